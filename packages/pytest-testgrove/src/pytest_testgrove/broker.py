"""A client of the database broker: the one that testgrove configured, or one started here for this session.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Deque, Dict, List, Optional

SOCKET_VARIABLE = "TESTGROVE_BROKER"
COMMAND_VARIABLE = "TESTGROVE"
INSTALL = "pip install 'testgrove[embedded]'   (or: uv tool install 'testgrove[embedded]')"
_START_TIMEOUT = 120.0  # seconds
_ANSWER_TIMEOUT = 1860.0  # a migration that builds the template may take half an hour
# What would lead testgrove's own interpreter, or git, somewhere else.
_DROPPED = ("PYTHONPATH", "PYTHONHOME", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")
# git sets these for hooks; the variables above let testgrove distinguish them from those that CI sets on purpose.
_IDENTITY = ("GIT_AUTHOR_", "GIT_COMMITTER_")


class BrokerError(Exception):
    """No database is available; the text contains the reason and a hint. code: the broker's error code, if any."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class BrokerLostError(BrokerError):
    """The broker has ended."""


class Client:
    """A connection to a broker. What it holds goes back when it closes, however that happens."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()
        self._owed: Deque[bytes] = deque()  # requests with unread answers; empty: the answer is not needed
        self._answers: Dict[bytes, Dict[str, Any]] = {}  # those that were read and not asked for yet

    @classmethod
    def connect(cls, path: str) -> "Client":
        """Connect. Raises BrokerLostError if no broker listens."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_ANSWER_TIMEOUT)
        try:
            connection.connect(path)
        except OSError as error:
            connection.close()
            raise BrokerLostError(f"the broker at {path} does not answer: {error}") from error
        return cls(connection)

    def ask(self, do: str, **values: Any) -> Dict[str, Any]:
        """The answer to a request, which may have been sent ahead. Raises BrokerLostError, BrokerError."""
        request = _line(do, values)
        with self._lock:
            try:
                if not self._is_ahead(request) or "error" in self._answer(request):  # what went wrong then may go now
                    self._send(request)
                answer = self._answer(request)
                del self._answers[request]
            except (OSError, ValueError) as error:
                raise BrokerLostError(f"the database broker does not answer: {error}") from error
            except BaseException:  # as in _send()
                self.close()
                raise
        if "error" in answer:
            raise BrokerError(_said(answer["error"]), str(answer["error"].get("code", "")))
        if "ok" not in answer:
            raise BrokerLostError("the database broker has stopped")
        found: Dict[str, Any] = answer["ok"]
        return found

    def tell(self, do: str, **values: Any) -> None:
        """Send a request without waiting for the answer. Raises BrokerLostError."""
        self._send_ahead(_line(do, values), wanted=False)

    def ask_ahead(self, do: str, **values: Any) -> None:
        """Send a request that ask() is soon to be called with. Raises BrokerLostError."""
        self._send_ahead(_line(do, values), wanted=True)

    def is_ahead(self, do: str, **values: Any) -> bool:
        """Return whether this request was sent ahead, and ask() was not called with it since."""
        with self._lock:
            return self._is_ahead(_line(do, values))

    def _is_ahead(self, request: bytes) -> bool:
        return request in self._owed or request in self._answers

    def _send_ahead(self, request: bytes, *, wanted: bool) -> None:
        with self._lock:
            try:
                self._send(request, wanted=wanted)
            except OSError as error:
                raise BrokerLostError(f"the database broker does not listen: {error}") from error

    def _send(self, request: bytes, *, wanted: bool = True) -> None:
        self._answers.pop(request, None)
        try:
            self._connection.sendall(request)
            self._owed.append(request if wanted else b"")
        except BaseException:  # Ctrl-C, a timeout: an answer that is not expected would be taken for another one
            self.close()
            raise

    def _answer(self, request: bytes) -> Dict[str, Any]:
        while request not in self._answers:
            answer = json.loads(self._lines.readline() or "{}")
            self._answers[self._owed.popleft()] = answer
        return self._answers[request]

    def close(self) -> None:
        """Give everything back."""
        self._lines.close()
        self._connection.close()


