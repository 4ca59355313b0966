"""The worktrees of scenarios: folders under the base path. Ours, a user's own that is adopted, or missing.

What is ours is held for the run, as a row of the store; what is a user's by a lock on its path. A user's worktree gets
an environment where it lacks one and that is asked for; nothing else in it is touched, and it is never removed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from testgrove.app import records, worktrees
from testgrove.app.creation import OnPhase, Target
from testgrove.app.environments import build_environment, plan_environment
from testgrove.app.here import HereEnvironment, find_environment
from testgrove.app.holder import Holder
from testgrove.app.hooks import unseen
from testgrove.app.ownership import take_manifest
from testgrove.app.project import Project
from testgrove.app.syncing import Syncing
from testgrove.core.events import AnyEvent, WorktreeAction, WorktreeChanged
from testgrove.core.model import WorktreeId, WorktreeSpec, WorktreeStatus
from testgrove.core.scenario import PlannedScenario
from testgrove.core.scenario_cells import PURPOSE, plain
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system import git
from testgrove.system.environment_record import FOLDER
from testgrove.system.locks import Lock
from testgrove.system.store import Row

State = Literal["ours", "adopted", "parked", "gone", "missing", "broken"]
Tell = Callable[[str, WorktreeAction, Path, str], None]


@dataclass(frozen=True)
class Found:
    """A scenario's worktree as it is. detail: why it cannot be used as it is; empty where it can."""

    name: str
    path: Path
    state: State
    detail: str = ""
    row: Row | None = None

    @property
    def ready(self) -> bool:
        """Whether scenarios can run in it as it is."""
        return self.state in ("ours", "adopted") and not self.detail


def look(project: Project, base: Path, name: str) -> Found:
    """What is there in the place of a scenario's worktree. Nothing is changed."""
    path = base / name
    row = project.store.one("SELECT * FROM worktrees WHERE project = ? AND path = ?", project.id, str(path))
    if git.is_checkout(project.repository, path):
        return _checkout(name, path, row)
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        return Found(name, path, "broken", f"{path} is there, and is no worktree of this repository", row)
    if row is not None:
        return Found(name, path, "gone", f"{path} is gone", row)
    return Found(name, path, "missing", f"{path} is not there")


def _checkout(name: str, path: Path, row: Row | None) -> Found:
    environment = (path / FOLDER).exists()
    if row is None:
        return Found(name, path, "adopted", "" if environment else "it has no .venv of its own")
    if row["status"] == WorktreeStatus.PARKED:
        return Found(name, path, "parked", "it is parked, for the next run to recycle", row)
    return Found(name, path, "ours", "its .venv is gone" if row["python"] and not environment else "", row)


@dataclass(frozen=True)
class Wishes:
    """What is to be done to worktrees before scenarios run in them. pull: the ref whose changes they get, or empty."""

    setup: bool = False
    pull: str = ""
    cleanup: bool = False


@dataclass
class ScenarioWorktree:
    """One worktree that is held and ready. target: what is checked out. checked: what preflight has seen."""

    path: Path
    target: Target
    environment: HereEnvironment
    row: Row | None = None
    checked: set[frozenset[tuple[str, str]]] = field(default_factory=set)
    guard: threading.Lock = field(default_factory=threading.Lock)


