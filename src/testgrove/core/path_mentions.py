"""Search of a text for paths in certain folders: scripts, settings and lists that other programs have written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_BEFORE = r"(?<![\w.~-])"  # `/a/b` is not named by `/x/a/b`
_REST = r"/[^\s'\"`;|&<>()$\\\0]+"  # up to what ends a word in a script or a setting


def mentions(text: str, folders: Iterable[str]) -> list[str]:
    """The paths in these folders that a text names, each once, in its order. A blank ends a path, but in a folder's
    own name."""
    names = "|".join(re.escape(folder.rstrip("/")) for folder in folders)
    return list(dict.fromkeys(re.findall(f"{_BEFORE}(?:{names}){_REST}", text))) if names else []
