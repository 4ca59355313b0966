"""A project: a git repository, its settings, and the store. Nothing in app is below this but what needs no project."""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
    offline: testgrove does not use the network. fresh_templates: database templates are rebuilt. directory: the
    sub-project that the command is about, relative to the top of the checkout; empty for the whole.
    """

    repository: git.Repository
    locations: Locations
    store: Store
    render: Render
    hold: Hold
    offline: bool = False
    fresh_templates: bool = False
    directory: str = ""
    _views: dict[str, Project] = field(default_factory=dict, repr=False)

    @cached_property
    def id(self) -> str:
        """A stable name for the repository: a hash of its common directory."""
        common_dir = self.repository.common_dir
        if known := self.store.projects.id_of(common_dir):
            return known  # without hashlib, which takes longer to load than the store to open
        import hashlib  # noqa: PLC0415 - `list` needs none

        return hashlib.sha256(os.fsencode(common_dir)).hexdigest()[:16]

    @property
    def main(self) -> Path:
        """The main checkout."""
        return self.repository.main

    @property
    def name(self) -> str:
        """The repository's name, for people."""
        return self.main.name

    def at(self, directory: str) -> Project:
        """This project, about another of its sub-projects."""
        if directory == self.directory:
            return self
        if directory not in self._views:
            self._views[directory] = replace(self, directory=directory)
        return self._views[directory]

    def around(self, directory: str) -> Project:
        """This project, about the sub-project that a folder is in: a suite's folder can be below it."""
        if not directory:
            return self.at("")
        from testgrove.app.subprojects import directory_of  # noqa: PLC0415 - most projects have none

        top = self.repository.toplevel
        return self.at(directory_of(top, top / directory))

    @cached_property
    def _found(self) -> Found:
        return find_settings(self.repository.toplevel, self.directory)

    @property
    def settings(self) -> Settings:
        """The settings of the current checkout, for the sub-project."""
        return self._found.settings

    @property
    def settings_folder(self) -> str:
        """The folder of the settings file, relative to the top: folders that settings name are relative to it."""
        return self._found.folder

    def folder_in(self, checkout: Path, directory: str) -> Path:
        """A folder that the settings name, in a checkout."""
        return checkout / self.settings_folder / directory

    def table(self, name: str) -> str:
        """Return how a table of these settings is written, and in which file (see table_named())."""
        return table_named(self.repository.toplevel, name, self.settings_folder)

    def from_top(self, globs: Sequence[str]) -> tuple[str, ...]:
        """Globs that the settings name, relative to the top of a checkout."""
        return tuple(f"{self.settings_folder}/{glob}" if self.settings_folder else glob for glob in globs)

    @property
    def default_root(self) -> Path:
        """The folder that holds the worktrees if none is configured."""
        return self.main.parent / f"{self.name}-worktrees"

    @cached_property
    def root(self) -> Path:
        """The folder that holds the worktrees."""
        configured = self.settings.root
        path = Path(configured).expanduser() if configured else self.default_root
        root = Path(os.path.abspath(self.main / path))  # noqa: PTH100 - '..' must go without following links
        if root == self.main or self.main.is_relative_to(root) or root.is_relative_to(self.repository.common_dir):
            raise UsageError(
                "config-invalid",
                f"root = {configured!r}: {root} contains the repository itself",
                hint='set a folder beside the repository, such as "../worktrees"',
            )
        return root

    def lease_data(self) -> dict[str, Any]:
        """Return what an undo needs to find the repository, and to see that no other user has put another in its
        place."""
        common_dir = self.repository.common_dir
        return {"common_dir": str(common_dir), "main": str(self.main), "owner": owner_of(common_dir)}

    @property
    def artifacts(self) -> Path:
        """The folder for the outputs of runs and removed worktrees."""
        return self.main / "test-artifacts"

    def holding(self, command: str) -> AbstractContextManager[Holder]:
        """Register the project, finish what dead commands left, and hold the machine for one command."""
        return self.hold(self, command)


class Found(NamedTuple):
    """Settings, and the folder of their file, relative to the top of the checkout."""

    settings: Settings
    folder: str


