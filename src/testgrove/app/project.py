"""A project: a git repository, its settings, and the store. Nothing in app is below this but what needs no project."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.errors import UsageError
from testgrove.system import git
from testgrove.system.locations import Locations
from testgrove.system.store import Store
from testgrove.system.trusted_paths import owner_of

if TYPE_CHECKING:
    from testgrove.app.holder import Holder
    from testgrove.app.runs.log_and_reports import Render
    from testgrove.core.settings.types import Settings

Hold = Callable[["Project", str], AbstractContextManager["Holder"]]


@dataclass
class Project:
    """A git repository with the store that all projects of the user share.

    Created by composition.open_project(). render: writes a run's reports. hold: holds the machine for one command.
    offline: testgrove does not use the network. fresh_templates: database templates are rebuilt.
    """

    repository: git.Repository
    locations: Locations
    store: Store
    render: Render
    hold: Hold
    offline: bool = False
    fresh_templates: bool = False

    @cached_property
    def id(self) -> str:
        """A stable name for the repository: a hash of its common directory."""
        common_dir = self.repository.common_dir
        if known := self.store.projects.id_of(common_dir):
            return known  # without hashlib, which takes longer to load than the store to open
        import hashlib  # noqa: PLC0415 - as above

        return hashlib.sha256(os.fsencode(common_dir)).hexdigest()[:16]

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
        """The settings of the current checkout."""
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
                f"root = {configured!r}: {root} contains the repository itself",
                hint='set a folder beside the repository, such as "../worktrees"',
            )
        return root

    def lease_data(self) -> dict[str, Any]:
        """What an undo needs to find the repository, and to see that no other user has put another in its place."""
        common_dir = self.repository.common_dir
        return {"common_dir": str(common_dir), "main": str(self.main), "owner": owner_of(common_dir)}

    @property
    def artifacts(self) -> Path:
        """The folder for the outputs of runs and removed worktrees."""
        return self.main / "test-artifacts"

    def holding(self, command: str) -> AbstractContextManager[Holder]:
        """Register the project, finish what dead commands left, and hold the machine for one command."""
        return self.hold(self, command)


def load_settings(tree: Path) -> Settings:
    """Return a checkout's settings: those of `testgrove.toml`, or the table in `pyproject.toml`, or none.

    Raises UsageError for settings that are invalid (see parse()), or that are in both files (``config-two-files``).
    """
    from testgrove.core.settings.parse import parse  # noqa: PLC0415 - msgspec: `list` does without
    from testgrove.core.settings.types import Settings  # noqa: PLC0415 - as above

    own, shared = tree / "testgrove.toml", tree / "pyproject.toml"
    if (text := _settings_text(own)) is not None:
        _require_no_table(shared, own)
        return parse(text, own, table=False)
    text = _settings_text(shared)
    return parse(text, shared, table=True) if text is not None and "testgrove" in text else Settings()


def _require_no_table(shared: Path, own: Path) -> None:
    """See that a pyproject.toml has no settings that would be ignored beside a testgrove.toml."""
    from testgrove.core.toml_lines import table_line  # noqa: PLC0415 - as above

    text = shared.read_bytes().decode("utf-8", "replace") if shared.is_file() and os.access(shared, os.R_OK) else ""
    if "testgrove" in text and (line := table_line(text, "tool.testgrove")):
        raise UsageError(
            "config-two-files",
            f"two files have settings: {own}, and [tool.testgrove] in {shared}:{line}",
            hint=f"keep one: move the table to {own.name}, without the prefix tool.testgrove",
            file=str(shared),
            line=line,
        )


def table_named(tree: Path, name: str) -> str:
    """Return how a table of a checkout's settings is written, and where; name: ``services.NAME``, ``env`` …, or empty
    for the table around all others."""
    if (tree / "pyproject.toml").exists() and not (tree / "testgrove.toml").exists():
        return f"[{'.'.join(filter(None, ('tool.testgrove', name)))}] in pyproject.toml"
    return f"[{name}] in testgrove.toml" if name else "the top of testgrove.toml"


def _settings_text(source: Path) -> str | None:
    """The text of a settings file; None where there is none."""
    if not os.path.lexists(source):
        return None
    problem = "not a regular file"
    try:
        if source.is_file():  # a pipe of that name would be waited for
            return source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        problem = f"not valid UTF-8 at byte {error.start}"
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
    raise UsageError("config-unreadable", f"cannot read {source}: {problem}", hint=f"ls -l {source}")
