"""The plan of an environment, as values: the request, the contents, the plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from testgrove.core.environments.dependency_sets import OWN, DependencySet, Lowest
from testgrove.core.frozen import frozen

if TYPE_CHECKING:
    from testgrove.core.environments.candidates import RejectedSource
    from testgrove.core.environments.locks import Export

Kind = Literal["uv-lock", "pylock", "exported", "requirements", "pyproject", "bare"]
Installation = Literal["editable", "dependencies", "none"]


@frozen
class EnvironmentRequest:
    """The request of the settings; None leaves it to the project's files. pytest: the suite needs it. deps: the
    dependency set."""

    extras: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    pytest: bool = True
    deps: DependencySet = OWN


@frozen
class Contents:
    """The packages to install.

    requirements: files, relative to the tree. extras: None means all except `without`. groups: in addition to the
    default groups if default_groups. project: how the tree itself is installed. names: the local distributions,
    which are always rebuilt; None if unknown. pytest: added if nothing else requires it. notes: for the user.
    resolution: uv's resolution mode, if set. more: requirements in addition to the project's. lowest: packages whose
    lowest versions are wanted. then: installed afterwards, with as few changes to these contents as possible. export:
    command that writes the requirements file of a lock that uv cannot read. workspace: all members of it. source: what
    was chosen, in one line. passed_over: other candidates, and why they were not chosen.
    """

    kind: Kind
    requirements: tuple[str, ...] = ()
    extras: tuple[str, ...] | None = ()
    without: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    default_groups: bool = False
    project: Installation = "none"
    names: tuple[str, ...] | None = ()
    pytest: bool = True
    notes: tuple[str, ...] = ()
    resolution: str = ""
    more: tuple[str, ...] = ()
    lowest: Lowest | None = None
    then: Contents | None = None
    export: Export | None = None
    workspace: bool = False
    source: str = ""
    passed_over: tuple[RejectedSource, ...] = ()

    @property
    def line(self) -> str:
        """The choice and what was passed over, in one line for the user."""
        passed = "; ".join(f"{each.source} ({each.reason})" for each in self.passed_over)
        return f"{self.source} · passed over: {passed}" if passed else self.source


@frozen
class EnvironmentPlan:
    """An environment before it exists. Two plans with the same fingerprint make the same one.

    python: the base interpreter. tree_hash: of the tree that is installed. deps: the dependency set's name.
    versioned: the folders of the local distributions whose version comes from git. home: the folder of the project that
    is installed, relative to the tree.
    """

    contents: Contents
    python: Path
    python_version: str
    tree_hash: str
    fingerprint: str
    deps: str = ""
    versioned: tuple[str, ...] = ()
    home: str = ""
