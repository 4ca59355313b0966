"""Files that this user cannot delete: another user's folders, such as a container leaves, and immutable files."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import stat
import struct
from contextlib import suppress
from pathlib import Path

from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system.files import explain

CODE = "undeletable"
_GET_FLAGS, _FIXED = 0x80086601, 0x10 | 0x20  # FS_IOC_GETFLAGS; immutable, append-only


def require_deletable(tree: Path, failed: str, *, skip: tuple[str, ...] = (), flags: bool = False) -> None:
    """Raise PreconditionError (``undeletable``) if something in a folder cannot be deleted; it names the first.

    failed: the sentence's begin (``worktree x cannot be removed``). skip: names at the top that may stay. flags: look
    for files made immutable as well, which opens each one.
    """
    todo = [str(tree)]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if folder != str(tree) or entry.name not in skip]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                continue  # too deep for a path; deletion goes by descriptors, and names what it cannot delete
            entries = []
            if not _is_own(folder):
                raise _error(failed, folder, tree) from None
        if entries and not _can_empty(folder):
            raise _error(failed, folder, tree)
        for path in (folder, *(entry.path for entry in entries)) if flags else ():
            if is_fixed(path):
                raise _error(failed, path, tree)
        todo += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def explain_deletion(file: Path, top: Path, error: OSError) -> TestgroveError:
    """The error for a file that could not be deleted, with the command that helps. top: what was to be deleted."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return _error(f"cannot delete {top}", str(file), top)
    return explain("delete", top, error)


def is_fixed(path: str) -> bool:
    """Return whether a file or folder is immutable or append-only (chattr +i, +a): even root cannot delete it."""
    with suppress(OSError):
        if stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFREG, stat.S_IFDIR):  # a pipe would be waited for
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                return bool(struct.unpack("l", fcntl.ioctl(handle, _GET_FLAGS, bytes(8)))[0] & _FIXED)
            finally:
                os.close(handle)
    return False


def _is_own(path: str) -> bool:
    try:
        return os.lstat(path).st_uid == os.geteuid()
    except FileNotFoundError:
        return True  # another command has deleted it
    except OSError as error:
        raise explain("read", Path(path), error) from error


def _can_empty(folder: str) -> bool:
    """Return whether the entries of a folder can be deleted; this user's own folder can be made writable for that."""
    return _is_own(folder) or os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def _error(failed: str, blocker: str, top: Path) -> PreconditionError:
    quoted, near = shlex.quote(str(top)), (blocker, os.path.dirname(blocker))  # noqa: PTH120 - a str all along
    if fixed := next(filter(is_fixed, near), ""):
        why, blocker = "is immutable", fixed
        hint = f"sudo chattr -ia {shlex.quote(fixed)}   then retry"
    else:
        why = _whose(blocker, near)
        hint = f"sudo chown -R $USER {quoted}   then retry; or delete it: sudo rm -rf {quoted}"
    return PreconditionError(CODE, f"{failed}: {blocker} {why}", hint=hint, path=str(top), blocker=blocker)


def _whose(blocker: str, near: tuple[str, ...]) -> str:
    """Why a file cannot be deleted: it, or the folder that it is in, is another user's."""
    for path in near:
        with suppress(OSError):
            if (owner := os.lstat(path).st_uid) != os.geteuid():
                where = "" if path == blocker else f"is in {path}, which "
                return f"{where}belongs to user {owner}"
    return "cannot be deleted: permission denied"
