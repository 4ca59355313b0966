"""Secrets: text that no log, message or repr shows."""

from __future__ import annotations

from testgrove.core.frozen import frozen


@frozen
class Secret:
    """A value that is never shown: str() and repr() are redacted, reveal() is not."""

    value: str

    def __str__(self) -> str:
        return "********"

    __repr__ = __str__

    def reveal(self) -> str:
        """The value itself, for an environment file or a connection."""
        return self.value
