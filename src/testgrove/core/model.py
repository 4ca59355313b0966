"""The frozen types that everything else speaks in."""

from __future__ import annotations

import enum
from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import Any

from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.core.secret import Secret
from testgrove.errors import UsageError

_PART = lazy_pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")


def check_part(what: str, text: str) -> str:
    """Return text if it is valid in a worktree's id; raise UsageError otherwise.

    Valid text is safe as a directory name and in branches, URLs and shells.
    """
    if _PART.fullmatch(text) and ".." not in text and not text.endswith((".", ".lock")):
        return text
    shown = repr(text if len(text) <= 60 else text[:57] + "...")
    raise UsageError(
        f"invalid-{what}",
        f"{shown} cannot be {'an' if what[0] in 'aeiou' else 'a'} {what}",
        hint="use 1 to 50 letters, digits, '.', '_' or '-', beginning with a letter or a digit, without '..', "
        "not ending in '.' or '.lock'",
        value=text,
    )


@frozen
class WorktreeId:
    """A worktree's name, unique in a project: ``<purpose>-<identifier>``."""

    purpose: str
    identifier: str

    def __post_init__(self) -> None:
        check_part("purpose", self.purpose)
        check_part("identifier", self.identifier)

    def __str__(self) -> str:
        return f"{self.purpose}-{self.identifier}"

    def __lt__(self, other: WorktreeId) -> bool:
        return (self.purpose, self.identifier) < (other.purpose, other.identifier)


class WorktreeStatus(enum.StrEnum):
    """The state of a worktree.

    The first three belong to a holder; if it dies, recovery completes them. A broken worktree could be neither
    completed nor removed, and is left to the user."""

    CREATING = "creating"
    RUNNING = "running"
    REMOVING = "removing"
    READY = "ready"
    PARKED = "parked"
    BROKEN = "broken"


class LeaseKind(enum.StrEnum):
    """The kind of thing that a lease names; each kind has one way to be undone."""

    PORTS = "ports"  # key: a port; data: names
    BRANCH = "branch"  # key: a branch we made; data: the commit it was made at
    CHECKOUT = "checkout"  # key: the worktree's path; data: common_dir
    DIRECTORY = "directory"  # key: a directory that belongs to testgrove
    TRASH = "trash"  # key: a directory that waits for its deletion
    TEARDOWN = "teardown"  # key: the worktree's path; data: commands, env_file, log
    PROCESSES = "processes"  # key: the mark of testgrove's processes
    KEEPER = "keeper"  # key: the folder of a project's servers; data: project, folder, run
    SERVICE = "service"  # key: the folder of one server under a keeper; data: as KEEPER's
    PERSISTENT_DATABASE = "kept database"  # key: <folder of a server>#<name>; data: as KEEPER's
    DATABASE = "database"  # key: address and name, on an external server; data: engine, url, how it is recognised
    LEFT_DATABASE = "left database"  # as DATABASE; tests made it again without our mark: kept, and named by doctor


@frozen
class Lease:
    """The record of one thing a worktree, a run or a command holds. Undo is data: kind, key and data suffice."""

    kind: LeaseKind
    key: str
    data: dict[str, Any] = field(default_factory=dict)


@frozen
class WorktreeSpec:
    """A worktree as a user asks for it.

    ref: branch, remote branch, tag, SHA, or None for a snapshot of the working tree.
    ports: names of the ports to lease, in order. python: a version request such as ``3.12``, or None. deps: the name
    of a dependency set, or None. path: its folder, where that is not its id under the project's root. directory: where
    its commands run, relative to its top; its environment is the one of the nearest project at or above it.
    script_python: the interpreter that runs worktree_create.py, if that creates it: the default one, if it fits.
    """

    id: WorktreeId
    ref: str | None
    ports: tuple[str, ...] = ()
    python: str | None = None
    new_branch: str | None = None
    environment: bool = True
    deps: str | None = None
    path: Path | None = None
    directory: str = ""
    script_python: Path | None = None


@frozen
class DatabaseAccess:
    """How a worktree reaches one of its databases.

    name: for SQLite, the full path of the file; for Redis, the number. external_url: the full URL of an external
    server, which can contain more than the other fields.
    """

    engine: str
    name: str
    host: str
    port: int
    user: str
    password: Secret
    socket_dir: str = ""
    external_url: Secret | None = None

    def url(self, *, redacted: bool = False) -> str:
        """A connection URL; redacted leaves the password out."""
        if self.external_url is not None:
            return _without_password(self.external_url.reveal()) if redacted else self.external_url.reveal()
        from testgrove.core.engines.registry import engine_of  # noqa: PLC0415 - most commands print no URL

        return engine_of(self.engine).url_of(self, redacted=redacted)


def _without_password(url: str) -> str:
    from testgrove.core.server_url import without_password  # noqa: PLC0415 - it imports this module

    return without_password(url)


@frozen
class Worktree:
    """A worktree as the store knows it. branch is empty when HEAD is detached."""

    id: WorktreeId
    path: Path
    status: WorktreeStatus
    branch: str
    commit: str
    created: datetime
    ports: dict[str, int] = field(default_factory=dict)
    databases: dict[str, dict[str, Any]] = field(default_factory=dict)
    python: str = ""
    env_file: str = ".env.test"
    holder: str | None = None
    note: str = ""
