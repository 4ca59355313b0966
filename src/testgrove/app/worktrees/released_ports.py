"""Ports that a person has taken out of the registry file, as the documents' script does.

This is the one case in which that file is read back. It counts only where it is certain what was meant: the file is
valid, lists the worktree with the ports that it has, and has none of them in `allocated_ports`. testgrove writes no
such file, and neither does a script that writes an older state back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.worktrees import ports, records
from testgrove.core.model import WorktreeStatus
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import TestgroveError


def release_removed(project: Project, holder: Holder) -> None:
    """Release such ports of idle worktrees; those that a process listens on stay."""
    having = [each for each in records.all_of(project) if each.ports and each.status == WorktreeStatus.READY]
    path = project.main / records.REGISTRY
    if not having or not path.is_file() or not records.is_our_registry(path):
        return
    with suppress(OSError, ValueError, LookupError, TypeError):  # written by a person meanwhile
        view = json.loads(path.read_text(encoding="utf-8"))
        for worktree in having:
            if worktree.holder is None and _are_removed(view, worktree):
                with suppress(TestgroveError):  # they are in use, or another command has taken the worktree
                    ports.release(project, holder, str(worktree.id))


def _are_removed(view: Mapping[str, Any], worktree: WorktreeRecord) -> bool:
    listed, allocated = view["worktrees"], view["allocated_ports"]
    if not isinstance(listed, dict) or not isinstance(allocated, list):
        return False
    entry = listed.get(str(worktree.id))
    has_them = isinstance(entry, dict) and entry.get("ports") == worktree.ports
    return has_them and not any(port in allocated for port in worktree.ports.values())
