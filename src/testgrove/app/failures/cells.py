"""`--keep-failed`: what is left of a cell that has failed. Its databases go with the run's servers; those that can be
dumped are, before."""

from __future__ import annotations

from pathlib import Path

from testgrove.app.launcher import SupervisedLauncher
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.engines.registry import engine_of, implementation_of
from testgrove.core.model import DatabaseAccess
from testgrove.core.runs.events import Status
from testgrove.errors import TestgroveError


def note_of(cell: str, status: Status, run: str, dumped: str) -> str:
    """Return the note in `list` for a worktree that was kept."""
    return f"kept: {cell} {status} in run {run}" + (f"; {dumped}" if dumped else "")


def dump_databases(workspace: Workspace, folder: Path, launcher: SupervisedLauncher) -> str:
    """Dump a cell's databases into its folder of the run; what came of it, or nothing where it has none. One that is a
    file stays where it is."""
    notes = [
        _dump(workspace, name, access, folder, launcher)
        for name, access in workspace.databases.items()
        if engine_of(access.engine).dump and engine_of(access.engine).isolation != "file"
    ]
    return "; ".join(notes)


def _dump(workspace: Workspace, name: str, access: DatabaseAccess, folder: Path, launcher: SupervisedLauncher) -> str:
    file = engine_of(access.engine).dump
    target = folder / (file if name == access.engine else f"{name}-{file}")
    try:
        service = workspace.project.settings.services.get(name)
        implementation_of(access.engine).dump(access, target, launcher, service)
    except TestgroveError as error:
        target.unlink(missing_ok=True)
        return f"cannot dump its database: {error.message.splitlines()[0]}"
    return f"its database is in {target}"
