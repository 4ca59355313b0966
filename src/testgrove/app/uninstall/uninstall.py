"""Uninstall: removes everything that testgrove has for this user, in all projects. The user's files and databases stay,
and are listed with the command that removes them.

The order matters, because the next `uninstall` must know what is left after a crash:

1. Refuse while other commands run. Recover what killed ones left.
2. Examine every project's worktrees, and change nothing before the user has agreed.
3. In each project: worktrees, like a bulk clean-up; then servers, files and lines in its git directory. A missing
   repository may have been moved: its worktrees stay.
4. Caches and folders for temporary files; see own_folders.
5. The store last, and only when it has no record of anything that stays.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from testgrove.app.composition import hold
from testgrove.app.holder import Holder, holding
from testgrove.app.isolation import isolated
from testgrove.app.keeper import location_of
from testgrove.app.lost_records import is_due
from testgrove.app.project import Project
from testgrove.app.recovery import recover
from testgrove.app.rediscovery import KEEPER, rediscover
from testgrove.app.runs.log_and_reports import Render
from testgrove.app.uninstall import own_folders
from testgrove.app.uninstall.own_folders import KeptFolder
from testgrove.app.uninstall.project_traces import left_in, take_away_traces, undo_servers
from testgrove.app.worktrees import records
from testgrove.app.worktrees.cleanup import why_kept
from testgrove.app.worktrees.history import unmounted
from testgrove.app.worktrees.removal import RemovalOptions, remove
from testgrove.app.worktrees.undo import undo
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system import git
from testgrove.system.locations import Locations
from testgrove.system.locks import other_users
from testgrove.system.store import Store
from testgrove.system.store.projects import ProjectRecord
from testgrove.system.trusted_paths import owner_of


class Uninstall:
    """An uninstall's plan. gone: lines about removed items. left: what stays. complete: whether the store was also
    removed, because nothing stays that it must know."""

    def __init__(self, holder: Holder, locations: Locations, render: Render) -> None:
        self.gone: list[str] = []
        self.left: list[KeptFolder] = []
        self.agreed = False
        self.complete = False
        self._holder, self._store, self._locations = holder, holder.store, locations
        self._blocked = False
        self._projects: list[Project] = []
        self._missing: list[ProjectRecord] = []
        for record in self._store.projects.all():
            self._find(record, render)

    def _find(self, record: ProjectRecord, render: Render) -> None:
        common_dir, main = record.common_dir, record.main
        if not (common_dir / "HEAD").exists():
            self._missing.append(record)
            return
        repository = git.Repository(common_dir=common_dir, toplevel=main, main=main)
        project = Project(repository, self._locations, self._store, render, hold)
        with isolated(f"look at {main}", partial(self._stays, f"the project {main}")):
            _require_same_owner(project)
            if is_due(project):
                rediscover(project, self._holder)
            self._projects.append(project)

    def _stays(self, what: str, error: TestgroveError) -> None:
        """Record what could not be removed, so that the next uninstall retries it."""
        self._blocked = True
        self._note(what, error)

    def _note(self, what: str, error: TestgroveError) -> None:
        self.left.append(KeptFolder(what, error.message, error.hint or "testgrove doctor"))

    def plan(self) -> list[str]:
        """Return what would go and what would stay, a line each."""
        lines = []
        for project in self._projects:
            for worktree in records.all_of(project):
                why = why_kept(project, worktree)
                what = _worktree(worktree, project.main)
                lines.append(f"{'leave ' if why else 'remove'}  {what}{f': {why}' if why else ''}")
            if location_of(self._store, project.id):
                lines.append(f"remove  the servers of {project.main}, with their databases")
            lines.append(f"remove  testgrove's own files in {project.main}")
        lines += [f"leave   {_worktree(each, main)}, which is gone" for main, each in self._missing_worktrees()]
        return lines + [f"remove  {folder}" for folder in own_folders.folders(self._locations)]

    def _missing_worktrees(self) -> list[tuple[Path, WorktreeRecord]]:
        """The worktrees of projects that are gone, each with the main checkout that its project had."""
        return [(gone.main, each) for gone in self._missing for each in self._store.worktrees.of_project(gone.id)]

    def perform(self) -> None:
        """Remove everything. What cannot be removed is added to left."""
        self.agreed = True
        for project in self._projects:
            self._clear(project)
        for main, worktree in self._missing_worktrees():
            self._forget_missing(main, worktree)

    def _clear(self, project: Project) -> None:
        for worktree in records.all_of(project):
            what = _worktree(worktree, project.main)
            with isolated(f"remove {what}", partial(self._stays, what)):
                removed = remove(project, self._holder, str(worktree.id), RemovalOptions(bulk=True))
                self.gone.append(f"{what}{f' ({removed.note})' if removed.note else ''}")
        if not records.all_of(project):
            with isolated(f"clean up {project.main}", partial(self._stays, f"testgrove's files in {project.main}")):
                self.gone += undo_servers(project, self._holder)
                self.gone += take_away_traces(project)
        with isolated(f"inspect {project.main}", partial(self._note, f"the project {project.main}")):
            self.left += left_in(project)

    def _forget_missing(self, main: Path, worktree: WorktreeRecord) -> None:
        """Handle a worktree whose repository is missing: its folder may contain the user's work, and stays."""
        what = _worktree(worktree, main)
        if worktree.path.exists():
            why = "its repository is gone: cannot check whether it contains your work"
            folder = worktree.path
            path = shlex.quote(str(folder))
            how = f"if the repository was moved: git worktree repair {path}   in it; else: rm -r {path}"
            self.left.append(KeptFolder(f"{what}, in {folder}", why, how))
            return
        with isolated(f"forget {what}", partial(self._stays, what)):
            if away := unmounted(self._store, worktree):
                raise PreconditionError("not-mounted", away, hint="mount it, then: testgrove uninstall")
            undo(self._holder, records.leases_of(self._store, worktree))
            records.delete(self._store, worktree)

    def finish(self) -> None:
        """Delete the folders, and the store unless it knows of something that stays. No command may hold anything."""
        gone, left = own_folders.delete_all_but_state(self._locations)
        self.gone, self.left = self.gone + gone, self.left + left
        for lease in self._store.leases("left databases").all():
            drop = f'DROP DATABASE "{lease.data.get("name", "")}"'
            self.left.append(
                KeptFolder(f"the database {lease.key}", "its tests recreated it, without testgrove's mark", drop)
            )
        if unknown := self._still_known():
            self.left.append(
                KeptFolder(
                    f"{self._locations.state}",
                    f"it still has records of {unknown}",
                    "after removing it: testgrove uninstall",
                )
            )
            return
        with isolated("delete the store", partial(self._stays, str(self._locations.state))):
            self._store.retire(lambda: require_alone(self._store, self._locations))
            self.complete = True
            gone, left = own_folders.delete_state(self._locations)
            self.gone, self.left = self.gone + gone, self.left + left

    def _still_known(self) -> str:
        """Return the store's records of what is not gone; empty where there are none."""
        known = ", ".join(f"{number} {name}" for name, number in self._store.counts().items() if number)
        return known or ("the items above" if self._blocked else "")


