"""Damages of the store after which a project's worktrees have not been looked for yet; see rediscovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.system.store.salvage import FOLDERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testgrove.app.project import Project


def is_due(project: Project) -> bool:
    """Return whether the store was damaged, and this project's worktrees have not been looked for since."""
    return any(pending(project))


def pending(project: Project) -> Iterator[Path]:
    """The folders of the damaged stores."""
    state = project.locations.state
    return (folder for folder in state.glob(FOLDERS) if folder.is_dir() and not mark(folder, project).exists())


def mark(folder: Path, project: Project) -> Path:
    """The file that says that it has been done."""
    return folder / f"{project.id}.done"
