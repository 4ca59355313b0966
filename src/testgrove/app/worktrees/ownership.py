"""Promise 2 on a real worktree: finds the user's files, testgrove's files, and outputs to keep."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from testgrove.app.project import Project
from testgrove.app.worktrees.history import described, history_of, is_anothers, unmounted
from testgrove.core.engines.registry import engine_shown
from testgrove.core.frozen import frozen
from testgrove.core.runs.leaks import TrackedResource
from testgrove.core.text import printable
from testgrove.core.worktrees.ownership import Manifest, ManifestEntry, Ownership, classify, is_made_again
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError
from testgrove.system import files, git, mounts, outputs

_SHOWN = 10
_KILL_GRACE_NS = 3 * 10**9  # our processes live at most so long after the run's last heartbeat


@frozen
class Findings:
    """users: lines about what is the user's. outputs: paths to save before the tree is removed. unheld: commits from a
    deleted ref; they are the user's, too, but bulk removal can keep them under another ref."""

    users: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    unheld: tuple[git.Commit, ...] = ()

    @classmethod
    def nothing(cls) -> Findings:
        """For a worktree that another's is in the place of."""
        return cls()

    @property
    def lines(self) -> tuple[str, ...]:
        """All that is the user's, one line each."""
        return (*self.users, *(described(commit) for commit in self.unheld))

    def summary(self, *, rescuing: bool = False) -> str:
        """All that is the user's, in one line. rescuing: without commits that will be kept under another ref."""
        lines = self.users if rescuing else self.lines
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
        return f"has {'; '.join(lines[:3])}{more}"

    def require_nothing_of_the_users(self, worktree: WorktreeRecord, doing: str, *, rescuing: bool = False) -> None:
        """Raise PreconditionError (``worktree-dirty``) unless the worktree can go without a loss.

        rescuing: commits that came from a ref will be kept under another.
        """
        lines = self.users if rescuing else self.lines
        if not lines:
            return
        shown = "\n".join(f"    {line}" for line in lines[:_SHOWN])
        more = f"\n    … and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        raise PreconditionError(
            "worktree-dirty",
            f"worktree {worktree.id} cannot be {doing}: it contains your work:\n{shown}{more}",
            hint=_how_to_keep(worktree, self.unheld),
            worktree=str(worktree.id),
            files=list(lines),
        )


def _how_to_keep(worktree: WorktreeRecord, unheld: Sequence[git.Commit]) -> str:
    keep = f"commit to a branch or move them (cd {shlex.quote(str(worktree.path))})"
    if not worktree.path.is_dir():
        keep = f"put the folder back at {worktree.path}, or keep commits: git branch NAME COMMIT"
    elif unheld:
        keep = f"keep them: git branch NAME {unheld[0].sha[:10]}"
    return f"{keep}, or lose them: testgrove remove {worktree.id} --force"


def examine(project: Project, worktree: WorktreeRecord) -> Findings:
    """Examine everything that would be lost with a worktree: its files, and git's records.

    A foreign checkout in its place would not be removed, so it is not examined.
    """
    path = worktree.path
    if not git.is_checkout(project.repository, path) or is_anothers(project.repository, worktree):
        return examine_records(project, worktree)  # the folder in its place is not testgrove's, and is left alone
    state = git.status(path)
    found = _files(project, worktree, state)
    theirs = [f"{printable(name)} ({why})" for name, why in found.theirs]
    theirs += unpublished_in_clones(worktree, state.nested)
    from_records = examine_records(project, worktree, state.submodules)
    return Findings((*theirs, *from_records.users), found.outputs, from_records.unheld)


def examine_records(project: Project, worktree: WorktreeRecord, submodules: Collection[str] = ()) -> Findings:
    """Look at what git's records hold of a worktree, whether or not its folder is there.

    submodules: those that are checked out.
    """
    if is_anothers(project.repository, worktree):
        return Findings.nothing()
    history = history_of(project.repository, worktree, submodules)
    lonely = [described(commit) for commit in history.commits if not commit.from_ref]
    unheld = tuple(commit for commit in history.commits if commit.from_ref)
    away = [line] if (line := unmounted(project.store, worktree)) else []
    return Findings((*away, *lonely, *history.lines), unheld=unheld)


