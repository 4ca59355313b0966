"""What testgrove and its supervisors say to one another over a pipe: dictionaries, each with its size before it.

In marshal's format: both ends are the same interpreter and the same user, and importing json takes a supervisor longer
than most of its start. Imported by supervisor.py, from its folder.
"""

from __future__ import annotations

import marshal

TYPE_CHECKING = False  # typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_SIZE = 4  # bytes


def packed(message: dict[str, Any]) -> bytes:
    """A message as it is sent."""
    data = marshal.dumps(message)
    return len(data).to_bytes(_SIZE, "big") + data


def received(data: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """The messages that are complete, and what has come of the next one."""
    found: list[dict[str, Any]] = []
    while len(data) >= _SIZE and len(data) >= (end := _SIZE + int.from_bytes(data[:_SIZE], "big")):
        found.append(marshal.loads(data[_SIZE:end]))  # noqa: S302 - of the same user's process
        data = data[end:]
    return found, data
