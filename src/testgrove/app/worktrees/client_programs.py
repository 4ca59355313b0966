"""Client programs inside a worktree, where the machine has none on PATH."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from testgrove.core.engines.registry import implementation_of
from testgrove.system.processes.process import scrubbed


def link_client_programs(tree: Path, engines: Iterable[str]) -> None:
    """Put the client programs of some engines, those of the server's own binaries, beside the environment's Python."""
    programs = tree / ".venv" / "bin"
    if not programs.is_dir():
        return
    for engine in set(engines):
        implementation = implementation_of(engine)
        for program in implementation.client_programs(scrubbed().get("PATH")):
            if not os.path.lexists(link := programs / program.name):
                link.symlink_to(program)
