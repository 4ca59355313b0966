"""The errors a user can meet. Data only: how they look is decided by the command line.

Exit statuses: 0 done · 1 tests failed · 2 wrong usage or configuration · 3 a precondition does not
hold · 4 a resource is used up · 5 a service did not answer · 6 leaks, where they are asked to fail ·
130 interrupted · 70 a bug.
"""

from __future__ import annotations

from typing import ClassVar


class TestgroveError(Exception):
    """An expected failure.

    code: a stable slug for scripts (``worktree-dirty``). message: one sentence that names the thing.
    hint: what to do next, where possible a command to type. details: values for ``--json``.
    """

    __test__ = False  # the name begins with "Test", and pytest would try to collect it
    exit_status: ClassVar[int] = 70

    def __init__(self, code: str, message: str, *, hint: str = "", **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details = details


class UsageError(TestgroveError):
    """Wrong usage or configuration."""

    exit_status = 2


class PreconditionError(TestgroveError):
    """A precondition does not hold: something exists, is missing, is dirty or is held."""

    exit_status = 3


class ExhaustedError(TestgroveError):
    """A resource is used up: ports, disk, connections."""

    exit_status = 4


class UnavailableError(TestgroveError):
    """A service or a tool did not answer, or failed."""

    exit_status = 5


class StoreError(UnavailableError):
    """The store cannot be used, or is damaged."""


class LeakError(TestgroveError):
    """Something was left behind, where that is asked to fail."""

    exit_status = 6


class InterruptedByUser(TestgroveError):  # noqa: N818 - it is the user's wish, not an error
    """Ctrl-C, or a TERM or HUP signal."""

    exit_status = 130
