"""The ports of worktrees: who holds them, who listens on them, giving them back, getting others."""

from __future__ import annotations

from typing import NamedTuple

from testgrove.app.holder import Holder
from testgrove.app.port_leases import lease_worktree_ports
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.files import Written, let_go, rewrite_ports
from testgrove.core.frozen import frozen
from testgrove.core.model import Lease, LeaseKind, Worktree, WorktreeStatus
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError, UsageError
from testgrove.system.listeners import Listener, listeners, listening_among
from testgrove.system.ports import network_namespace

_HIGHEST = 65535


@frozen
class HeldPort:
    """A leased port. name: of its block, or of the server. holder: a worktree's id, a run or a command. project: the
    holder's main checkout, where it is known."""

    port: int
    name: str
    holder: str
    project: str


@frozen
class CheckedPort:
    """A port and who listens on it. worktree: None for a port that no worktree of the project has."""

    port: int
    name: str
    worktree: Worktree | None
    listeners: tuple[Listener, ...]

    def is_ours(self, listener: Listener) -> bool:
        """Return whether a listener runs in the worktree that the port belongs to."""
        return self.worktree is not None and listener.works_in(self.worktree.path)

    @property
    def foreign_listeners(self) -> tuple[Listener, ...]:
        """The listeners that do not."""
        return tuple(each for each in self.listeners if not self.is_ours(each))


def held_ports(project: Project) -> list[HeldPort]:
    """Every leased port of this machine and user, by number."""
    mains = {each.id: str(each.main) for each in project.store.projects.all()}
    namespace = network_namespace()
    found = []
    for each in project.store.leases_of_kinds(LeaseKind.PORTS):
        where, _, port = each.lease.key.partition(":")
        if where != namespace:
            continue
        kind, _, name = each.owner.partition(":")
        project_id, _, worktree = name.partition("/")
        holder = worktree if kind == "worktree" else kind
        found.append(HeldPort(int(port), each.lease.data["name"], holder, mains.get(project_id, "")))
    return sorted(found, key=lambda each: each.port)


def check(project: Project, names: tuple[str, ...]) -> list[CheckedPort]:
    """Return the listeners on the ports of these worktrees, or on these port numbers; by default on all of the project.

    Raises PreconditionError for an unknown worktree, UsageError for a number that no port has.
    """
    worktrees = records.all_of(project)
    known = {port: (name, worktree) for worktree in worktrees for name, port in worktree.ports.items()}
    wanted: list[int] = [] if names else sorted(known)
    for name in names:
        if name.isdecimal():
            wanted.append(_port(name))
        else:
            wanted += records.named(project, name).ports.values()
    nobodys: tuple[str, Worktree | None] = ("", None)
    return [CheckedPort(port, *known.get(port, nobodys), tuple(listeners(port))) for port in dict.fromkeys(wanted)]


def _port(text: str) -> int:
    if len(text) > len(str(_HIGHEST)) or not 0 < int(text) <= _HIGHEST:
        raise UsageError("invalid-port", f"{text[:20]} is not a port", hint=f"use a number from 1 to {_HIGHEST}")
    return int(text)


def release(project: Project, holder: Holder, name: str) -> tuple[int, ...]:
    """Release a worktree's ports without listeners, also in its env file; return the released ports.

    Raises PreconditionError (``port-in-use``) afterwards, if other ports are in use.
    """
    worktree = records.take(project, holder, records.named(project, name), WorktreeStatus.READY)
    try:
        project = project.around(worktree.directory)
        used = {port: found for port in worktree.ports.values() if (found := listeners(port))}
        going = tuple(port for port in worktree.ports.values() if port not in used)
        if going:
            _change(project, worktree, {name: port for name, port in worktree.ports.items() if port in used})
    finally:
        let_go(project.store, worktree)
    records.publish(project, holder)
    for port, found in used.items():
        raise PreconditionError(
            "port-in-use",
            f"port {port} of {worktree.id} is in use by {found[0]}",
            hint=f"{found[0].ending}   then testgrove ports release {worktree.id}",
            released=list(going),
            kept=list(used),
        )
    return going


class Reassigned(NamedTuple):
    """A worktree's new ports, and the variables of its env file that stay as its user has edited them."""

    ports: dict[str, int]
    kept: list[str]


def reassign(project: Project, holder: Holder, name: str) -> Reassigned:
    """Lease other ports for a worktree, write them into its env file and metadata, and let the old ones go.

    Raises ExhaustedError (``ports-exhausted``) when there are no others; then everything is as it was.
    """
    worktree = records.take(project, holder, records.named(project, name), WorktreeStatus.READY)
    try:
        project = project.around(worktree.directory)
        names = tuple(worktree.ports) or project.settings.ports.names
        leases = records.leases_of(project.store, worktree)
        changed = _change(project, worktree, lease_worktree_ports(project, leases, names))
    finally:
        let_go(project.store, worktree)
    records.publish(project, holder)
    return Reassigned(dict(changed.worktree.ports), changed.kept)


def exchange_taken(project: Project, worktree: WorktreeRecord) -> WorktreeRecord | None:
    """Lease other ports for a held worktree if a process outside the worktree listens on one of them. A server in the
    worktree keeps running, and is named when its port is needed.

    Returns the worktree's current record; None if its ports are unchanged.

    Raises ExhaustedError (``ports-exhausted``) if there are no free ports; then nothing is changed.
    """
    tree = worktree.path
    used = [each for port in listening_among(worktree.ports.values()) for each in listeners(port)]
    if not used or any(each.works_in(tree) for each in used):
        return None
    ports = lease_worktree_ports(project, records.leases_of(project.store, worktree), tuple(worktree.ports))
    return _change(project, worktree, ports).worktree


def _change(project: Project, worktree: WorktreeRecord, ports: dict[str, int]) -> Written:
    """Set a worktree's ports: its other leases are released after the files no longer name them."""
    written = rewrite_ports(project, records.update(project.store, worktree, ports=ports))
    leases = records.leases_of(project.store, worktree)
    leases.forget(*(lease for lease in leases.all() if _is_of_the_block(project, lease, ports)))
    return written


def _is_of_the_block(project: Project, lease: Lease, ports: dict[str, int]) -> bool:
    """Return whether a lease is one of a block's, and of none of these ports: a server of the worktree's has another
    name."""
    names = {*project.settings.ports.names, *ports}
    return lease.kind == LeaseKind.PORTS and lease.data["name"] in names and lease.data["port"] not in ports.values()