@contextmanager
def uninstalling(locations: Locations, render: Render, on_damage: Callable[[str], object]) -> Iterator[Uninstall]:
    """An uninstall that is planned, for the block to perform; it is finished when the block ends.

    Raises PreconditionError (``commands-running``).
    """
    store = Store(locations.store, on_damage)
    try:
        require_alone(store, locations)
        with holding(store, locations, "testgrove uninstall") as holder:
            recover(holder, render)
            work = Uninstall(holder, locations, render)
            yield work
        if work.agreed:
            work.finish()
    finally:
        store.close()


def _worktree(worktree: WorktreeRecord, main: Path) -> str:
    return f"worktree {worktree.id} of {main}"


def require_alone(store: Store, locations: Locations) -> None:
    """Raise PreconditionError (``commands-running``) while other commands of this user run."""
    running = other_users(locations.locks, but=KEEPER)
    if not running:
        return
    commands = {each.pid: each.command for each in store.commands.all()}
    named = ", ".join(f"pid {pid}" + (f" (`{commands[pid]}`)" if pid in commands else "") for pid in running)
    raise PreconditionError(
        "commands-running",
        f"other testgrove commands run: {named}",
        hint="wait until they end, or stop them, then: testgrove uninstall",
        pids=running,
    )


def _require_same_owner(project: Project) -> None:
    """Raise PreconditionError (``not-ours``) if another user has replaced a project: its settings contain
    commands."""
    owner = owner_of(project.repository.common_dir)
    rows = records.all_of(project)
    leases = [lease for worktree in rows for lease in records.leases_of(project.store, worktree).all()]
    known = {lease.data.get("owner") for lease in leases}
    if owner not in {os.geteuid(), *known}:
        raise PreconditionError(
            "not-ours",
            f"{project.repository.common_dir} belongs to user {owner}: nothing is done in it",
            hint=f"ls -ld {project.repository.common_dir}",
        )
