"""Being another user of the machine for a moment: root's tests only, in a child process that gives its rights away."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - the child, which may not be able to read this installation, imports nothing
import grp  # noqa: F401 - as above
import os
import pickle
import pwd  # noqa: F401 - as above
import secrets
import signal
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import needs
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system import trusted_paths

T = TypeVar("T")
_LOW, _HIGH = 61000, 64000  # no distribution gives these to anybody


def require_root() -> None:
    """End the test where it cannot be two users."""
    if os.geteuid() != 0:
        needs.missing("root", "only root can be two users")


def two_users() -> tuple[int, int]:
    """Two numbers that no user has."""
    require_root()
    first = _LOW + 2 * secrets.randbelow((_HIGH - _LOW) // 2)
    return first, first + 1


def as_user(user: int, action: Callable[..., T], *arguments: object) -> T:
    """What an action returns as that user. Raises PreconditionError for every expected error, OSError as it was."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of pytest's own, which the child does without
        child = os.fork()
    if child == 0:
        os.close(read)
        _be(user, action, arguments, write)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        data = answer.read()
    os.waitpid(child, 0)
    kind, value = pickle.loads(data)
    if kind == "refused":
        raise PreconditionError(*value)
    if kind == "failed":
        raise OSError(*value)
    assert kind == "done", value
    return value  # type: ignore[no-any-return]


def start_as(user: int, action: Callable[..., object], *arguments: object) -> int:
    """The pid of a child that does something as that user until it is killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _be(user, action, arguments, os.open(os.devnull, os.O_WRONLY))
    return child


def end(child: int) -> None:
    """Kill a child of start_as()."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _be(user: int, action: Callable[..., object], arguments: tuple[object, ...], write: int) -> None:
    result: tuple[str, Any]
    try:
        trusted_paths._is_own_group.cache_clear()  # it was asked as root
        os.umask(0o022)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        result = "done", action(*arguments)
    except TestgroveError as error:
        result = "refused", (error.code, error.message)
    except OSError as error:
        result = "failed", (error.errno, error.strerror)
    except BaseException:  # noqa: BLE001 - told by the parent
        result = "bug", traceback.format_exc()
    with os.fdopen(write, "wb") as answer, suppress(BrokenPipeError):
        pickle.dump(result, answer)
    os._exit(0)
