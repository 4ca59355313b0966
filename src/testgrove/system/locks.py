"""Locks that the kernel releases when their holder dies.

Open-file-description locks (fcntl(2), F_OFD_SETLK): the descriptor is close-on-exec, so a child that is executed
never keeps one. Lock files are never unlinked: a lock on a replaced file excludes no other process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from testgrove.errors import PreconditionError
from testgrove.system.files import explained

# struct flock on 64-bit Linux, both architectures: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = struct.Struct("hhxxxxqqixxxx")
_WHOLE = (0, 0)
OnWait = Callable[[str], None]


class Lock:
    """A lock that is held. Released by release(), or by the kernel."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def release(self) -> None:
        """Let go; a second call does nothing. A child that was handed the descriptor holds on until it ends."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class LockFile:
    """Any number of locks, named by keys, in one file: each key is one byte at an offset of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def try_acquire(self, key: str) -> Lock | None:
        """Return the lock, or None while another process holds it."""
        return _try(self.path, (_offset(key), 1))

    def is_held(self, key: str) -> bool:
        """Return whether any process, including this one, holds the key."""
        fd = _open(self.path)
        try:
            question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _offset(key), 1, 0)
            answer = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, question))
        finally:
            os.close(fd)
        return bool(answer[0] != fcntl.F_UNLCK)

    @contextmanager
    def hold(self, key: str, *, what: str, timeout: float, on_wait: OnWait | None = None) -> Iterator[None]:
        """Hold the key, like exclusive(). on_wait: called repeatedly with the reason while it waits; may raise."""
        with _waiting(self.path, (_offset(key), 1), what, timeout, on_wait, again=True):
            yield


@contextmanager
def exclusive(path: Path, *, what: str, timeout: float = 120.0, on_wait: OnWait | None = None) -> Iterator[Lock]:
    """Hold a whole lock file.

    what: its name in messages (``the git lock of /repo``). timeout: seconds. on_wait: called once with the reason, if
    it has to wait. Raises PreconditionError (``lock-timeout``).
    """
    with _waiting(path, _WHOLE, what, timeout, on_wait) as lock:
        yield lock


@contextmanager
def _waiting(
    path: Path, span: tuple[int, int], what: str, timeout: float, on_wait: OnWait | None, *, again: bool = False
) -> Iterator[Lock]:
    deadline = time.monotonic() + timeout
    pause = 0.001
    lock = _try(path, span)
    if lock is None and on_wait is not None:
        on_wait(f"waiting for {what}")
    while lock is None:
        if time.monotonic() > deadline:
            raise PreconditionError(
                "lock-timeout",
                f"timed out after {timeout:g} s waiting for {what}",
                hint=f"it is held by another testgrove command; to find it: fuser {path}",
            )
        time.sleep(pause)
        if again and on_wait is not None:
            on_wait(f"waiting for {what}")
        pause = min(pause * 2, 0.02)
        lock = _try(path, span)
    try:
        yield lock
    finally:
        lock.release()


def other_users(path: Path, *, but: str) -> list[int]:
    """The other processes that have a lock file open. but: a word of the command line of those that do not count."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with suppress(OSError):
                links = (os.readlink(each) for each in (process / "fd").iterdir())  # noqa: PTH115 - it may be no path
                if str(path) in links and but.encode() not in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
    return found


def try_byte(path: Path, offset: int, *, shared: bool = False) -> Lock | None:
    """Return a lock on one byte of a lock file, or None while another lock excludes it."""
    return _try(path, (offset, 1), fcntl.F_RDLCK if shared else fcntl.F_WRLCK)


def _try(path: Path, span: tuple[int, int], kind: int = fcntl.F_WRLCK) -> Lock | None:
    fd = _open(path)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, *span, 0))
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return None
        raise
    return Lock(fd)


def _open(path: Path) -> int:
    with explained("open the lock file", path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _offset(key: str) -> int:
    import hashlib  # noqa: PLC0415 - 2 ms; `list` does without

    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest())