class ScenarioWorktrees:
    """The worktrees of a run. Each is made ready once, by the first scenario that needs it. tell: what was done."""

    def __init__(
        self,
        project: Project,
        holder: Holder,
        base: Path,
        wishes: Wishes,
        scenarios: Sequence[PlannedScenario],
        pulled: Target | None,
    ) -> None:
        self._project, self._holder, self._base, self._wishes = project, holder, base, wishes
        self._pulled = pulled
        self._of: dict[str, list[PlannedScenario]] = {}
        for each in scenarios:
            self._of.setdefault(each.worktree, []).append(each)
        self._guards = {name: threading.Lock() for name in self._of}
        self._ready: dict[str, ScenarioWorktree] = {}
        self._failed: dict[str, TestgroveError] = {}
        self._locks: list[Lock] = []
        self._taken: list[Row] = []
        self._created: dict[str, str] = {}  # by id, the name
        self._branches: dict[str, str] = {}  # made by this run, by the worktree's name

    def ready(self, name: str, on_phase: OnPhase, tell: Tell, logs: Path) -> ScenarioWorktree:
        """The worktree, ready. Raises TestgroveError where it cannot be, then for each of its scenarios the same."""
        with self._guards[name]:
            if error := self._failed.get(name):
                raise error
            if name not in self._ready:
                try:
                    self._ready[name] = self._prepare(name, on_phase, tell, logs)
                except TestgroveError as error:
                    if error.code != "cancelled":
                        self._failed[name] = error
                        tell(name, "failed", self._base / name, error.message)
                    raise
            return self._ready[name]

    def close(self) -> None:
        """Let go of all of them."""
        for row in self._taken:
            with suppress(TestgroveError):
                self._remember(row)
            records.update(self._project.store, row, holder=None)
        for lock in self._locks:
            lock.release()
        self._taken.clear()
        self._ready.clear()

    def clean_up(self, before: Sequence[str]) -> Iterator[tuple[str, WorktreeAction, Path, str]]:
        """Remove what this run has created, and the run it goes on with: ``before``, by name. After close()."""
        names = dict.fromkeys([*self._created.values(), *before])
        for name in names:
            found = look(self._project, self._base, name)
            if found.state != "ours" or found.row is None or found.row["purpose"] != PURPOSE:
                continue
            try:
                head, _ = git.head_of(found.path)
                worktrees.remove(self._project, self._holder, found.row["id"])
                yield name, "removed", found.path, self._remove_branch(name, head)
            except TestgroveError as error:
                yield name, "kept", found.path, error.message

    def _remove_branch(self, name: str, head: str) -> str:
        """Remove the branch that this run has made, too, unless it has commits of its own; what was done, in words.

        Left there, it would be what the next run makes the worktree from, however old it is by then.
        """
        branch, repository = self._branches.get(name, ""), self._project.repository
        if not branch or not git.is_ancestor(self._project.main, head, git.head_of(self._project.main)[0]):
            return ""
        return f"with its branch {branch}" if git.delete_branch_if_at(repository, branch, head) else ""

    def _remember(self, row: Row) -> None:
        """What the run's scenarios wrote into a worktree that this run has made is ours."""
        if row["id"] in self._created:
            records.update(self._project.store, row, manifest=take_manifest(Path(row["path"])))

    def _prepare(self, name: str, on_phase: OnPhase, tell: Tell, logs: Path) -> ScenarioWorktree:
        found = look(self._project, self._base, name)
        row: Row | None = None
        if found.state == "broken":
            raise PreconditionError("path-exists", found.detail, hint=f"ls -la {found.path}")
        if found.state in ("missing", "parked", "gone"):
            row = self._create(found, on_phase, tell, logs)
            if self._pull(name, found.path, row, on_phase, tell):
                self._verify(found, row, on_phase, tell)
        elif found.row is not None:
            row = self._take(found.row)
            self._pull(name, found.path, row, on_phase, tell)
            self._verify(found, row, on_phase, tell)
        else:
            self._hold(found.path)
            self._pull(name, found.path, None, on_phase, tell)
            self._adopt(found, on_phase, tell)
        return self._as_it_is(found.path, row)

    def _as_it_is(self, path: Path, row: Row | None) -> ScenarioWorktree:
        commit, branch = git.head_of(path)
        tree = git.tree_of(self._project.repository, commit)
        return ScenarioWorktree(
            path, Target(commit, tree, branch, branch or commit[:10]), find_environment(self._project, path), row
        )

    def _take(self, row: Row) -> Row:
        taken = records.take(self._project, self._holder, row, WorktreeStatus.READY)
        self._taken.append(taken)
        return taken

    def _create(self, found: Found, on_phase: OnPhase, tell: Tell, logs: Path) -> Row:
        project, holder = self._project, self._holder
        if not self._wishes.setup:
            raise unknown_worktree(found)
        if found.row is not None and found.state == "gone":  # nothing can be lost
            worktrees.remove(project, holder, found.row["id"], force=True)
        ref, python = wanted(self._of[found.name])
        new_branch, target = "", None
        if not ref:
            branch = f"feature/test-{found.name}"
            ref = branch if git.has_branch(project.repository, branch) else ""
            if not ref:
                new_branch = branch
                head, _ = git.head_of(project.main)
                target = Target(head, git.tree_of(project.repository, head), "", branch)
        spec = WorktreeSpec(
            self._id(found),
            ref or new_branch,
            ports=project.settings.ports.names,
            python=python or None,
            new_branch=new_branch or None,
            place=found.path,
        )
        made = worktrees.create(
            project, holder, spec, target or worktrees.target_of(project, ref), on_phase=on_phase, logs=logs
        )
        self._created[made.row["id"]] = found.name
        if new_branch:
            self._branches[found.name] = new_branch
        tell(
            found.name, "created", found.path, f"on {made.row['branch'] or ref}" if made.row["branch"] else f"at {ref}"
        )
        return self._take(made.row)

    def _id(self, found: Found) -> WorktreeId:
        if found.row is not None and found.state == "parked":
            return WorktreeId(found.row["purpose"], found.row["identifier"])
        return WorktreeId(PURPOSE, plain(found.name))

    def _verify(self, found: Found, row: Row, on_phase: OnPhase, tell: Tell) -> None:
        """Bring one of ours up to date where that is asked for; its commit stays where its user has it."""
        if not self._wishes.setup:
            return
        syncing = Syncing(self._project, self._holder, row, on_phase, unseen)
        syncing.repair()
        tell(found.name, "repaired" if syncing.done else "verified", found.path, "; ".join(syncing.done))

    def _hold(self, path: Path) -> None:
        lock = self._holder.locks.try_acquire(f"here:{path}")
        if lock is None:
            raise PreconditionError("held", f"another testgrove command runs in {path}", hint="wait until it ends")
        self._locks.append(lock)

    def _adopt(self, found: Found, on_phase: OnPhase, tell: Tell) -> None:
        """Give a worktree that a user has made an environment, where it lacks one and that is asked for."""
        detail = ""
        if self._wishes.setup and (why := self._lacks_environment(found.path)):
            on_phase("environment", why)
            _, python = wanted(self._of[found.name])
            commit, _ = git.head_of(found.path)
            tree_hash = git.tree_of(self._project.repository, commit)
            plan = plan_environment(self._project, found.path, python=python or None, deps=None, tree_hash=tree_hash)
            build_environment(self._project, self._holder, found.path, plan)
            detail = f"environment: {why}"
        tell(found.name, "repaired" if detail else "adopted", found.path, detail)

    def _lacks_environment(self, path: Path) -> str:
        """Why a user's worktree needs an environment; empty where it has one that runs."""
        if not (path / FOLDER).exists():
            return "there was none"
        try:
            find_environment(self._project, path)
        except TestgroveError as error:
            return error.message
        return ""

    def _pull(self, name: str, path: Path, row: Row | None, on_phase: OnPhase, tell: Tell) -> bool:
        """Bring the changes in that are asked for; whether there were any. The environment depends on them."""
        if self._pulled is None:
            return False
        on_phase("worktree", f"merging {self._pulled.label}")
        changed = git.merge(path, self._pulled.commit, self._pulled.label)
        if changed and row is not None:
            head, _ = git.head_of(path)
            own = [*row["own_commits"], head]
            records.update(self._project.store, row, commit_id=head, own_commits=own)
        tell(name, "pulled", path, f"{self._pulled.label}" if changed else f"{self._pulled.label}: nothing new")
        return changed


