"""Runs that are over, by their folders."""

from __future__ import annotations

from pathlib import Path

from testgrove.app.project import Project
from testgrove.app.run_reports import LOG
from testgrove.errors import PreconditionError


def run_folder(project: Project, name: str) -> Path:
    """The folder of a run: its id, the beginning of one, or ``latest``. Raises PreconditionError (``no-such-run``)."""
    ids = run_ids(project)
    found = ids[-1:] if name == "latest" else [each for each in ids if each.startswith(name)]
    exact = [each for each in found if each == name] or found
    if len(exact) == 1:
        return project.artifacts / exact[0]
    if found:
        shown = ", ".join(found[-3:])
        raise PreconditionError("ambiguous-run", f"'{name}' could be one of {len(found)} runs", hint=f"such as {shown}")
    if not ids:
        raise PreconditionError("no-such-run", f"there is no run in {project.artifacts} yet", hint="testgrove test")
    raise PreconditionError("no-such-run", f"there is no run '{name}'", hint=f"the newest: {', '.join(ids[-3:])}")


def run_ids(project: Project) -> list[str]:
    """The ids of the runs whose logs are there, oldest first."""
    logs = project.artifacts.glob(f"*/{LOG}")
    return sorted(log.parent.name for log in logs if not log.parent.is_symlink())


def goes_on(project: Project, folder: Path) -> bool:
    """Whether a run has not ended yet. (One that was killed has been closed by recovery.)"""
    return project.store.one("SELECT 1 FROM runs WHERE folder = ?", str(folder)) is not None
