"""Git's records of one checkout, apart from its files: unreferenced commits, staged files, unfinished operations.

Everything is read through git from a git directory, so it works when the checkout's folder is missing, and with every
format of refs and object names that git supports.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from testgrove.system.git.call import LONGEST, Answer, call_common, require
from testgrove.system.git.snapshots import is_snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

OPERATIONS = {
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisection",
    "sequencer": "a cherry-pick or revert of several commits",
    "NOTES_MERGE_PARTIAL": "a merge of notes",
    "MERGE_AUTOSTASH": "a merge",
}
# Refs that each linked worktree has for itself: they go with it.
_PER_WORKTREE = ("refs/bisect/*", "refs/worktree/*", "refs/rewritten/*")
_SHA = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")
_FORMAT = "--format=%H%x00%P%x00%ce%x00%s%x00"


class Commit(NamedTuple):
    """A commit that nothing else references.

    from_ref: testgrove checked out this commit or a descendant, so it came from a ref. snapshot: testgrove created
    it."""

    sha: str
    subject: str
    parents: tuple[str, ...] = ()
    from_ref: bool = False
    snapshot: bool = False


def ask(git_dir: Path, *words: str, stdin: bytes | None = None) -> Answer:
    """Run git on a git directory whose files may be missing (a submodule's names its folder, and git goes there)."""
    return call_common(git_dir, *words, stdin=stdin, env={"GIT_WORK_TREE": str(git_dir)}, timeout=LONGEST)


def foreign_commits(git_dir: Path, own: Collection[str] = ()) -> list[Commit]:
    """Commits that would be lost with a linked worktree, the newest first.

    They are reachable from its HEAD, its reflog or its own refs, and from no shared ref. testgrove's snapshots are left
    out. git_dir: its record in the repository. own: the commits that testgrove checked out there; those came from a
    ref. Raises UnavailableError when git fails.
    """
    refs = [f"--glob={each}" for each in _PER_WORKTREE]
    shared = [*(f"--exclude={each}" for each in _PER_WORKTREE), "--glob=refs/*"]
    found = unheld(git_dir, _heads(git_dir), [*refs, "--not", *shared])
    from_ref = {*own}
    for commit in found:
        if commit.sha in from_ref:
            from_ref.update(commit.parents)
    return [commit._replace(from_ref=commit.sha in from_ref) for commit in found if not commit.snapshot]


def foreign_objects(git_dir: Path) -> list[str]:
    """Return a linked worktree's own refs to blobs, trees or tags, which may exist nowhere else.

    Raises UnavailableError when git fails.
    """
    folders = (each.removesuffix("/*") for each in _PER_WORKTREE)
    if detached_at(git_dir) is not None and not any((git_dir / folder).exists() for folder in folders):
        return []  # git never packs these refs, so there are none
    words = ("for-each-ref", "--format=%(objecttype) %(refname)", *(each.removesuffix("/*") for each in _PER_WORKTREE))
    listed = require(ask(git_dir, *words), f"list the refs of {git_dir}").out
    named = (os.fsdecode(line).split(" ", 1) for line in listed.splitlines())
    return [f"{name} (a {kind} that only this worktree's ref names)" for kind, name in named if kind != "commit"]


def unheld(git_dir: Path, start: Iterable[str], refs: Sequence[str]) -> list[Commit]:
    """The commits that start leads to and refs do not, children before parents.

    refs: options of ``git rev-list`` that name refs, with ``--not`` before those that hold commits.
    """
    names = os.fsencode("".join(f"{name}\n" for name in dict.fromkeys(start)))
    words = ("rev-list", "--topo-order", "--no-commit-header", _FORMAT, "--stdin", *refs)
    answer = require(ask(git_dir, *words, stdin=names), f"read the commits of {git_dir}")
    fields = iter(os.fsdecode(answer.out).split("\0"))
    found = []
    for sha, parents, email, subject in zip(fields, fields, fields, fields, strict=False):
        ours = is_snapshot(email, subject)
        found.append(Commit(sha.strip(), subject, tuple(parents.split()), snapshot=ours))
    return found


def tips(commits: Iterable[Commit]) -> list[Commit]:
    """Those that no other leads to: a ref at each holds all of them."""
    commits = list(commits)
    parents = {parent for commit in commits for parent in commit.parents}
    return [commit for commit in commits if commit.sha not in parents]


def _heads(git_dir: Path) -> list[str]:
    """HEAD, and where it was. Where HEAD is detached and refs are files, no process is started to tell."""
    if (head := detached_at(git_dir)) is not None and (log := _read(git_dir / "logs/HEAD")) is not None:
        lines = [line.split(b" ", 2) for line in log.splitlines()]
        if all(len(line) == 3 and _SHA.fullmatch(line[1]) for line in lines):
            return [head, *(line[1].decode() for line in lines if line[1].strip(b"0"))]
    walked = ask(git_dir, "rev-list", "--walk-reflogs", "HEAD", "--")
    if walked.status == 0:
        return ["HEAD", *walked.out.decode().split()]
    if ask(git_dir, "rev-parse", "--verify", "--quiet", "HEAD").status == 0:
        require(walked, f"read the reflog of {git_dir}")
    # The branch that HEAD is on was deleted. Its own reflog is then all that no other checkout has, too.
    return sorted(_in_reflogs(git_dir) - _in_reflogs(common_dir_of(git_dir)))


def _in_reflogs(git_dir: Path) -> set[str]:
    words = ("rev-list", "--no-walk", "--single-worktree", "--reflog")
    return {*require(ask(git_dir, *words), f"read the reflogs of {git_dir}").out.decode().split()}


def not_in_reflogs(common_dir: Path, commits: Sequence[Commit]) -> list[Commit]:
    """Those of the commits that the reflogs of the main checkout and of shared refs do not hold."""
    if not commits:
        return []
    names = "".join(f"{commit.sha}\n" for commit in commits).encode()
    words = ("rev-list", "--single-worktree", "--stdin", "--not", "--reflog")
    left = {*require(ask(common_dir, *words, stdin=names), f"read the reflogs of {common_dir}").out.decode().split()}
    return [commit for commit in commits if commit.sha in left]


def common_dir_of(git_dir: Path) -> Path:
    """The repository's git directory, as a linked worktree's names it."""
    from pathlib import Path  # noqa: PLC0415 - only needed here at run time

    question = ("rev-parse", "--path-format=absolute", "--git-common-dir")
    return Path(os.fsdecode(require(ask(git_dir, *question), f"read {git_dir}").out.removesuffix(b"\n")))


def staged_files(git_dir: Path) -> list[str]:
    """Files whose content in the index is not the one in HEAD; those that are only deleted there are left out."""
    head = ask(git_dir, "rev-parse", "--verify", "--quiet", "HEAD^{tree}").out.decode().strip()
    tree = head or require(ask(git_dir, "hash-object", "-t", "tree", "--stdin", stdin=b""), "name an empty tree").out
    words = ("diff-index", "--cached", "--no-renames", "--diff-filter=d", "--name-only", "-z")
    name = tree if isinstance(tree, str) else tree.decode().strip()
    return require(ask(git_dir, *words, name), f"read the index in {git_dir}").fields()


def detached_at(git_dir: Path) -> str | None:
    """The commit that HEAD is detached at, where refs are files; None where it is on a branch, or git must be asked.

    Where refs have another format, such as a reftable, the file HEAD names a branch that cannot be.
    """
    head = (_read(git_dir / "HEAD") or b"").strip()
    return head.decode() if _SHA.fullmatch(head) and not (git_dir / "reftable").exists() else None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def operation(git_dir: Path) -> str:
    """Return git's unfinished operation (``a rebase``), or empty. Raises UnavailableError when git cannot tell."""
    there = {name for name in OPERATIONS if (git_dir / name).exists()}
    if (git_dir / "reftable").exists():  # there, most of these names are refs and not files
        listed = ask(git_dir, "for-each-ref", "--include-root-refs", "--format=%(refname)", "--exclude=refs/")
        there.update(os.fsdecode(require(listed, f"list the refs of {git_dir}").out).split())
    return next((what for name, what in OPERATIONS.items() if name in there), "")
