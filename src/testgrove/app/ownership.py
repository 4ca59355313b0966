"""Promise 2 on a real worktree: what in it is the user's, what is ours, what are outputs to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testgrove.app.project import Project
from testgrove.core.leaks import Thing
from testgrove.core.ownership import Entry, Manifest, classify, is_made_again
from testgrove.errors import PreconditionError
from testgrove.system import files, git, mounts, outputs
from testgrove.system.store import Row

_SHOWN = 10
_KILL_GRACE_NS = 3 * 10**9  # our processes live at most so long after the run's last heartbeat


@dataclass(frozen=True)
class Findings:
    """users: lines that name what is the user's. outputs: paths to be kept before the tree goes."""

    users: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @classmethod
    def nothing(cls) -> Findings:
        """For a worktree whose checkout is gone."""
        return cls()

    def summary(self) -> str:
        """The user's things in one line."""
        more = f" and {len(self.users) - 3} more" if len(self.users) > 3 else ""
        return f"has {'; '.join(self.users[:3])}{more}"

    def require_nothing_of_the_users(self, row: Row, doing: str) -> None:
        """Raise PreconditionError (``worktree-dirty``) unless the worktree can go without a loss."""
        if not self.users:
            return
        shown = "\n".join(f"    {line}" for line in self.users[:_SHOWN])
        more = f"\n    … and {len(self.users) - _SHOWN} more" if len(self.users) > _SHOWN else ""
        raise PreconditionError(
            "worktree-dirty",
            f"worktree {row['id']} cannot be {doing}: these are yours:\n{shown}{more}",
            hint=f"commit to a branch or move them (cd {row['path']}), "
            f"or lose them: testgrove remove {row['id']} --force",
            worktree=row["id"],
            files=list(self.users),
        )


def examine(project: Project, row: Row) -> Findings:
    """Look at a worktree: git's view of it, its manifest, and the commits that only it knows."""
    path = Path(row["path"])
    if not git.is_checkout(project.repository, path):
        return Findings.nothing()  # what is there instead is not ours, and is left alone
    state = git.status(path)
    database = _database_files(row)
    found = classify(
        files.entries(path, [name for name in (*state.untracked, *state.nested) if name not in database]),
        modified=files.entries(path, state.modified),
        staged=state.staged,
        unmerged=state.unmerged,
        manifest=manifest_of(row),
        collect=project.settings.collect,
    )
    users = [f"{printable(name)} ({why})" for name, why in found.theirs]
    users += [
        f"commit {commit.sha[:10]} {printable(commit.subject)} (on no branch)"
        for commit in git.foreign_commits(path, row["own_commits"])
    ]
    if state.operation:
        users.append(f"{state.operation} that is not finished")
    return Findings(tuple(users), found.outputs)


def left_in_checkout(tree: Path, collect: Sequence[str], before: Manifest) -> tuple[list[Thing], Manifest]:
    """What is in a checkout that was not there before or was changed, and that nobody expects there: no output, no
    cache, nothing that git is told to ignore. And all that is there now."""
    state = git.status(tree)
    listing, modified = files.entries(tree, [*state.untracked, *state.nested]), files.entries(tree, state.modified)
    found = classify(listing, modified=modified, manifest=before, collect=collect).theirs
    ignored = git.ignored_among(tree, [name for name, _ in found])
    changed = {entry.path for entry in modified}

    def detail(name: str) -> str:
        if name in changed:
            return "a tracked file was changed"
        return "it was there before, and was changed" if name in before.entries else ""

    # Without a .gitignore a snapshot, or a commit, has byte code in it, which each run writes again.
    told = [name for name, _ in found if name not in ignored and not is_made_again(name)]
    things = [Thing("file", printable(name), detail(name)) for name in told]
    return things, Manifest.of([*listing, *modified])


def printable(text: str) -> str:
    """A name as one line of text: line breaks, control characters and stray bytes as escapes."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _database_files(row: Row) -> set[str]:
    """The SQLite database that we made for the worktree: like one on a server, it goes with it."""
    sqlite = row["databases"].get("sqlite")
    if sqlite is None:
        return set()
    name = Path(sqlite["name"]).relative_to(row["path"])
    return {f"{name}{end}" for end in ("", "-wal", "-shm", "-journal")}


def manifest_of(row: Row) -> Manifest | None:
    """What set-up and attempts wrote; None where that is not known."""
    try:
        return Manifest.load(row["manifest"]) if row["manifest"] else None
    except ValueError:
        return None  # then nothing counts as ours


def require_no_mounts(row: Row, doing: str) -> None:
    """Raise PreconditionError (``mounted-inside``) if something is mounted in a worktree's folder, or over it.

    What is behind a mount point is never moved or deleted, not even with --force; what a mount hides is not judged.
    """
    mounts.require_none(Path(row["path"]), f"worktree {row['id']} cannot be {doing}")


def collect_outputs(project: Project, row: Row, findings: Findings, *, into: Path | None = None) -> None:
    """Move recognised test outputs to ``test-artifacts/<id>``, or into a run's folder.

    Raises PreconditionError (``mounted-inside``) if they could lie behind a mount point.
    """
    if findings.outputs:
        mounts.require_none(Path(row["path"]), f"the outputs of worktree {row['id']} cannot be moved")
        outputs.collect(findings.outputs, Path(row["path"]), into or project.artifacts / row["id"])


def take_manifest(path: Path) -> str:
    """What is in the tree now that git does not track, or that differs from git: written by us, as of now."""
    state = git.status(path)
    return files.take_manifest(path, [*state.untracked, *state.nested, *state.modified]).dump()


def take_manifest_of_a_dead_run(row: Row, last_beat_ns: int) -> str:
    """The manifest of a worktree whose run was killed while an attempt may have been writing.

    What was changed after the run's last sign of life, and a moment for its processes to die, is the user's.
    """
    path = Path(row["path"])
    state = git.status(path)
    before = manifest_of(row) or Manifest()
    since = int((row["attempt_from"] or 0) * 10**9)
    until = last_beat_ns + _KILL_GRACE_NS

    def ours(entry: Entry) -> bool:
        written = row["attempt_from"] is not None and since <= entry.mtime_ns <= until
        return written or before.holds(entry)

    found = files.entries(path, [*state.untracked, *state.nested, *state.modified])
    return Manifest.of(entry for entry in found if ours(entry)).dump()
