"""A project's keeper: the process that holds the servers of worktrees which outlive a command.

While a server is stopped, the keeper listens on its port: no other process can take the port, and a client that
connects starts the server and is connected to it. A server without clients is stopped after a while; its data stays.

Requests come through a Unix socket, one JSON object a line: ``{"do": "start", "name": "postgres-15"}``. The servers
keep running while a client's connection is open.
"""

from __future__ import annotations

import json
import selectors
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.errors import TestgroveError, UnavailableError
from testgrove.services.hosts.embedded import EmbeddedHost, Identity, check_socket
from testgrove.services.keeper.relay import relay
from testgrove.services.keeper.service import PersistentProgram, PersistentService, has_clients, services_in
from testgrove.services.peers import is_of_our_user
from testgrove.services.shared_memory import release_shared_memory

if TYPE_CHECKING:
    from testgrove.services.base import Launcher, RunningProcess

IDLE = 600.0  # seconds without a client after which a server is stopped
_TICK = 0.5  # seconds between two looks at the servers
_STOP_TIMEOUT = 60.0


class ManagedServer:
    """One service under the keeper: running, or stopped and listened for. Safe to use from several threads."""

    def __init__(self, service: PersistentService, folder: Path, host: EmbeddedHost) -> None:
        self.service = service
        self.last_used = time.monotonic()
        self.problem = ""  # why it is neither running nor listened for
        self._folder = folder
        self._host = host
        self._lock = threading.Lock()
        self._process: RunningProcess | None = None
        self.listener: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Its process, None while it is stopped."""
        return self._process.pid if self._process else None

    def start(self) -> int:
        """Its pid, once it is ready. Raises PreconditionError (``port-taken``), UnavailableError."""
        with self._lock:
            self._start()
            assert self._process is not None
            return self._process.pid

    def _start(self) -> None:
        self.last_used = time.monotonic()
        if self._process and self._process.poll() is None:
            return
        self._unlisten()
        self._clear()
        try:
            self._process = self._host.start(PersistentProgram(self.service, self._folder), directory=self._folder)
        except BaseException:
            self._process = None
            self._listen()
            raise

    def _clear(self) -> None:
        """Delete what a killed server left behind: its lock file could name an unrelated process."""
        release_shared_memory(self._folder / "data")
        for name in self.service.stale:
            path = self._folder / name
            if path.exists() and (pid := _runs_in(path.parent)):
                raise UnavailableError(
                    "server-survives",
                    f"orphaned server process {pid} is still using {path.parent}",
                    hint="testgrove list   stops it; then retry",
                )
            path.unlink(missing_ok=True)

    def wake(self) -> None:
        """A client connects to the port of a stopped server: start the server and connect the client."""
        with self._lock:
            if self.listener is None:
                return
            waiting = []
            with suppress(OSError):
                while True:
                    waiting.append(self.listener.accept()[0])
            try:
                self._start()
            except TestgroveError as error:
                self.problem = error.message
        for client in waiting:
            relay(client, ("127.0.0.1", self.service.port))

    def stop(self, *, listen: bool = True) -> None:
        """End it in good order; with listen, the next connection starts it again."""
        with self._lock:
            if self._process:
                self._process.stop(signal=self.service.stop_signal, timeout=_STOP_TIMEOUT)
                self._process = None
            if listen:
                self._listen()
            else:
                self._unlisten()

    def destroy(self) -> None:
        """End it at once: its data is about to be deleted."""
        with self._lock:
            if self._process:
                self._process.stop(signal=signal.SIGKILL, timeout=5)
                self._process = None
            self._unlisten()

    def look(self, *, used: bool, idle: float) -> None:
        """Detect that it died, or had no clients for the idle time."""
        if self._lock.acquire(blocking=False):
            try:
                if self._process and self._process.poll() is not None:
                    self._process = None
                if self._process is None:
                    self._listen()
                    return
                if used or has_clients(self.service.port):
                    self.last_used = time.monotonic()
            finally:
                self._lock.release()
            if time.monotonic() - self.last_used > idle:
                self.stop()

    def _listen(self) -> None:
        if self.listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        try:
            listener.bind(("127.0.0.1", self.service.port))
            listener.listen(128)
        except OSError as error:
            listener.close()
            self.problem = f"port {self.service.port}: {(error.strerror or str(error)).lower()}"
            return
        self.problem = ""
        self.listener = listener

    def _unlisten(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def document(self) -> dict[str, Any]:
        """Return the document of `services list`."""
        state = "running" if self._process else "stopped" if self.listener else "unreachable"
        return {
            "name": self.service.name,
            "what": self.service.what,
            "port": self.service.port,
            "state": state,
            "pid": self.pid,
            "idle_seconds": round(time.monotonic() - self.last_used, 1),
            "problem": self.problem,
        }


class Keeper:
    """Serves one project's folder of services.

    folder: contains one folder for each service. socket: where it listens. idle: seconds. serve() returns after the
    request to quit, or when no service is left.
    """

    def __init__(self, folder: Path, socket_path: Path, launcher: Launcher, *, idle: float = IDLE) -> None:
        check_socket(socket_path)
        self._folder = folder
        self._socket_path = socket_path
        self._launcher = launcher
        self._idle = idle
        self._servers: dict[str, ManagedServer] = {}
        self._guard = threading.Lock()
        self._visits: dict[object, bool] = {}  # who is connected, and whether they keep the servers running
        self._had_services = False
        self._over = threading.Event()

    def serve(self) -> None:
        """Work until there is nothing more to keep."""
        self._socket_path.unlink(missing_ok=True)  # of a killed keeper; this is the only living one
        with socket.socket(socket.AF_UNIX) as control, selectors.DefaultSelector() as selector:
            control.bind(str(self._socket_path))
            self._socket_path.chmod(0o600)
            control.listen(128)
            selector.register(control, selectors.EVENT_READ)
            self._load()
            while not self._over.is_set():
                self._round(control, selector)
        for server in self._all():
            server.stop(listen=False)
        self._socket_path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Let serve() stop everything and return."""
        self._over.set()

    def _round(self, control: socket.socket, selector: selectors.BaseSelector) -> None:
        listeners = {listener: server for server in self._all() if (listener := server.listener) is not None}
        known = {key.fileobj for key in selector.get_map().values()} - {control}
        for gone in known - listeners.keys():
            selector.unregister(gone)
        for new in listeners.keys() - known:
            with suppress(ValueError, OSError):  # a client has just had the server started, and it is closed
                selector.register(new, selectors.EVENT_READ)
        for key, _ in selector.select(_TICK):
            if key.fileobj is control:
                self._let_in(control)
            elif server := listeners.get(key.fileobj):  # type: ignore[call-overload]
                selector.unregister(key.fileobj)
                threading.Thread(target=server.wake, daemon=True).start()
        self._look()

    def _let_in(self, control: socket.socket) -> None:
        try:
            client, _ = control.accept()
        except OSError:  # no descriptor is left just now
            time.sleep(_TICK)
            return
        threading.Thread(target=self._speak, args=(client,), daemon=True).start()

    def _look(self) -> None:
        with self._guard:
            held = any(self._visits.values())
        for server in self._all():
            server.look(used=held, idle=self._idle)
        if not self._folder.is_dir() or (self._had_services and not self._visits and not self._all()):
            self._over.set()

    def _load(self) -> None:
        for service in services_in(self._folder):
            self._server(service.name)
        for server in self._all():
            server.look(used=False, idle=self._idle)

    def _all(self) -> list[ManagedServer]:
        with self._guard:
            return list(self._servers.values())

    def _server(self, name: str) -> ManagedServer:
        """Return the server of that name, with the current content of its file."""
        folder = self._folder / name
        service = PersistentService.read(folder)
        with self._guard:
            known = self._servers.get(name)
            if known is None or known.service != service:
                if known:
                    known.stop(listen=False)
                identity = Identity("its user", user=service.user)
                host = EmbeddedHost(self._launcher, ours=(), copies=folder, identity=identity)
                known = self._servers[name] = ManagedServer(service, folder, host)
                self._had_services = True
            return known

    def _speak(self, client: socket.socket) -> None:
        with client:
            if not is_of_our_user(client):
                return
            visit = object()
            with self._guard:
                self._visits[visit] = False
            try:
                with client.makefile("rw", encoding="utf-8") as lines:
                    for line in lines:
                        lines.write(json.dumps(self._answer(line, visit)) + "\n")
                        lines.flush()
            except OSError:
                pass  # it has left
            finally:
                with self._guard:
                    del self._visits[visit]

    def _answer(self, line: str, visit: object) -> dict[str, Any]:
        try:
            request = json.loads(line)
            return {"ok": self._do(request.get("do"), str(request.get("name", "")), visit)}
        except TestgroveError as error:
            return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
        except (ValueError, AttributeError, OSError) as error:
            return {"error": {"code": "keeper-failed", "message": f"invalid keeper request: {error}", "hint": ""}}

    def _do(self, what: str, name: str, visit: object) -> Any:
        match what:
            case "hold":
                self._visits[visit] = True
            case "start":
                return {"pid": self._server(name).start()}
            case "stop":
                self._server(name).stop()
            case "drop":
                with self._guard:
                    server = self._servers.pop(name, None)
                if server:
                    server.destroy()
            case "list":
                return [server.document() for server in self._all()]
            case "quit":
                self._over.set()
            case _:
                raise UnavailableError("keeper-failed", f"unknown keeper request '{what}'")
        return {}


def _runs_in(folder: Path) -> int | None:
    """A process whose working directory this is."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if entry.joinpath("cwd").readlink() == folder:
                return int(entry.name)
    return None