def _line(do: str, values: Dict[str, Any]) -> bytes:
    return json.dumps({"do": do, **values}).encode() + b"\n"


def _said(error: Dict[str, Any]) -> str:
    notes = "".join(f"\n  note: {note}" for note in error.get("notes", ()))
    hint = f"\n  hint: {error['hint']}" if error.get("hint") else ""
    return f"{error['message']}{notes}{hint}"


def in_a_run() -> bool:
    """Return whether `testgrove test` started this process's session, which then has its own broker or none."""
    return "TESTGROVE_SESSION" in os.environ


class SharedBroker:
    """The meeting point of a session's workers: the first to ask starts the broker, the others find it there.

    folder: shared by all of them; session: the process that the broker is to end with.
    """

    def __init__(self, folder: Path, session: int, root: Path) -> None:
        self._file = folder / f"testgrove-broker-{session}"
        self._session = session
        self._root = root

    def client(self) -> Client:
        """A connection to the session's broker. Raises BrokerError."""
        with self._file.open("a+") as file:  # the lock goes with the descriptor
            fcntl.flock(file, fcntl.LOCK_EX)  # for as long as another worker takes to start it
            file.seek(0)
            path = file.read()
            if path:
                try:
                    return Client.connect(path)
                except BrokerLostError:
                    pass  # it was killed
            path = start(self._session, self._root)
            file.seek(0)
            file.truncate()
            file.write(path)
            file.flush()
            return Client.connect(path)


def _environment() -> Dict[str, str]:
    in_a_hook = "GIT_INDEX_FILE" in os.environ or "GIT_DIR" in os.environ
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _DROPPED and not (in_a_hook and name.startswith(_IDENTITY))
    }


def start(session: int, root: Path) -> str:
    """Start a broker that ends with a process; the path of its socket. Raises BrokerError."""
    words = [*find_testgrove(), "broker", "--json", "--session", str(session), "--project", str(root)]
    words += ["--python", sys.prefix, "--installed", _installed()]
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        try:
            process = subprocess.Popen(
                words,
                cwd="/",
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,  # Ctrl-C is handled here; the broker ends after this process
            )
        except OSError as error:
            raise BrokerError(f"cannot execute {words[0]}: {error.strerror}\n  hint: {INSTALL}") from error
        assert process.stdout is not None
        with process.stdout:
            text = _first_document(process.stdout.fileno())
        process.returncode = process.poll() or 0  # no process waits for it: it outlives this one
        path = text.get("socket")
        if isinstance(path, str):
            return path
        if "error" in text:
            raise BrokerError(_said(text["error"]))
        said.seek(0)
        raise BrokerError(f"`{' '.join(words[:-6])}` did not start:\n{said.read()[-2000:].strip()}")


def _first_document(fd: int) -> Dict[str, Any]:
    """Return the first printed document, once it is complete; an empty one if there is none."""
    deadline, text = time.monotonic() + _START_TIMEOUT, b""
    waiting = select.poll()  # select() takes no descriptor above 1023
    waiting.register(fd, select.POLLIN)
    while waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
        data = os.read(fd, 65536)
        text += data
        try:
            return dict(json.loads(text))
        except ValueError:
            if not data:
                break
    return {}


def find_testgrove() -> List[str]:
    """Return the command as words: $TESTGROVE, else next to the interpreter, else on PATH. Raises BrokerError."""
    named = os.environ.get(COMMAND_VARIABLE)
    if named:
        return [named] if Path(named).is_file() else shlex.split(named)
    beside = Path(sys.executable).with_name("testgrove")
    found: Optional[str] = str(beside) if os.access(beside, os.X_OK) else shutil.which("testgrove")
    if found is None:
        raise BrokerError(
            f"a database for each test requires the command `testgrove`, which was not found\n  hint: {INSTALL}"
        )
    return [found]


def _installed() -> str:
    """Return names and versions of the packages in this environment, for the template's fingerprint."""
    names = {sys.version}
    for folder in sys.path:
        try:
            entries = os.listdir(folder or ".")  # noqa: PTH208 - sys.path holds texts
        except OSError:
            continue
        names.update(name for name in entries if name.endswith((".dist-info", ".egg-info", ".egg-link")))
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]
