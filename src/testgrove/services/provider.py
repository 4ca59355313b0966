"""Provisioning: what is asked for, and what everyone who asks for a database speaks to, whatever engine and host.

A run, a test session, a long-lived worktree and a command that needs an empty database all do the same: they make a
Provider of a service, ask it for its traits, make the template's fingerprint of them, and place a DatabaseRequest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from testgrove.core.frozen import frozen

if TYPE_CHECKING:
    from testgrove.core.leases import Leases
    from testgrove.core.model import DatabaseAccess, Lease
    from testgrove.services.base import Launcher
    from testgrove.services.broker import Allocation
    from testgrove.services.hosts.embedded import EmbeddedHost
    from testgrove.services.owner_marks import Kind
    from testgrove.system.locks import LockFile

    Build = Callable[[DatabaseAccess], object]


class Ports(Protocol):
    """The ports of one owner's servers."""

    def start(self, name: str, start: Callable[[int], Any]) -> Any:
        """What start makes of a leased port; where that cannot be bound (``port-taken``), of the next."""

    def give_back(self, port: int) -> None:
        """Nothing listens there any more."""


@dataclass
class Context:
    """Who needs services: a run, a session, or a command.

    cache: the user's, for templates. fresh: templates that others have built are not used. kind: of the owner marks on
    what is made. folder: the owner's, in memory where there is room, gone with it. What is made for a worktree that
    outlives the command (kind ``worktree``) is recorded in that worktree's leases, and has no folder, ports and host.
    """

    launcher: Launcher
    locks: LockFile
    cache: Path
    project_id: str
    fresh: bool
    kind: Kind
    leases: Leases
    folder: Path
    ports: Ports
    host: EmbeddedHost


@frozen
class Traits:
    """What about a server decides what a migration makes. engine: with its version and build."""

    engine: str
    encoding: str = ""
    locale: str = ""
    extensions: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


@frozen
class TemplateSpec:
    """A migrated template. build: brings the empty database it is given up to date."""

    fingerprint: str
    build: Build


def _ignore(*_told: object) -> None:
    """Nobody listens."""


@frozen
class DatabaseRequest:
    """One database that is asked for.

    label: of the worktree it is for. owner: for people who look at its mark. template_spec: what it is a clone of, None
    for an empty one. file: where it is put, of an engine whose databases are files. say: told what is waited for; may
    raise, as check may, where there is no use in going on. note: told what should be known. left: told the lease of a
    database that is not ours any more, and was kept.
    """

    name: str
    label: str
    owner: str
    leases: Leases
    file: Path
    template_spec: TemplateSpec | None = None
    say: Callable[[str], None] = _ignore
    check: Callable[[], object] = _ignore
    note: Callable[[str], object] = _ignore
    left: Callable[[Lease], object] = _ignore


class ProvisionedDatabase:
    """A database that was made, and goes by itself: a file with its folder, one of a URL never."""

    def __init__(self, access: DatabaseAccess) -> None:
        self.access = access

    def drop(self) -> str:
        """Take it away; what should be known, or nothing. Raises UnavailableError."""
        return ""

    def further(self) -> list[str]:
        """The names of databases that its own role has made beside it. Raises UnavailableError."""
        return []

    def stop(self) -> None:
        """End its server, if that is ours. A second call does nothing."""


class Allocator(Protocol):
    """Gives the clients of a broker their databases of one service. Safe to use from several threads."""

    def open(self) -> Allocation:
        """Those of one client. Raises TestgroveError where there can be none."""

    def close(self) -> None:
        """All that were opened are closed: let go of what is left. A second call does nothing."""


class Provider:
    """Provisions one service on one host. Safe to use from several threads. note: what its user should know."""

    note = ""

    def find(self) -> None:
        """Check that it is available, before anything is created. A second call does nothing. Raises TestgroveError."""

    def start_ahead(self) -> None:
        """Start slow work in advance."""

    def traits(self) -> Traits | None:
        """What the fingerprint of a template depends on; None where there are no templates."""
        return None

    def make(self, request: DatabaseRequest) -> ProvisionedDatabase:
        """Make a database. Raises TestgroveError."""
        raise NotImplementedError

    def allocator(self, template_spec: Callable[[], TemplateSpec], owner: str) -> Allocator | None:  # noqa: ARG002 - there is none
        """What gives tests their own; None where that cannot be had. template_spec: called when a test first asks."""
        return None

    def close(self) -> None:
        """Let go of everything but what leases name."""
