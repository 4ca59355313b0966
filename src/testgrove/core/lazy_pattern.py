"""Regular expressions that are compiled when they are first used."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, AnyStr, cast

if TYPE_CHECKING:
    from collections.abc import Callable


def lazy_pattern(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what `re.compile` returns, compiled when one of its attributes is first asked for.

    `testgrove test` imports a hundred patterns and uses some twenty: compiling the others took 15 ms of its start.
    """
    return cast("re.Pattern[AnyStr]", _LazyPattern(lambda: re.compile(pattern, flags)))


class _LazyPattern:
    def __init__(self, make: Callable[[], re.Pattern[Any]]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        """Look the name up in the compiled pattern, and keep what was found."""
        value = getattr(self._make(), name)
        setattr(self, name, value)
        return value
