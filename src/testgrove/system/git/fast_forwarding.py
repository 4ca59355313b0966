"""Moving a checkout on to a newer commit, where nothing can be lost by it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from testgrove.errors import PreconditionError
from testgrove.system.git.call import LONGEST, call, require
from testgrove.system.git.checkout_status import status
from testgrove.system.git.in_the_way import away, in_the_way, in_the_way_of_merge

if TYPE_CHECKING:
    from pathlib import Path

_OVERWRITTEN = "{} is not tracked, and would be overwritten"


def head_of(path: Path) -> tuple[str, str]:
    """A checkout's commit, and the branch that it is on; empty when its HEAD is detached."""
    commit = require(call(path, "rev-parse", "--verify", "HEAD^{commit}"), f"read the HEAD of {path}")
    branch = call(path, "symbolic-ref", "--quiet", "--short", "HEAD").out.decode().strip()
    return commit.out.decode().strip(), branch


def upstream_of(path: Path, branch: str) -> tuple[str, str]:
    """The name and the commit of a branch's upstream, as this repository knows it; empty where there is none."""
    name = call(path, "rev-parse", "--abbrev-ref", f"{branch}@{{upstream}}")
    commit = call(path, "rev-parse", "--verify", "--quiet", f"{branch}@{{upstream}}^{{commit}}")
    if name.status != 0 or commit.status != 0:
        return "", ""
    return name.out.decode().strip(), commit.out.decode().strip()


def is_ancestor(path: Path, older: str, newer: str) -> bool:
    """Return whether one commit leads to another."""
    return call(path, "merge-base", "--is-ancestor", older, newer).status == 0


def fast_forward(path: Path, commit: str) -> None:
    """Move HEAD, and the branch it is on, to a descendant, unless an untracked file is in the way, ignored or not.

    Not under a supervisor: git must finish even if testgrove is killed, because an incomplete move is no valid state.
    Raises PreconditionError (``not-fast-forward``).
    """
    what = f"cannot fast-forward {path} to {commit[:10]}"
    for name in in_the_way(path, commit):
        raise PreconditionError("not-fast-forward", f"{what}: {_OVERWRITTEN.format(name)}", hint=away(path, name))
    words = ("--ff-only", "--quiet", "--no-autostash", "--no-overwrite-ignore", commit)
    answer = call(path, "merge", *words, timeout=LONGEST)
    if answer.status != 0:
        hint = f"git -C {shlex.quote(str(path))} merge --ff-only {commit[:10]}"
        raise PreconditionError("not-fast-forward", f"{what}: {answer.last_line}", hint=hint)


def merge(path: Path, commit: str, label: str) -> bool:
    """Bring a commit's changes into a checkout; whether there were any. Where that cannot be, it is left as it was.

    Raises PreconditionError (``worktree-dirty``, ``merge-conflict``, ``merge-refused``).
    """
    head, _ = head_of(path)
    if is_ancestor(path, commit, head):
        return False
    state = status(path)
    changed = [*state.unmerged, *state.staged, *state.modified]
    if state.operation or changed:
        why = f"{state.operation} is not finished" if state.operation else f"{changed[0]} is modified"
        hint = f"git -C {shlex.quote(str(path))} status"
        raise PreconditionError("worktree-dirty", f"refusing to merge {label} into {path}: {why}", hint=hint)
    for name in in_the_way_of_merge(path, commit):
        why = f"cannot merge {label} into {path}: {_OVERWRITTEN.format(name)}"
        raise PreconditionError("merge-refused", why, hint=away(path, name))
    words = ("--quiet", "--no-edit", "--no-autostash", "--no-verify", "-m", f"Merge {label}", commit)
    answer = call(path, "merge", *words, timeout=LONGEST)
    if answer.status == 0:
        return True
    conflicts = status(path).unmerged
    if call(path, "rev-parse", "--verify", "--quiet", "MERGE_HEAD").status == 0:
        require(call(path, "merge", "--abort", timeout=LONGEST), f"take the merge in {path} back")
    hint = f"git -C {shlex.quote(str(path))} merge {label}"
    if conflicts:
        names = ", ".join(conflicts[:3]) + (f" and {len(conflicts) - 3} more" if len(conflicts) > 3 else "")
        message = f"{label} conflicts with {path} in {names}; the worktree was left as it was"
        raise PreconditionError("merge-conflict", message, hint=hint, files=list(conflicts))
    raise PreconditionError("merge-refused", f"cannot merge {label} into {path}: {answer.last_line}", hint=hint)
