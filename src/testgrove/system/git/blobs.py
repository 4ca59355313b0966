"""The contents of a commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.system.git.call import call, require

if TYPE_CHECKING:
    from pathlib import Path


def blobs_at(checkout: Path, commit: str) -> dict[str, str]:
    """The files of a commit, each with a name for its content and mode; of submodules, their commits."""
    answer = require(call(checkout, "ls-tree", "-r", "-z", "--full-tree", commit), f"read {commit}")
    pairs = (line.partition("\t") for line in answer.fields())
    return {path: name for name, _, path in pairs}
