"""From ids to the names of folders, databases, variables and compose projects. Different ids never share a name."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testgrove.core.model import WorktreeId

PURPOSES = ("test-unit", "test-integration", "test-performance", "test-premerge", "test-migration", "test-matrix")
# What a worktree's env file carries besides its ports, its services' variables and the project's own values.
FIXED_VARIABLES = ("TEST_MODE", "WORKTREE_ID", "COMPOSE_PROJECT_NAME")
_HASH = 8


def database_name(worktree: WorktreeId, limit: int = 63, *, service: str = "") -> str:
    """``testdb_<purpose without "test-">_<identifier>`` with ``-`` as ``_``, at most limit bytes.

    service: the name of a service that does not bear its engine's name, which is added.

    A short hash is added where that alone could be another worktree's name too, or would not be a plain one.
    """
    purpose = worktree.purpose.removeprefix("test-")
    # "review" and "test-review" lose their difference, so one of the two must be marked.
    # The documented purposes, and everything without the prefix, keep the plain name.
    stripped = purpose != worktree.purpose
    shared = worktree.purpose not in PURPOSES if stripped else f"test-{purpose}" in PURPOSES
    end = f"__{_plain(service)}" if service else ""
    name = _name(f"testdb_{_plain(purpose)}_{_plain(worktree.identifier)}", worktree, limit - len(end), marked=shared)
    return name + end


def run_folder(worktree: WorktreeId) -> str:
    """The folder of a worktree that a run makes by itself. It has no word in it that a test could judge by."""
    return f"tree-{_digest(worktree)}"


def port_variable(name: str) -> str:
    """The variable of a port: ``api`` gives ``API_PORT``."""
    return f"{re.sub('[^A-Za-z0-9]', '_', name).upper()}_PORT"


def url_variable(process: str) -> str:
    """The variable of a process's address: ``api`` gives ``API_URL``."""
    return f"{re.sub('[^A-Za-z0-9]', '_', process).upper()}_URL"


def compose_project_name(worktree: WorktreeId) -> str:
    """Return Docker Compose's name for a worktree's containers: lower-case letters, digits, ``-`` and ``_``."""
    name = re.sub(r"[^a-z0-9_-]", "-", str(worktree).lower())
    return name if name == str(worktree) else f"{name}-{_digest(worktree)}"


def _name(name: str, worktree: WorktreeId, limit: int, *, marked: bool) -> str:
    plain = re.fullmatch(r"[a-z0-9-]+", f"{worktree.purpose}-{worktree.identifier}") is not None
    if plain and not marked and len(name) <= limit:
        return name
    return f"{name[: limit - _HASH - 1]}_{_digest(worktree)}"


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", text.lower())


def _digest(worktree: WorktreeId) -> str:
    # No part can contain a newline, so no two ids give the same bytes.
    return hashlib.blake2b(f"{worktree.purpose}\n{worktree.identifier}".encode(), digest_size=_HASH // 2).hexdigest()
