"""Fingerprints of environments: a hash over all that decides their contents."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from testgrove.core.environments.declared import read_toml
from testgrove.core.environments.sources import is_telling

if TYPE_CHECKING:
    from collections.abc import Mapping

# Tables of pyproject.toml that configure checks of the code, not what is installed.
_OTHER_TOOLS = frozenset({
    "bandit", "basedpyright", "black", "codespell", "commitizen", "coverage", "flake8", "importlinter",
    "isort", "mypy", "nox", "pylint", "pyright", "pytest", "ruff", "testgrove", "towncrier", "tox", "vulture",
})  # fmt: skip


def fingerprint(files: Mapping[str, bytes], facts: Mapping[str, object]) -> str:
    """A hash over all that decides what an environment holds. facts: such as the interpreter; JSON-able."""
    whole = hashlib.blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=20)
    for path in sorted(files):
        content = _deciding_part(path, files[path])
        whole.update(f"\0{path}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def _deciding_part(path: str, content: bytes) -> bytes:
    if is_telling(path):
        return b""
    if PurePosixPath(path).name != "pyproject.toml":
        return content
    tables = read_toml(path, content)
    tool = {name: table for name, table in tables.get("tool", {}).items() if name not in _OTHER_TOOLS}
    return json.dumps({**tables, "tool": tool}, sort_keys=True, default=str).encode()
