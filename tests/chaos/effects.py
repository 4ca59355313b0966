"""Every effect of a command, numbered as it happens, and the faults among them. For a process that was just forked.

Nothing in testgrove knows of this. Files are seen by Python's audit events, whose hook may raise what the call then
raises; processes where system.process starts them; the store at the statements that change it.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.faults import AFTER, BEFORE, DURING, Effect, Fault

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.utime", "os.chmod"}
READS = {"os.listdir", "os.scandir"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
STATEMENTS = ("BEGIN", "INSERT", "UPDATE", "DELETE", "COMMIT", "CREATE")


class Effects:
    """Counts the effects of this process below a folder, writes them to a log, and lets faults happen."""

    def __init__(self, base: Path, log: Path, faults: Sequence[Fault]) -> None:
        self._base, self._faults = str(base), faults
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.RLock()
        self._number = self.started = 0

    def install(self) -> None:
        """From now on, in this process and for as long as it lives."""
        from testgrove.system.processes import process

        sqlite3.connect = self._connecting(sqlite3.connect)
        subprocess.Popen = self._starting(subprocess.Popen)
        process.run_bytes = self._ending(process.run_bytes)
        sys.addaudithook(self._event)

    def begin(self, gateway: str, what: str) -> int:
        """Number an effect that is about to happen."""
        with self._lock:
            self._number += 1
            number = self._number
            os.write(self._log, f"{number} {gateway} {what}\n".encode(errors="backslashreplace"))
        self.meet(number, gateway, BEFORE)
        return number

    def meet(self, number: int, gateway: str, moment: str, child: Any = None) -> None:
        """Let happen what is to happen now."""
        for fault in self._faults:
            if fault.concerns(number, gateway, moment):
                os.write(self._log, f"{number} fault {fault}\n".encode())
                fault.happen(child)

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            gateway = "files" if flags & WRITING else "reads"
        elif event in CHANGES or event in READS:
            path, gateway = arguments[0] if arguments else None, "files" if event in CHANGES else "reads"
        else:
            return
        if isinstance(path, str | bytes | os.PathLike) and self._is_below(os.fsdecode(path), gateway):
            self.begin(gateway, f"{event} {os.fsdecode(path).removeprefix(self._base)}")

    def _is_below(self, path: str, gateway: str) -> bool:
        """Relative ones are those of a tree that is being deleted."""
        return path.startswith(self._base) or (gateway == "files" and not path.startswith("/"))

    def _connecting(self, connect: Any) -> Any:
        effects = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
                if not sql.lstrip().startswith(STATEMENTS):
                    return super().execute(sql, *values)
                number = effects.begin("store", " ".join(sql.split()[:3]))
                done = super().execute(sql, *values)
                effects.meet(number, "store", AFTER)
                return done

        def connecting(path: Any, *positional: Any, **named: Any) -> sqlite3.Connection:
            return connect(path, *positional, **({"factory": Connection} | named))

        return connecting

    def _starting(self, popen: Any) -> Any:
        effects = self

        class Popen(popen):
            def __init__(self, words: Sequence[Any], *positional: Any, **named: Any) -> None:
                number = effects.begin("processes", " ".join(map(str, words))[:200])
                super().__init__(words, *positional, **named)
                effects.started = number
                effects.meet(number, "processes", DURING, self)

        return Popen

    def _ending(self, run: Any) -> Any:
        def running(*positional: Any, **named: Any) -> Any:
            done = run(*positional, **named)
            self.meet(self.started, "processes", AFTER)
            return done

        return running


def read(log: Path) -> list[Effect]:
    """The effects in a log, without the faults."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    fields = [line.split(" ", 2) for line in lines]
    return [Effect(int(number), gateway, what) for number, gateway, what in fields if gateway != "fault"]
