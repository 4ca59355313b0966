"""The composition root: the only place that chooses adapters."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.errors import PreconditionError, TestgroveError, UsageError
from testgrove.system import git
from testgrove.system.locations import Locations, locate
from testgrove.system.store import Store
from testgrove.system.trusted_paths import owner_of

if TYPE_CHECKING:
    from testgrove.app.holder import Holder
    from testgrove.app.runs.log_and_reports import Render
    from testgrove.core.settings.types import Settings


@dataclass
class Project:
    """A git repository as testgrove sees it, with the store that all projects of the user share.

    offline: nothing of ours goes to the network. fresh_templates: database templates are built anew.
    """

    repository: git.Repository
    locations: Locations
    store: Store
    render: Render
    offline: bool = False
    fresh_templates: bool = False

    @cached_property
    def id(self) -> str:
        """A stable name for the repository: a hash of its common directory."""
        return hashlib.sha256(os.fsencode(self.repository.common_dir)).hexdigest()[:16]

    @property
    def main(self) -> Path:
        """The main checkout."""
        return self.repository.main

    @property
    def name(self) -> str:
        """The repository's name, for people."""
        return self.main.name

    @cached_property
    def settings(self) -> Settings:
        """The settings of the checkout we stand in."""
        return load_settings(self.repository.toplevel)

    @cached_property
    def root(self) -> Path:
        """The folder that holds the worktrees."""
        configured = self.settings.root
        path = Path(configured).expanduser() if configured else Path(f"../{self.name}-worktrees")
        root = Path(os.path.abspath(self.main / path))  # noqa: PTH100 - '..' must go without following links
        if root == self.main or self.main.is_relative_to(root) or root.is_relative_to(self.repository.common_dir):
            raise UsageError(
                "config-invalid",
                f"root = {configured!r}: {root} holds the repository itself",
                hint='choose a folder beside the repository, such as "../worktrees"',
            )
        return root

    def lease_data(self) -> dict[str, Any]:
        """What an undo needs to find the repository, and to see that no other user has put another in its place."""
        common_dir = self.repository.common_dir
        return {"common_dir": str(common_dir), "main": str(self.main), "owner": owner_of(common_dir)}

    @property
    def artifacts(self) -> Path:
        """Where runs and removals keep outputs."""
        return self.main / "test-artifacts"

    @contextmanager
    def holding(self, command: str) -> Iterator[Holder]:
        """Register the project, finish what dead commands left, and hold the machine for one command."""
        # `list` must not load these when there is nothing to do
        from testgrove.app.holder import holding  # noqa: PLC0415
        from testgrove.app.recovery import recover  # noqa: PLC0415
        from testgrove.app.rediscovery import is_due, rediscover  # noqa: PLC0415
        from testgrove.app.worktrees.records import write_registry  # noqa: PLC0415
        from testgrove.system.store.projects import ProjectRecord  # noqa: PLC0415

        with holding(self.store, self.locations, command) as holder:
            self.store.projects.add(ProjectRecord(self.id, self.repository.common_dir, self.main))
            if is_due(self):
                rediscover(self, holder)
            recover(holder, self.render)
            try:
                yield holder
            except BaseException:  # a Ctrl-C between a change and its view, too
                with suppress(TestgroveError):
                    write_registry(self.store, holder.locks, self.id, self.main)
                raise


def open_project(
    directory: Path, render: Render, *, offline: bool = False, on_damage: Callable[[str], object] = lambda _text: None
) -> Project:
    """The project that directory is in. Raises PreconditionError where there is none.

    render: makes a run's reports. on_damage: is told when the store turns out to be damaged.
    """
    repository = git.discover(directory)
    for path in (repository.common_dir, repository.main):
        if not _is_text(path):
            raise PreconditionError(
                "path-not-text",
                f"{str(path)!r} is not UTF-8 text, which env files and reports are written in",
                hint="rename the folder",
            )
    locations = locate(os.environ)
    return Project(repository, locations, Store(locations.store, on_damage), render, offline)


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def load_settings(tree: Path) -> Settings:
    """The settings that a checkout carries: `testgrove.toml`, else the table in `pyproject.toml`, else none."""
    from testgrove.core.settings.parse import parse  # noqa: PLC0415 - msgspec: `list` does without
    from testgrove.core.settings.types import Settings  # noqa: PLC0415 - as above

    for name, table in (("testgrove.toml", False), ("pyproject.toml", True)):
        source = tree / name
        text = _settings_text(source)
        if text is not None and (not table or "testgrove" in text):
            return parse(text, source, table=table)
    return Settings()


def _settings_text(source: Path) -> str | None:
    """The text of a settings file; None where there is none."""
    if not os.path.lexists(source):
        return None
    problem = "it is no file"
    try:
        if source.is_file():  # a pipe of that name would be waited for
            return source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} is not UTF-8"
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
    raise UsageError("config-unreadable", f"{source} cannot be read: {problem}", hint=f"ls -l {source}")


def missing_worktree(id_text: str, known: list[str]) -> PreconditionError:
    """The error for an id that names no worktree, with near matches."""
    import difflib  # noqa: PLC0415 - only on this path

    near = difflib.get_close_matches(id_text, known, 3, 0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "`testgrove list` shows the worktrees there are"
    return PreconditionError("no-such-worktree", f"there is no worktree '{id_text}' in this project", hint=hint)
