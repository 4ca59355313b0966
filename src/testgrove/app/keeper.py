"""The keeper's process, and how a command finds it or starts one."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testgrove.app.holder import holding
from testgrove.app.launcher import SupervisedLauncher
from testgrove.core.frozen import frozen
from testgrove.core.model import Lease, LeaseKind
from testgrove.errors import UnavailableError
from testgrove.services.keeper.client import KeeperClient, stop_keeper
from testgrove.services.keeper.keeper import IDLE, Keeper
from testgrove.system.files import explained
from testgrove.system.locations import Locations, locate
from testgrove.system.locks import LockFile, OnWait
from testgrove.system.processes.process import scrubbed, spawn_left_alone
from testgrove.system.store import Store
from testgrove.system.trusted_paths import make_private

IDLE_VARIABLE = "TESTGROVE_KEEPER_IDLE"
_LOG = "keeper.log"
_START_TIMEOUT = 30.0
_END_TIMEOUT = 120.0
_PAUSE = 0.002


@frozen
class KeeperLocation:
    """The folders of a project's keeper. folder: on disk, one folder in it for each service; run: with a short
    path, for sockets."""

    project: str
    folder: Path
    run: Path

    @property
    def socket(self) -> Path:
        """The socket on which the keeper listens."""
        return self.run / "keeper.sock"

    @property
    def lock(self) -> str:
        """The lock that the living keeper holds."""
        return f"keeper:{self.project}"

    def lease(self) -> Lease:
        """The record of everything that a keeper of this location has."""
        return Lease(LeaseKind.KEEPER, str(self.folder), self.data())

    def data(self) -> dict[str, str]:
        """The location, for the lease of anything under the keeper."""
        return {"project": self.project, "folder": str(self.folder), "run": str(self.run)}

    @classmethod
    def of_lease(cls, lease: Lease) -> KeeperLocation:
        """The location that a lease names."""
        return cls(lease.data["project"], Path(lease.data["folder"]), Path(lease.data["run"]))


def location_of(store: Store, project: str) -> KeeperLocation | None:
    """The location of a project's keeper; None if the project has no persistent servers."""
    leases = store.leases(project_owner(project)).all()
    return next((KeeperLocation.of_lease(lease) for lease in leases if lease.kind == LeaseKind.KEEPER), None)


def new_location(locations: Locations, project: str, *, closed: bool) -> KeeperLocation:
    """Return the location of a new keeper. closed: its servers run as a user who cannot enter this user's folders."""
    servers = locations.open_servers if closed else locations.servers
    return KeeperLocation(project, servers / project, locations.scratch / f"keeper-{project[:8]}")


def project_owner(project: str) -> str:
    """The owner of what belongs to a whole project."""
    return f"project:{project}"


@contextmanager
def keeper_of(location: KeeperLocation, locks: LockFile, on_wait: OnWait) -> Iterator[KeeperClient]:
    """A connection to the location's keeper, which is started if there is none. Its folders are there, and leased.

    While it is open, no server is stopped for being idle.

    Raises UnavailableError (``keeper-failed``).
    """
    client = KeeperClient.connect(location.socket) or _started(location, locks, on_wait)
    with client:
        client.hold()
        yield client


def _started(location: KeeperLocation, locks: LockFile, on_wait: OnWait) -> KeeperClient:
    on_wait("starting the keeper of the project's servers")
    _make_folders(location)
    log = location.folder / _LOG
    words = [sys.executable, "-m", "testgrove.app.keeper", location.project]
    idle = os.environ.get(IDLE_VARIABLE)
    env = scrubbed() | ({IDLE_VARIABLE: idle} if idle else {})
    child = spawn_left_alone(words, env=env, log=log)
    deadline = time.monotonic() + _START_TIMEOUT
    while (client := KeeperClient.connect(location.socket)) is None:
        # One that finds another keeper at work ends at once.
        if (child.poll() is not None and not locks.is_held(location.lock)) or time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-2000:].strip() if log.exists() else ""
            raise UnavailableError(
                "keeper-failed", f"cannot start the keeper of the project's servers:\n{said}", hint=f"less {log}"
            )
        time.sleep(_PAUSE)
    return client


def _make_folders(location: KeeperLocation) -> None:
    """Raises PreconditionError (``folder-unusable``) where another user could exchange what the keeper executes."""
    make_private(location.folder.parent, 0o711)
    make_private(location.run.parent)
    for folder in (location.folder, location.run):
        with explained("create the folder", folder):
            folder.mkdir(mode=0o700, exist_ok=True)


def end_keeper(location: KeeperLocation, locks: LockFile) -> bool:
    """Stop a keeper and every server it has; whether there was one. Data stays. Raises UnavailableError."""
    was_there = stop_keeper(location.socket)
    deadline = time.monotonic() + _END_TIMEOUT
    while locks.is_held(location.lock):
        if time.monotonic() > deadline:
            raise UnavailableError("keeper-failed", "the keeper of the project's servers does not stop")
        time.sleep(_PAUSE)
    return was_there


def main(project: str) -> None:
    """Be a project's keeper, unless there is one."""
    locations = locate(os.environ)
    store = Store(locations.store)
    location = location_of(store, project)
    lock = LockFile(locations.locks).try_acquire(location.lock) if location else None
    if location is None or lock is None:
        return
    idle = float(os.environ.get(IDLE_VARIABLE) or IDLE)
    _make_folders(location)
    with holding(store, locations, f"testgrove keeper of project {project}") as holder:
        launcher = SupervisedLauncher(holder.supervisors, threading.Event())
        keeper = Keeper(location.folder, location.socket, launcher, idle=idle)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: keeper.finish())
        keeper.serve()
    lock.release()


if __name__ == "__main__":
    main(sys.argv[1])