def _files(project: Project, worktree: WorktreeRecord, state: git.CheckoutStatus) -> Ownership:
    """Return the owner of each file that git does not contain unchanged."""
    path, database = worktree.path, _database_files(worktree)
    return classify(
        files.entries(path, [name for name in (*state.untracked, *state.nested) if name not in database]),
        modified=files.entries(path, state.modified),
        staged=state.staged,
        unmerged=state.unmerged,
        manifest=manifest_of(worktree),
        collect=project.from_top(project.settings.collect),
    )


def unpublished_in_clones(worktree: WorktreeRecord, nested: Iterable[str]) -> list[str]:
    """Return the user's commits in repositories in environments and caches: those not made by set-up or an attempt.

    Of a clone that ``pip install -e git+URL`` makes: what its remotes have not. Any other: that it is there.
    nested: the repositories in the checkout; those outside environments and caches are the user's anyway.
    """
    path, manifest = worktree.path, manifest_of(worktree) or Manifest()
    lines = []
    for name in nested:
        if not is_made_again(name) or all(manifest.holds(entry) for entry in files.entries(path, [name])):
            continue
        if not _is_environment_clone(path / name):
            lines.append(f"{name} (a nested repository)")
            continue
        state = git.status(path / name)
        changed = [f"{each} (modified)" for each in (*state.modified, *state.unmerged)]
        lines += [f"{name}: {line}" for line in (*changed, *git.unpublished(git.git_dir_of(path / name)))]
    return [printable(line) for line in lines]


def _is_environment_clone(path: Path) -> bool:
    return path.parent.name == "src" and (path.parent.parent / "pyvenv.cfg").exists()


def require_published_clones(worktree: WorktreeRecord) -> None:
    """Refuse to rebuild an environment with the user's work in its clones, which would be lost."""
    path = worktree.path
    if lines := unpublished_in_clones(worktree, git.environment_clones(path)):
        raise PreconditionError(
            "worktree-dirty",
            f"refusing to rebuild the environment of worktree {worktree.id}: {'; '.join(lines[:3])}",
            hint=f"push or move your work: cd {shlex.quote(str(path))}/.venv/src",
        )


def require_forward(worktree: WorktreeRecord, label: str, head: str, commit: str) -> None:
    """Raise PreconditionError (``worktree-dirty``, ``not-fast-forward``) if a worktree cannot take a newer commit."""
    path, newest = worktree.path, f"worktree {worktree.id} cannot fast-forward to the newest commit of {label}"
    newest, there = f"{newest}, {commit[:10]}", shlex.quote(str(path))
    state = git.status(path)
    changed = [*state.unmerged, *state.staged, *state.modified]
    if state.operation or changed:
        why = f"{state.operation} is not finished" if state.operation else f"{changed[0]} is modified"
        raise PreconditionError("worktree-dirty", f"{newest}: {why}", hint=f"git -C {there} status")
    if not git.is_ancestor(path, head, commit):
        hint = f"git -C {there} merge {label}   or rebase onto it"
        raise PreconditionError("not-fast-forward", f"{newest}: it has its own commits", hint=hint)


def require_untouched_submodules(repository: git.Repository, worktree: WorktreeRecord) -> None:
    """Raise PreconditionError (``worktree-dirty``) if an update of the submodules could discard the user's work.

    That a submodule is at another commit than the checkout's says nothing: a sync that was killed may have left it so.
    """
    path = worktree.path
    submodules = git.status(path).submodules
    lines = git.unpublished_in_submodules(repository, git.git_dir_of(path), path, submodules, worktree.own_commits)
    for name in submodules:
        state = git.status(path / name)
        changed = (*state.unmerged, *state.staged, *state.modified)
        lines += [f"{name}/{each} is modified" for each in changed if each not in state.submodules]
    if lines:
        raise PreconditionError(
            "worktree-dirty",
            printable(f"cannot update the submodules of worktree {worktree.id}: {'; '.join(lines[:3])}"),
            hint=f"push or move your work: git -C {shlex.quote(str(path))} submodule foreach --recursive git status",
        )


@frozen
class CheckoutContents:
    """The contents of a checkout at one moment that git does not have. untracked: nested repositories included."""

    untracked: Sequence[ManifestEntry]
    modified: Sequence[ManifestEntry]

    @classmethod
    def of(cls, tree: Path) -> CheckoutContents:
        """Look at a checkout. Raises UnavailableError when git cannot."""
        found = git.differences(tree)
        return cls(files.entries(tree, [*found.untracked, *found.nested]), files.entries(tree, found.modified))

    def manifest(self, tree: Path) -> Manifest:
        """All of it as written by us, but what has gone from the checkout since."""
        there = (entry for entry in self.untracked if os.path.lexists(tree / entry.path))
        return Manifest.of([*there, *self.modified])


