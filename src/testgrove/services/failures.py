"""Failed builds: callers that waited for a build get its error and do not retry."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from testgrove.errors import TestgroveError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Failures:
    """Of one command's builds."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, TestgroveError]] = {}

    @contextmanager
    def remembered(self, name: str, began: float) -> Iterator[None]:
        """Build; or raise the error of a build that ended after the caller began to wait (time.monotonic())."""
        ended, failure = self._known.get(name, (0.0, None))
        if failure and ended >= began:
            raise type(failure)(failure.code, failure.message, hint=failure.hint, **failure.details)
        try:
            yield
        except TestgroveError as error:
            self._known[name] = (time.monotonic(), error)
            raise