def wanted(scenarios: Sequence[PlannedScenario]) -> tuple[str, str]:
    """The ref and the interpreter that a worktree's scenarios ask for; empty where none does."""
    refs = [each.ref for each in scenarios if each.ref]
    pythons = [each.python for each in scenarios if each.python]
    return (refs[0] if refs else ""), (pythons[0] if pythons else "")


def would(found: Found, scenarios: Sequence[PlannedScenario]) -> str:
    """What `--setup-worktrees` would do to one that is not ready."""
    if found.state == "broken":
        return ""
    if found.state == "adopted":
        return "make its environment"
    ref, python = wanted(scenarios)
    return (
        f"create it at {ref}"
        if ref
        else f"create it on feature/test-{found.name}" + (f", Python {python}" * bool(python))
    )


def unknown_worktree(found: Found) -> PreconditionError:
    """The error for a worktree that is not there."""
    return PreconditionError(
        "no-such-worktree",
        f"worktree '{found.name}': {found.detail}",
        hint="--setup-worktrees makes it; or by hand: git worktree add " + str(found.path),
        worktree=found.name,
    )


def created_by(events: Sequence[AnyEvent]) -> list[str]:
    """The names of the worktrees that a run has created and not removed, from its events."""
    there: dict[str, None] = {}
    for event in events:
        if isinstance(event, WorktreeChanged):
            if event.action == "created":
                there[event.worktree] = None
            elif event.action == "removed":
                there.pop(event.worktree, None)
    return list(there)