def left_in_checkout(
    tree: Path, collect: Sequence[str], before: Manifest
) -> tuple[list[TrackedResource], CheckoutContents]:
    """Return unexpected new or changed files in a checkout, and all current files.

    Outputs, caches and ignored files are expected."""
    now = CheckoutContents.of(tree)
    found = classify(now.untracked, modified=now.modified, manifest=before, collect=collect).theirs
    ignored = git.ignored_among(tree, [name for name, _ in found])
    changed = {entry.path for entry in now.modified}

    def detail(name: str) -> str:
        if name in changed:
            return "a tracked file was changed"
        return "it existed before and was changed" if name in before.entries else ""

    # Without a .gitignore a snapshot, or a commit, has byte code in it, which each run writes again.
    told = [name for name, _ in found if name not in ignored and not is_made_again(name)]
    resources = [TrackedResource("file", printable(name), detail(name)) for name in told]
    return resources, now


def _database_files(worktree: WorktreeRecord) -> set[str]:
    """The databases that are files, which we made for the worktree: like those on a server, they go with it."""
    found: set[str] = set()
    for name, shown in worktree.databases.items():
        engine = engine_shown(name, shown)
        if engine.isolation == "file":
            file = Path(shown["name"]).relative_to(worktree.path)
            found |= {f"{file}{end}" for end in ("", *engine.companion_suffixes)}
    return found


def manifest_of(worktree: WorktreeRecord) -> Manifest | None:
    """Return the list of what set-up and attempts wrote; None where that is not known."""
    try:
        return Manifest.load(worktree.manifest) if worktree.manifest else None
    except ValueError:
        return None  # then no file counts as testgrove's


def require_no_mounts(worktree: WorktreeRecord, doing: str) -> None:
    """Raise PreconditionError (``mounted-inside``) if something is mounted in a worktree's folder, or over it.

    What is behind a mount point is never moved or deleted, not even with --force; what a mount hides is not judged.
    """
    mounts.require_none(worktree.path, f"worktree {worktree.id} cannot be {doing}")


def outputs_of(project: Project, worktree: WorktreeRecord, contents: CheckoutContents | None = None) -> tuple[str, ...]:
    """The recognised test outputs in a worktree; none where its checkout is gone, or another's.

    contents: what is in it, where that is known already.
    """
    path, database = worktree.path, _database_files(worktree)
    if not git.is_checkout(project.repository, path) or is_anothers(project.repository, worktree):
        return ()
    listing = [entry for entry in (contents or CheckoutContents.of(path)).untracked if entry.path not in database]
    return classify(listing, collect=project.from_top(project.settings.collect)).outputs


def collect_outputs(
    project: Project, worktree: WorktreeRecord, paths: Collection[str], *, into: Path | None = None
) -> None:
    """Move known test outputs to ``test-artifacts/<id>``, or into a run's folder.

    Raises PreconditionError (``mounted-inside``) if they could be behind a mount point.
    """
    if paths:
        mounts.require_none(worktree.path, f"cannot move the outputs of worktree {worktree.id}")
        outputs.collect(paths, worktree.path, into or project.artifacts / str(worktree.id))


def take_manifest(path: Path) -> str:
    """Record the files that git does not track, or that differ from git, as written by us, as of now."""
    return CheckoutContents.of(path).manifest(path).dump()


def take_manifest_of_a_dead_run(worktree: WorktreeRecord, last_beat_ns: int) -> str:
    """The manifest of a worktree whose run was killed while an attempt may have been writing.

    What was changed after the run's last sign of life, and a moment for its processes to die, is the user's.
    """
    path = worktree.path
    state = git.status(path)
    before = manifest_of(worktree) or Manifest()
    since = int((worktree.attempt_from or 0) * 10**9)
    until = last_beat_ns + _KILL_GRACE_NS

    def ours(entry: ManifestEntry) -> bool:
        written = worktree.attempt_from is not None and since <= entry.mtime_ns <= until
        return written or before.holds(entry)

    found = files.entries(path, [*state.untracked, *state.nested, *state.modified])
    return Manifest.of(entry for entry in found if ours(entry)).dump()