def find_settings(top: Path, directory: str) -> Found:
    """Return a sub-project's settings: its own, else those at the top of the checkout, else none.

    What concerns the whole repository (``root``, ``park``) is always the top's. Raises UsageError for an invalid file,
    and for a sub-project's that sets one of them.
    """
    from testgrove.core.settings.types import Settings  # noqa: PLC0415 - msgspec: `list` does without

    at_top = _load(top)
    own = _load(top / directory) if directory else None
    whole = at_top.settings if at_top else Settings()
    if own is None:
        return Found(whole, "")
    return Found(_within(own, whole, at_top.source if at_top else top / "pyproject.toml"), directory)


def load_settings(tree: Path) -> Settings:
    """Return a checkout's settings: those of `testgrove.toml`, or the table in `pyproject.toml`, or none.

    Raises UsageError for settings that are invalid (see parse()), or that are in both files (``config-two-files``).
    """
    return find_settings(tree, "").settings


def _has_table(pyproject: str, *, invalid: bool = True) -> bool:
    """Return whether a pyproject.toml has a table of testgrove's. invalid: the answer for one that is not valid
    TOML."""
    if "testgrove" not in pyproject:
        return False
    from testgrove.core.environments.declared import parse_toml  # noqa: PLC0415 - `list` needs none

    try:
        tool = parse_toml(pyproject.encode()).get("tool", {})
    except ValueError:
        return invalid
    return not isinstance(tool, dict) or "testgrove" in tool


class _Loaded(NamedTuple):
    settings: Settings
    source: Path


def _load(folder: Path) -> _Loaded | None:
    """The settings in a folder, or None if it has none."""
    from testgrove.core.settings.parse import parse  # noqa: PLC0415 - msgspec: `list` does without

    own, shared = folder / "testgrove.toml", folder / "pyproject.toml"
    if (text := _settings_text(own)) is not None:
        _require_no_table(shared, own)
        return _Loaded(parse(text, own, table=False), own)
    text = _settings_text(shared)
    return _Loaded(parse(text, shared, table=True), shared) if text is not None and _has_table(text) else None


def _require_no_table(shared: Path, own: Path) -> None:
    """See that a pyproject.toml has no settings that would be ignored beside a testgrove.toml."""
    from testgrove.core.toml_lines import line_of, table_line  # noqa: PLC0415 - `list` needs none

    text = shared.read_bytes().decode("utf-8", "replace") if shared.is_file() and os.access(shared, os.R_OK) else ""
    line = table_line(text, "tool.testgrove") if "testgrove" in text else 0
    if _has_table(text, invalid=bool(line)):
        line = line or line_of(text, "tool.testgrove")
        raise UsageError(
            "config-two-files",
            f"two files have settings: {own}, and [tool.testgrove] in {shared}:{line}",
            hint=f"keep one: move the table to {own.name}, without the prefix tool.testgrove",
            file=str(shared),
            line=line,
        )


_OF_THE_REPOSITORY = ("root", "park", "siblings")


def _within(own: _Loaded, whole: Settings, source: Path) -> Settings:
    """A sub-project's settings, with the top's where they concern the whole repository. source: the top's file."""
    from msgspec.structs import replace as with_fields  # noqa: PLC0415 - `list` needs none

    default = type(whole)()
    for key in _OF_THE_REPOSITORY:
        if getattr(own.settings, key) != getattr(default, key):
            raise UsageError(
                "config-invalid",
                f"{own.source}: '{key}': concerns the whole repository, not one of its projects",
                hint=f"move it to {source}",
                file=str(own.source),
                key=key,
            )
    return with_fields(own.settings, **{key: getattr(whole, key) for key in _OF_THE_REPOSITORY})


def table_named(tree: Path, name: str, folder: str = "") -> str:
    """Return how a table of a checkout's settings is written, and where; name: ``services.NAME``, ``env`` …, or empty
    for the table around all others. folder: of the settings file, relative to the checkout."""
    shared, own = (posixpath.join(folder, file) for file in ("pyproject.toml", "testgrove.toml"))
    if (tree / shared).exists() and not (tree / own).exists():
        return f"[{'.'.join(filter(None, ('tool.testgrove', name)))}] in {shared}"
    return f"[{name}] in {own}" if name else f"the top of {own}"


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
    raise UsageError("config-unreadable", f"cannot read {source}: {problem}", hint=f"ls -l {shlex.quote(str(source))}")
