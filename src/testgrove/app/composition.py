"""The composition root: creates a project from its parts, and holds it for a command.

Everything else in app receives a project; only this module knows what recovers the work of killed commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.app.project import Project
from testgrove.app.subprojects import directory_of
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system import git
from testgrove.system.locations import locate
from testgrove.system.store import Store

if TYPE_CHECKING:
    from testgrove.app.holder import Holder
    from testgrove.app.runs.log_and_reports import Render


def open_project(
    directory: Path, render: Render, *, offline: bool = False, on_damage: Callable[[str], object] = lambda _text: None
) -> Project:
    """Return the project that contains directory. Raises PreconditionError if there is none.

    render: writes a run's reports. on_damage: called with a message if the store is damaged.
    """
    repository = git.discover(directory)
    for path in (repository.common_dir, repository.main):
        if not _is_text(path):
            raise PreconditionError(
                "path-not-text",
                f"{str(path)!r} is not valid UTF-8, which env files and reports require",
                hint="rename the folder",
            )
    locations = locate(os.environ)
    here = directory_of(repository.toplevel, directory)
    return Project(repository, locations, Store(locations.store, on_damage), render, hold, offline, directory=here)


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def hold(project: Project, command: str) -> Iterator[Holder]:
    """Implement Project.holding()."""
    # `list` must not load these when there is nothing to do
    from testgrove.app.holder import holding  # noqa: PLC0415 - only to hold
    from testgrove.app.lost_records import is_due  # noqa: PLC0415 - only to hold
    from testgrove.app.recovery import recover  # noqa: PLC0415 - only to hold
    from testgrove.app.worktrees.records import REGISTRY, write_registry  # noqa: PLC0415 - only to hold
    from testgrove.system.store.projects import ProjectRecord  # noqa: PLC0415 - only to hold

    store = project.store
    with holding(store, project.locations, command) as holder:
        store.projects.add(ProjectRecord(project.id, project.repository.common_dir, project.main))
        if is_due(project):
            from testgrove.app.rediscovery import rediscover  # noqa: PLC0415 - only to hold

            rediscover(project, holder)
        if (project.main / REGISTRY).exists():
            from testgrove.app.worktrees.released_ports import release_removed  # noqa: PLC0415 - only to hold

            release_removed(project, holder)
        recover(holder, project.render)
        try:
            yield holder
        except BaseException:  # a Ctrl-C between a change and its view, too
            with suppress(TestgroveError):
                write_registry(store, holder.locks, project.id, project.main)
            raise
