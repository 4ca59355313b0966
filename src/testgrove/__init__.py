"""An isolated git worktree, with its own environment, ports and databases, for every test run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testgrove.app.composition import open_project
    from testgrove.app.project import Project
    from testgrove.core.model import Worktree, WorktreeId, WorktreeSpec
    from testgrove.core.runs.result import RunResult
    from testgrove.errors import TestgroveError

__all__ = [
    "Project",
    "RunResult",
    "TestgroveError",
    "Worktree",
    "WorktreeId",
    "WorktreeSpec",
    "__version__",
    "open_project",
]

__version__ = "0.1.0"

# Imported when they are asked for: `import testgrove` costs nothing.
_HOMES = {
    "Project": "testgrove.app.project",
    "RunResult": "testgrove.core.runs.result",
    "TestgroveError": "testgrove.errors",
    "Worktree": "testgrove.core.model",
    "WorktreeId": "testgrove.core.model",
    "WorktreeSpec": "testgrove.core.model",
    "open_project": "testgrove.app.composition",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'testgrove' has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - only for who uses the library

    return getattr(importlib.import_module(_HOMES[name]), name)
