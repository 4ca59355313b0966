"""Places where testgrove cannot work: outside of a checkout, or before the first commit; and the way out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from testgrove.errors import PreconditionError
from testgrove.system.git.call import Answer, call

_COMMIT = 'git add --all && git commit --message "First commit"'
_FIRST = ("main", "master", "trunk", "develop")


def no_repository(directory: Path, answer: Answer) -> PreconditionError:
    """The error for a folder that is in no checkout, with the way into one. answer: what git said."""
    inside = call(directory, "rev-parse", "--is-bare-repository", "--is-inside-git-dir")
    words = inside.out.split() if inside.status == 0 else []
    if words[:1] == [b"true"]:
        message = f"{directory} is a bare repository and has no files to test"
        hint = _into_checkout(directory) or "git worktree add ../main   then run testgrove there"
        return PreconditionError("bare-repository", message, hint=hint)
    if words[1:] == [b"true"]:
        return PreconditionError(
            "no-repository",
            f"{directory} is inside a .git folder",
            hint=f"cd {shlex.quote(str(_above_git(directory)))}",
        )
    folders = (directory.resolve(), *directory.resolve().parents)
    top = next((folder for folder in folders if (folder / ".git").exists()), None)
    if top is not None and top.stat().st_uid != os.geteuid():
        message = f"git refuses to work in {top}, which belongs to another user"
        return PreconditionError(
            "git-refused", message, hint=f"git config --global --add safe.directory {shlex.quote(str(top))}"
        )
    if top is not None:
        return PreconditionError("git-refused", f"cannot use git in {directory}: {answer.last_line}",
                                 hint=f"git -C {shlex.quote(str(directory))} status")  # fmt: skip
    hint = _into_checkout(directory, _FIRST) or f"git init && {_COMMIT}"
    return PreconditionError("no-repository", f"{directory} is not in a git repository", hint=hint)


def no_commit(toplevel: Path, git_dir: Path) -> PreconditionError:
    """The error for a branch without a commit, which is checked out: it is new, or was deleted."""
    branch = os.fsdecode(call(toplevel, "symbolic-ref", "--quiet", "HEAD").out).strip()
    last = _last_commit(toplevel, git_dir)
    if not last:
        return PreconditionError("no-commit", f"{toplevel}: HEAD has no commit yet", hint=_COMMIT)
    return PreconditionError(
        "no-commit",
        f"{toplevel}: the branch {branch.removeprefix('refs/heads/')}, which is checked out, has no commit",
        hint=f"git commit; if it was deleted: git -C {shlex.quote(str(toplevel))} update-ref {branch} {last}",
    )


def _last_commit(toplevel: Path, git_dir: Path) -> str:
    """The commit that HEAD was at last, although its branch does not exist now; how to find it if git does not tell."""
    if (git_dir / "reftable").exists():
        some = call(toplevel, "rev-list", "--single-worktree", "--reflog", "--max-count=1").out
        return f"COMMIT (one of: git -C {shlex.quote(str(toplevel))} log --reflog --oneline)" if some else ""
    try:
        old, new = (git_dir / "logs/HEAD").read_text(errors="replace").splitlines()[-1].split()[:2]
    except (OSError, IndexError, ValueError):
        return ""
    return new if new.strip("0") else old


def _into_checkout(directory: Path, names: Collection[str] = ()) -> str:
    """The command that enters a checkout in a folder around several; empty where there is none.

    names: which alone may be meant; by default any, of which those in _FIRST come first.
    """
    with suppress(OSError):
        found = sorted(path.name for path in directory.iterdir() if (path / ".git").exists())
        name = next((name for name in _FIRST if name in found), next(iter(found), ""))
        return f"cd {shlex.quote(name)}" if name and (not names or name in names) else ""
    return ""


def _above_git(directory: Path) -> Path:
    """The folder that a .git folder, in which directory is, stands in."""
    return next((path.parent for path in (directory, *directory.parents) if path.name == ".git"), directory.parent)
