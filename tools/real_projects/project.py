"""What is known of a project: where its source is, and how its own CI installs and runs its tests."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIST = Path(__file__).with_name("projects.toml")


@dataclass(frozen=True)
class Project:
    """name: its row in the table. kinds: what it is an example of. python: the interpreter.

    sdist: a requirement of the package index. git: the owner and name of a public repository, whose clone is in
    SOURCES. ref: what is checked out of the clone. directory: the folder in it that a user would stand in. install:
    commands of its own CI, run in an environment that is active. test: its own test command. environment: variables for
    that command. services: servers that it needs. init: whether `testgrove init` writes settings first. note: why
    outcomes differ, for the table.
    """

    name: str
    kinds: Sequence[str]
    sdist: str = ""
    git: str = ""
    ref: str = ""
    directory: str = "."
    python: str = "3.11"
    install: Sequence[str] = ()
    test: str = "pytest"
    environment: Mapping[str, str] = field(default_factory=dict)
    services: Sequence[str] = ()
    init: bool = False
    note: str = ""

    @property
    def source(self) -> str:
        """Where it comes from, and which version."""
        return self.sdist or f"{self.git or 'git'} {self.ref[:12]}".strip()


def listed(sources: Path | None) -> list[Project]:
    """The projects of the list, and one for each NAME.toml in the folder of clones."""
    entries: dict[str, dict[str, Any]] = tomllib.loads(LIST.read_text())
    for file in sorted(sources.glob("*.toml")) if sources else ():
        entries[file.stem] = tomllib.loads(file.read_text())
    return [Project(name, **entry) for name, entry in entries.items()]
