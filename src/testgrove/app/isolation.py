"""One broken thing breaks one thing: what goes wrong with one record is noted, and the next one's turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from testgrove.errors import StoreError, TestgroveError, UnavailableError
from testgrove.system.files import explain


@contextmanager
def isolated(what: str, on_failure: Callable[[TestgroveError], object]) -> Iterator[None]:
    """Run a block that works on one record; hand what it raises to on_failure instead of raising it.

    what: the block's work as a verb and its object (``recover worktree test-unit-a``). Ctrl-C is raised, and so is an
    error of the store, which would fail for every record.
    """
    try:
        yield
    except StoreError:
        raise
    except TestgroveError as error:
        on_failure(error)
    except Exception as error:  # noqa: BLE001 - a record, and what it names, can be broken in any way
        on_failure(as_expected(what, error))


def told(error: TestgroveError) -> str:
    """An error as a note, with what helps."""
    return f"{error.message}; to fix it: {error.hint}" if error.hint else error.message


def as_expected(what: str, error: Exception) -> TestgroveError:
    """Any exception as an error that names what failed."""
    if isinstance(error, OSError):
        return explain(what, error.filename or "", error)
    kind = type(error).__name__
    return UnavailableError("record-broken", f"cannot {what}: {kind}: {error}", hint="testgrove doctor")
