"""Paths that no other user of the machine can replace.

A path is as safe as the weakest folder on the way to it. It is walked from ``/``, resolving symbolic links one by one;
each folder must belong to this user or root, and must not be writable by other users. In a sticky folder (``/tmp``)
others can create names, but not rename or remove this user's: the next part must belong to this user or root. The
result stays valid after the check, so the resolved path is safe for a program that opens files by path (SQLite).
"""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

from testgrove.errors import PreconditionError

_ROOT = 0
_MOST_LINKS = 40  # as the kernel has it
_ACL = "system.posix_acl_access"
_HINT = "set TESTGROVE_STATE_DIR, TESTGROVE_CACHE_DIR or TESTGROVE_SCRATCH_DIR to a folder that only you can write to"


def make_private(folder: Path, mode: int = 0o700) -> Path:
    """Create a private folder and its parents if needed; return its path with all links resolved.

    Raises PreconditionError (``folder-unusable``) if it cannot be created, is a link or a file, belongs to another
    user, or if another user could replace it or write to it.
    """
    try:
        parent = _walk(folder.absolute().parent, make=True)
        found = _own_folder(parent / folder.name, mode)
    except OSError as error:
        raise _unusable(f"cannot use {folder}: {(error.strerror or str(error)).lower()}") from error
    if problem := _why_writable(found, folder):
        raise _unusable(f"{folder} is not safe to use: {problem}", f"check its contents, then: chmod go-w {folder}")
    return parent / folder.name


def require_own_file(path: Path) -> None:
    """Refuse a file that another user created, can change, or has a link to. A missing one is accepted.

    Raises PreconditionError (``not-ours``).
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        problem = "it is not a regular file"
    elif found.st_uid != os.geteuid():
        problem = f"it belongs to user {found.st_uid}"
    elif found.st_nlink > 1:
        problem = "it has another name (a hard link)"
    elif found.st_mode & 0o022:
        problem = "other users can write to it"
    else:
        return
    raise PreconditionError("not-ours", f"{path} is not safe to use: {problem}", hint=f"ls -l {path}")


def require_trusted_parent(folder: Path, like: Path) -> None:
    """Refuse a folder in which another user could replace what is made there. A missing one is accepted.

    like: a folder of the same project; its owner is trusted, and where other users can write to it, they can here.
    Raises PreconditionError (``folder-unusable``).
    """
    try:
        looks, project = [folder.lstat()], like.stat()
        with suppress(OSError):  # a link that leads nowhere
            looks.append(folder.stat())
    except OSError:
        return  # it is missing, or its use will fail
    owners, trusted = {each.st_uid for each in looks}, {_ROOT, os.geteuid(), _unmapped_user(), project.st_uid}
    hint = "remove or rename it, or set `root` in [tool.testgrove] to a folder that only you can write to"
    if foreign := owners - trusted:
        raise _unusable(f"{folder} belongs to user {foreign.pop()}, who could replace worktrees in it", hint)
    found = looks[-1]
    problem = "" if stat.S_ISLNK(found.st_mode) or found.st_mode & stat.S_ISVTX else _why_writable(found, folder)
    if problem and not _why_writable(project, like):
        raise _unusable(f"{folder} is not safe to use: {problem}", f"chmod go-w {folder}")


def owner_of(path: Path) -> int | None:
    """The user that a file or folder belongs to, links followed; None where there is none."""
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _own_folder(path: Path, mode: int) -> os.stat_result:
    with suppress(FileExistsError):
        path.mkdir(mode)
    found = path.lstat()
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        raise _unusable(f"{path} is not a folder", f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.old')}")
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise _unusable(f"{path} is not a folder of user {os.geteuid()}", f"ls -ld {path}")
    return found


def _walk(path: Path, *, make: bool = False) -> Path:
    """The path of a folder with all links resolved, each part of the way checked. make: folders that are missing."""
    left, links = [*reversed(path.parts[1:])], 0
    at = _checked(Path("/"))
    while left:
        name = left.pop()
        if name == "..":
            at = at.parent  # the real one: every link before it is resolved
            continue
        step = at / name
        if make and not os.path.lexists(step):
            _make(step)
        if not step.is_symlink():
            at = _checked(step)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise _unusable(f"cannot use {path}: too many levels of symbolic links")
        _require_trusted_owner(step, step.lstat())
        target = step.readlink()
        left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        at = Path("/") if target.is_absolute() else at
    return at


def _make(path: Path) -> None:
    with suppress(FileExistsError):  # another command or user was faster: it is checked next
        path.mkdir(0o700)


def _checked(path: Path) -> Path:
    """The same folder. Raises PreconditionError where it cannot be trusted."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise _unusable(f"{path} is not a folder")
    _require_trusted_owner(path, found)
    if not found.st_mode & stat.S_ISVTX and (problem := _why_writable(found, path)):
        cure = "+t" if found.st_mode & stat.S_IWOTH else "g-w"
        raise _unusable(f"other users could replace files below {path}: {problem}", f"chmod {cure} {path}; or {_HINT}")
    return path


def _require_trusted_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid in (_ROOT, os.geteuid()) or (found.st_uid == _unmapped_user()):
        return
    raise _unusable(f"{path} belongs to user {found.st_uid}, who could replace files below it")


def _why_writable(found: os.stat_result, path: Path) -> str:
    """Return how others could write to a folder; empty where they cannot."""
    if found.st_mode & stat.S_IWOTH:
        return f"{path} is writable by all users"
    if found.st_mode & stat.S_IWGRP:
        if _has_acl(path):
            return f"an access control list of {path} lets other users write"
        if not _is_own_group(found.st_gid):
            return f"{path} is writable by the group {found.st_gid}, which has other members"
    return ""


def _has_acl(path: Path) -> bool:
    """Return whether the group's permission bits are the mask of an access control list, not the group's rights."""
    try:
        return bool(os.getxattr(path, _ACL))
    except OSError:
        return False


@cache
def _is_own_group(group: int) -> bool:
    """Return whether only this user and root are in a group: with a umask of 002, it can write to folders."""
    import grp  # noqa: PLC0415 - most folders are not group-writable
    import pwd  # noqa: PLC0415 - as above

    if group == _ROOT:
        return True  # who is in it was put there by root
    trusted = {_ROOT, os.geteuid()}
    users = pwd.getpwall()
    try:
        named = set(grp.getgrgid(group).gr_mem)
    except KeyError:
        named = set()
    members = {user.pw_uid for user in users if user.pw_gid == group or user.pw_name in named}
    known = {user.pw_name for user in users}
    return group in (os.getegid(), *os.getgroups()) and members <= trusted and named <= known


@cache
def _unmapped_user() -> int | None:
    """Return the uid shown for files whose owner has no uid in this user namespace; no user in it can be that owner.

    None if every user has a uid here."""
    try:
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except (OSError, ValueError):
        return None
    spans = [(int(first), int(count)) for first, _, count in (line.split() for line in lines)]
    return None if any(first <= overflow < first + count for first, count in spans) else overflow


def _unusable(message: str, hint: str = _HINT) -> PreconditionError:
    return PreconditionError("folder-unusable", message, hint=hint)
