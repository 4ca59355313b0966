"""Limits the cached files: keeps the newest few, deletes those that are no longer used."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def trim(directory: Path, pattern: str, *, most: int, days: float) -> None:
    """Delete the files of a folder that are too many, or were last used long ago. Their modification time is that of
    their last use; other commands may do the same at once."""
    used = []
    for path in directory.glob(pattern):
        with suppress(FileNotFoundError):
            used.append((path.stat().st_mtime, path))
    oldest = time.time() - days * 86400
    for number, (when, path) in enumerate(sorted(used, reverse=True)):
        if number >= most or when < oldest:
            path.unlink(missing_ok=True)
