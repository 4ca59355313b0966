"""Reports how this process reaches databases: variables, when they change, and connections of drivers.

It only reports; testgrove knows what the tests may connect to, and decides. Active only in a testgrove run.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from pytest_testgrove.drivers import Target, watch

if TYPE_CHECKING:
    from pytest_testgrove.session import Log

_NAMES = re.compile(r"PG[A-Z]+|SQLITE_PATH|(.*_)?(URL|URI|DSN)")
_SECRETS = re.compile(r"PGPASSWORD|PGPASSFILE")
_IN_URL, _IN_DSN = re.compile(r"(://[^:/@]*):[^\s]*@"), re.compile(r"(password\s*=\s*)('[^']*'|\S+)", re.IGNORECASE)


# Those that set variables by their configuration, by the module that they are loaded from.
_PLUGINS = {"pytest_env": "pytest-env", "pytest_dotenv": "pytest-dotenv", "pytest_django": "pytest-django"}


class Connections:
    """Reports, at once where there is a log, else when it opens. root: the tree, in which callers are looked for."""

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root) + "/"
        self._log: Optional[Log] = None
        self._pending: List[Tuple[str, Dict[str, Any]]] = []
        self._known: Dict[str, str] = {}
        self._file = ""  # of the test that runs
        self.look("")  # what the command itself has set

    def open(self, log: Log) -> None:
        """Report from now on."""
        self._log = log
        pending, self._pending = self._pending, []
        for kind, fields in pending:
            log.write(kind, **fields)

    def look(self, where: str) -> None:
        """Report the variables that have changed since the last look. where: what has run in between."""
        where = where.removeprefix(self._root)
        now = {name: value for name, value in os.environ.items() if _NAMES.fullmatch(name)}
        changed = {name: value for name, value in now.items() if self._known.get(name) != value}
        gone = [name for name in self._known if name not in now]
        self._known = now
        if changed or gone:
            shown = {name: _without_password(value) for name, value in changed.items() if not _SECRETS.match(name)}
            self._write("values", values=shown, gone=gone, where=where)

    def next_file(self, nodeid: str) -> None:
        """A test begins: where it is the first of its file, look at what the file before has left."""
        file = nodeid.partition("::")[0]
        if file != self._file:
            self.look(self._file)
            self._file = file

    def end(self) -> None:
        """The session ends."""
        self.look(self._file)

    def connected(self, target: Target) -> None:
        """A driver has connected."""
        engine, host, address, port, database = target
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        where = _caller(self._root)
        self._write(
            "connection",
            engine=engine, host=host, address=address, port=port, database=database, test=test, where=where,
        )  # fmt: skip

    def _write(self, kind: str, **fields: Any) -> None:
        if self._log is None:
            self._pending.append((kind, fields))
        else:
            self._log.write(kind, **fields)


def start() -> Optional[Connections]:
    """Begin to watch, where a run of testgrove's has started this process."""
    if "TESTGROVE_SESSION" not in os.environ:
        return None
    found = Connections(os.environ.get("TESTGROVE_TREE") or ".")
    watch(found.connected)
    return found


def plugins_that_set_variables() -> str:
    """The plugins of pytest's that may have set variables before conftests were loaded."""
    names = [name for module, name in _PLUGINS.items() if module in sys.modules]
    return " or ".join(names) or "a plugin of pytest's"


def _without_password(value: str) -> str:
    return _IN_DSN.sub(r"\1-", _IN_URL.sub(r"\1@", value))


def _caller(root: str) -> str:
    """The line of the project's own that is nearest to the connection; empty where none is on the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(root) and "/site-packages/" not in file:
            return f"{file[len(root) :]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]  # None at the end
    return ""
