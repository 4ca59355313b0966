"""`test --here`: suites in the current checkout, in its own environment or the active one; nothing is parked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.port_leases import lease_worktree_ports
from testgrove.app.project import Project
from testgrove.app.runs.slots import Slot
from testgrove.app.subprojects import directory_of
from testgrove.app.worktrees import records
from testgrove.app.worktrees.found_environment import FoundEnvironment, find_environment
from testgrove.app.worktrees.preflight import foreign_checkouts
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.environments.plan import Contents, EnvironmentPlan
from testgrove.core.model import DatabaseAccess, WorktreeId, WorktreeSpec
from testgrove.core.runs.events import Status
from testgrove.core.runs.plan import Cell
from testgrove.errors import PreconditionError
from testgrove.system.environment.record import seal_of
from testgrove.system.preflight import check as preflight
from testgrove.system.processes.process import run


@contextmanager
def checkout_held(project: Project, holder: Holder) -> Iterator[None]:
    """Be the only one who runs suites in this checkout. Raises PreconditionError (``held``, ``worktree-held``)."""
    tree = project.repository.toplevel
    worktree = project.store.worktrees.at(tree)
    if worktree is not None and worktree.holder is not None:
        raise records.held(project.store, worktree)
    lock = holder.locks.try_acquire(f"here:{tree}")
    if lock is None:
        raise PreconditionError("held", f"another `testgrove test --here` runs in {tree}", hint="wait until it ends")
    try:
        yield
    finally:
        lock.release()


def here_cells(project: Project, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The same cells, with ids of this checkout's own."""
    tree = project.repository.toplevel
    name = "here" if tree == project.main else f"here-{hashlib.sha256(os.fsencode(tree)).hexdigest()[:8]}"
    return tuple(
        replace(cell, id=WorktreeId(cell.id.purpose, cell.id.identifier.removesuffix("tree") + name)) for cell in cells
    )


@dataclass
class CheckoutInPlace(Workspace):
    """A checkout that is used in place: testgrove did not create it, and it has no record in the store."""

    found: FoundEnvironment = field(kw_only=True)
    leased: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    @property
    def tree(self) -> Path:
        """Implement Workspace."""
        return self.project.repository.toplevel

    @property
    def ports(self) -> Mapping[str, int]:
        """Implement Workspace."""
        return self.leased

    @property
    def python(self) -> str:
        """Implement Workspace."""
        return self.found.version

    @property
    def environment_elsewhere(self) -> Path | None:
        """Implement Workspace."""
        return self.found.prefix

    def environ_with(self, databases: Mapping[str, DatabaseAccess], *, plain: str = "") -> dict[str, str]:
        """Implement Workspace."""
        return self.found.environ | self.values(databases, plain=plain)

    def prepare(self, owner: str) -> None:
        """Ports, databases, the check that the tests exercise this tree. owner: of the ports' leases."""
        project, found = self.project, self.found
        if self.spec.ports:
            self.leased = lease_worktree_ports(project, project.store.leases(owner), self.spec.ports)
        # The packages of a migration; a hash of files does not include packages installed by hand.
        seal = f"{found.python} {found.version} {seal_of(found.prefix)}"
        mark = hashlib.sha256(seal.encode()).hexdigest()
        self.plan = EnvironmentPlan(Contents("bare"), found.python, found.version, self.target.tree, mark)
        if self.making is not None:
            self.making.begin(self)
        self.on_phase("preflight", "")
        self.check()
        if self.making is not None:
            self.databases = self.making.finish()

    def check(self) -> None:
        """Promise 3, for an environment of which it is not known what it was made from."""
        preflight.check(
            tree=self.tree,
            python=self.found.python,
            env=self.suite_environ(),
            foreign=foreign_checkouts(self.project, self.tree),
            run=partial(run, check=False),
            installed=None,
            environment=self.found.prefix,
            directory=directory_of(self.tree, self.tree / self.spec.directory),
        )


class HereSlot(Slot[CheckoutInPlace]):
    """Runs a cell in the current checkout."""

    def _prepare(self) -> CheckoutInPlace:
        shared, cell = self.run, self.cell
        project = shared.project_of(cell)
        self._phase("worktree")
        workspace = CheckoutInPlace(
            project,
            shared.holder,
            WorktreeSpec(
                cell.id,
                None,
                ports=project.settings.ports.names if cell.settings.ports else (),
                directory=cell.settings.directory,
            ),
            shared.targets[cell.ref],
            self._phase,
            shared.folder,
            making=shared.databases.for_cell(cell),
            suite_env=cell.settings.env,
            found=find_environment(project, project.repository.toplevel, cell.settings.directory),
        )
        try:
            workspace.prepare(f"run:{shared.id}")
        except BaseException:
            if workspace.making is not None:
                workspace.making.abandon()
            raise
        return workspace

    def _put_away(self, workspace: CheckoutInPlace, status: Status) -> None:  # noqa: ARG002 - nothing is made, or parked
        self.run.databases.release(self.cell)
