"""The worktrees of scenarios: folders under the base path. They are testgrove's, a user's (adopted), or missing.

testgrove's worktrees are held for the run by their record, a user's by a lock on its path. A user's worktree gets a
missing environment if requested; nothing else in it is changed, and it is never removed.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.port_leases import lease_worktree_ports
from testgrove.app.project import Project
from testgrove.app.scenarios.found_worktrees import (
    FoundWorktree,
    MissingCommits,
    find_worktree,
    unknown_worktree,
    wanted,
)
from testgrove.app.tools import SupervisedTool
from testgrove.app.worktrees import operations, records, removal
from testgrove.app.worktrees.environment import build_environment, plan_environment
from testgrove.app.worktrees.found_environment import FoundEnvironment, find_environment
from testgrove.app.worktrees.hooks import unseen
from testgrove.app.worktrees.ownership import take_manifest
from testgrove.app.worktrees.sync import Syncing
from testgrove.app.worktrees.workspace import OnPhase, Target
from testgrove.core.frozen import frozen
from testgrove.core.model import WorktreeId, WorktreeSpec, WorktreeStatus
from testgrove.core.runs.events import WorktreeAction
from testgrove.core.scenarios.cells import PURPOSE, plain
from testgrove.core.scenarios.resolve import PlannedScenario
from testgrove.core.worktrees import lifecycle
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system import git
from testgrove.system.environment.record import FOLDER
from testgrove.system.locks import Lock

Tell = Callable[[str, WorktreeAction, Path, str], None]


@frozen
class WorktreePreparation:
    """The changes to worktrees before scenarios run in them. pull: the ref whose changes they get, or empty."""

    setup: bool = False
    pull: str = ""
    cleanup: bool = False


@dataclass
class ScenarioWorktree:
    """One worktree that is held and ready. target: what is checked out. checked: what preflight has seen."""

    path: Path
    target: Target
    environment: FoundEnvironment
    worktree: WorktreeRecord | None = None
    checked: set[frozenset[tuple[str, str]]] = field(default_factory=set)
    guard: threading.Lock = field(default_factory=threading.Lock)


class ScenarioWorktrees:
    """The worktrees of a run. Each is prepared once, by the first scenario that needs it. tell: reports each step."""

    def __init__(
        self,
        project: Project,
        holder: Holder,
        base: Path,
        preparation: WorktreePreparation,
        scenarios: Sequence[PlannedScenario],
        pulled: Target | None,
    ) -> None:
        self._project, self._holder, self._base, self._preparation = project, holder, base, preparation
        self._pulled = pulled
        self._of: dict[str, list[PlannedScenario]] = {}
        for each in scenarios:
            self._of.setdefault(each.worktree, []).append(each)
        self._guards = {name: threading.Lock() for name in self._of}
        self._ready: dict[str, ScenarioWorktree] = {}
        self._failed: dict[str, TestgroveError] = {}
        self._ports: dict[int, dict[str, int]] = {}
        self._ports_guard = threading.Lock()
        self._locks: list[Lock] = []
        self._taken: list[WorktreeRecord] = []
        self._created: dict[WorktreeId, str] = {}  # by id, the name
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

    def ports_of_slot(self, slot_number: int, run: str) -> dict[str, int]:
        """A block of ports that only what runs in this slot has; the run's until it ends."""
        with self._ports_guard:
            if slot_number not in self._ports:
                leases = self._project.store.leases(f"run:{run}")
                names = self._project.settings.ports.names
                self._ports[slot_number] = lease_worktree_ports(self._project, leases, names)
            return self._ports[slot_number]

    def close(self) -> None:
        """Let go of all of them."""
        for worktree in self._taken:
            with suppress(TestgroveError):
                self._remember(worktree)
            records.release(self._project.store, worktree)
        for lock in self._locks:
            lock.release()
        self._taken.clear()
        self._ready.clear()

    def clean_up(self, before: Sequence[str]) -> Iterator[tuple[str, WorktreeAction, Path, str]]:
        """Remove what this run has created, and the run it goes on with: ``before``, by name. After close()."""
        names = dict.fromkeys([*self._created.values(), *before])
        for name in [*names, *(each for each in self._of if each not in names)]:
            found = find_worktree(self._project, self._base, name)
            if name not in names:
                if found.state in ("ours", "adopted", "broken"):
                    yield name, "kept", found.path, "this run did not create it"
                continue
            if found.worktree is None or found.worktree.id.purpose != PURPOSE or found.state == "parked":
                continue
            try:
                if found.state == "broken":
                    raise PreconditionError("path-exists", found.detail)
                gone = found.state == "gone"  # a scenario has deleted it: nothing can be lost
                head = "" if gone else git.head_of(found.path)[0]
                removal.remove(self._project, self._holder, str(found.worktree.id), removal.RemovalOptions(bulk=True))
                yield name, "removed", found.path, "" if gone else self._remove_branch(name, head)
            except TestgroveError as error:
                yield name, "kept", found.path, error.message

    def _remove_branch(self, name: str, head: str) -> str:
        """Remove the branch that this run has made, too, unless it has commits of its own; what was done, in words.

        Left there, it would be what the next run makes the worktree from, however old it is by then.
        """
        branch, repository = self._branches.get(name, ""), self._project.repository
        if not branch:
            return ""
        merged = git.is_ancestor(self._project.main, head, git.head_of(self._project.main)[0])
        if merged and git.delete_branch_if_at(repository, branch, head):
            return f"with its branch {branch}"
        return "" if merged else f"its branch {branch} is kept: it has commits of its own"

    def _remember(self, worktree: WorktreeRecord) -> None:
        """Record files that the run's scenarios wrote to a worktree of this run as testgrove's."""
        if worktree.id in self._created:
            records.update(self._project.store, worktree, manifest=take_manifest(worktree.path))

    def _prepare(self, name: str, on_phase: OnPhase, tell: Tell, logs: Path) -> ScenarioWorktree:
        found = find_worktree(self._project, self._base, name)
        worktree: WorktreeRecord | None = None
        if found.state == "broken":
            raise PreconditionError("path-exists", found.detail, hint=f"ls -la {shlex.quote(str(found.path))}")
        if found.state in ("missing", "parked", "gone"):
            worktree = self._pull(name, self._create(found, on_phase, tell, logs), on_phase, tell)
            if worktree.plan:
                worktree = self._moved_on(found, worktree, on_phase, tell)
        elif found.worktree is not None:
            worktree = self._pull(name, self._take(found.worktree), on_phase, tell)
            worktree = self._moved_on(found, worktree, on_phase, tell)
        else:
            self._hold(found.path)
            self._pull_into_users(name, found.path, on_phase, tell)
            if missing_commits := self._lacking(name, found.path):
                raise missing_commits.error(name, found.path)
            self._adopt(found, on_phase, tell)
        return self._as_it_is(name, found.path, worktree)

    def _lacking(self, name: str, path: Path) -> MissingCommits | None:
        """Return what a worktree's checkout lacks of the ref that its scenarios name."""
        ref, _ = wanted(self._of[name])
        if not ref:
            return None
        commit, (head, _) = git.resolve(self._project.repository, ref).commit, git.head_of(path)
        return None if git.is_ancestor(path, commit, head) else MissingCommits(ref, commit, head)

    def _moved_on(
        self, found: FoundWorktree, worktree: WorktreeRecord, on_phase: OnPhase, tell: Tell
    ) -> WorktreeRecord:
        """Sync a testgrove worktree if requested; its commit stays, unless it lacks that of its scenarios' ref."""
        missing_commits = self._lacking(found.name, worktree.path)
        if missing_commits is None and not self._preparation.setup:
            return worktree
        project = self._project.around(worktree.directory) if worktree.directory else self._project
        syncing = Syncing(project, self._holder, worktree, on_phase, unseen)
        if missing_commits is None:
            syncing.repair()
        elif self._preparation.setup and git.is_ancestor(worktree.path, missing_commits.head, missing_commits.commit):
            syncing.advance(missing_commits.ref, missing_commits.commit)
        else:
            raise missing_commits.error(found.name, worktree.path)
        tell(found.name, "repaired" if syncing.done else "verified", found.path, "; ".join(syncing.done))
        return syncing.worktree

    def _as_it_is(self, name: str, path: Path, worktree: WorktreeRecord | None) -> ScenarioWorktree:
        environment = find_environment(self._project, path)
        _, python = wanted(self._of[name])
        if python[:1].isdigit() and not f"{environment.version}.".startswith(f"{python}."):
            raise PreconditionError(
                "other-interpreter",
                f"worktree '{name}' has Python {environment.version}, but its scenarios require {python}",
                hint=f"rm -rf {shlex.quote(str(path))}/.venv   then retry with --setup-worktrees"
                if worktree is None
                else f"testgrove remove {worktree.id}",
            )
        commit, branch = git.head_of(path)
        tree = git.tree_of(self._project.repository, commit)
        return ScenarioWorktree(path, Target(commit, tree, branch, branch or commit[:10]), environment, worktree)

    def _take(self, worktree: WorktreeRecord) -> WorktreeRecord:
        taken = records.take(self._project, self._holder, worktree, WorktreeStatus.READY)
        self._taken.append(taken)
        return taken

    def _create(self, found: FoundWorktree, on_phase: OnPhase, tell: Tell, logs: Path) -> WorktreeRecord:
        project, holder = self._project, self._holder
        if not self._preparation.setup:
            raise unknown_worktree(found)
        if found.worktree is not None and found.state == "gone":  # nothing can be lost
            removal.remove(project, holder, str(found.worktree.id), removal.RemovalOptions(bulk=True))
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
            path=found.path,
        )
        made = operations.create(
            project, holder, spec, target or operations.target_of(project, ref), on_phase=on_phase, logs=logs
        )
        self._created[made.worktree.id] = found.name
        if new_branch:
            self._branches[found.name] = new_branch
        place = f"on {made.worktree.branch or ref}" if made.worktree.branch else f"at {ref}"
        tell(found.name, "created", found.path, place)
        return self._take(made.worktree)

    def _id(self, found: FoundWorktree) -> WorktreeId:
        if found.worktree is not None and found.state == "parked":
            return found.worktree.id
        usual = WorktreeId(PURPOSE, plain(found.name))
        other = self._project.store.worktrees.find(self._project.id, usual)
        if other is None or other.path == found.path or other.status == WorktreeStatus.PARKED:
            return usual
        return WorktreeId(PURPOSE, plain(f"{found.name} {found.path.parent}"))  # the same name under another base path

    def _hold(self, path: Path) -> None:
        lock = self._holder.locks.try_acquire(f"here:{path}")
        if lock is None:
            raise PreconditionError("held", f"{path} is in use by another testgrove command", hint="wait until it ends")
        self._locks.append(lock)

    def _adopt(self, found: FoundWorktree, on_phase: OnPhase, tell: Tell) -> None:
        """Give a worktree that a user has made an environment, where it lacks one and that is asked for."""
        detail = ""
        if self._preparation.setup and (why := self._lacks_environment(found.path)):
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

    def _pull(self, name: str, worktree: WorktreeRecord, on_phase: OnPhase, tell: Tell) -> WorktreeRecord:
        """Bring the changes that are asked for into a testgrove worktree. The merge is testgrove's own commit.

        It is on record as begun, so that a sync does the rest: the next step here, or after a kill.
        """
        if self._pulled is None:
            return worktree
        store, path, before = self._project.store, worktree.path, worktree.plan
        worktree = records.update(store, worktree, plan=lifecycle.merging(before))
        try:
            changed = self._merge(name, path, on_phase, tell)
        except TestgroveError:
            records.update(store, worktree, plan=before)
            raise
        if not changed:
            return records.update(store, worktree, plan=before)
        head, _ = git.head_of(path)
        worktree = records.update(store, worktree, commit=head, own_commits=(*worktree.own_commits, head))
        if self._preparation.setup:
            return worktree
        self._fetch_contents(path)
        return records.update(store, worktree, plan=before)

    def _pull_into_users(self, name: str, path: Path, on_phase: OnPhase, tell: Tell) -> None:
        if self._pulled is not None and self._merge(name, path, on_phase, tell):
            self._fetch_contents(path)

    def _merge(self, name: str, path: Path, on_phase: OnPhase, tell: Tell) -> bool:
        """Merge the ref whose changes are asked for; return whether there were any."""
        assert self._pulled is not None
        on_phase("worktree", f"merging {self._pulled.label}")
        changed = git.merge(path, self._pulled.commit, self._pulled.label)
        tell(name, "pulled", path, f"{self._pulled.label}" if changed else f"{self._pulled.label}: already up to date")
        return changed

    def _fetch_contents(self, path: Path) -> None:
        """Check out the submodules and LFS files that a checkout's new commit names."""
        tool = SupervisedTool(self._project, self._holder)
        git.update_submodules(path, tool, keep_files=True)
        if self._project.settings.lfs:
            git.fetch_lfs(path, tool)
