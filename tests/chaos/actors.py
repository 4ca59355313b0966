"""testgrove's commands, each in a fork of this process, which has imported everything: milliseconds, not a quarter of a
second. A fork ends as an interpreter does."""

from __future__ import annotations

import atexit
import importlib
import os
import pkgutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import testgrove

NOT_IMPORTED = ("__main__", "documented", "coverage_start", "supervisor", "preflight_probe")


def preload() -> None:
    """Import testgrove whole, so that forks need not."""
    for module in pkgutil.walk_packages(testgrove.__path__, "testgrove."):
        if not any(name in module.name for name in NOT_IMPORTED):
            with suppress(ImportError):
                importlib.import_module(module.name)


@dataclass
class Actor:
    """A command that runs, or ran. prepare: called in the fork before the command."""

    words: Sequence[str]
    folder: Path
    output: Path
    pid: int = 0
    returncode: int | None = None
    started: float = field(default_factory=time.time)
    ended: float | None = None

    def wait(self, timeout: float = 120.0) -> int:
        """Its exit status, negative for a signal. Raises AssertionError when it does not end."""
        deadline = time.monotonic() + timeout
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode, self.ended = os.waitstatus_to_exitcode(status), time.time()
            elif time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self.returncode = -9
                raise AssertionError(f"`{self}` timed out after {timeout:g} s")
            else:
                time.sleep(0.002)
        return self.returncode

    @property
    def out(self) -> str:
        return self.output.with_suffix(".out").read_text(errors="replace")

    @property
    def err(self) -> str:
        return self.output.with_suffix(".err").read_text(errors="replace")

    def __str__(self) -> str:
        return " ".join(self.words)

    def said(self) -> str:
        """Its exit status and words, for a message."""
        return f"`{self}` in {self.folder}: exit status {self.returncode}\n{self.out}{self.err}"


def start(actor: Actor, env: Mapping[str, str], run: Callable[[list[str]], None]) -> Actor:
    """Fork; run gets the words, in a session, a folder and an environment of its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    actor.pid = os.fork()
    if not actor.pid:
        status = 70
        try:
            _become(actor, env)
            run(list(actor.words))
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 - as an interpreter does
            sys.excepthook(*sys.exc_info())
        finally:
            _end(status)
    return actor


def _become(actor: Actor, env: Mapping[str, str]) -> None:
    atexit._clear()  # what is registered there is this process's to do
    os.setsid()
    os.chdir(actor.folder)
    os.environ.clear()
    os.environ.update(env)
    for number, name in ((0, os.devnull), (1, actor.output.with_suffix(".out")), (2, actor.output.with_suffix(".err"))):
        opened = os.open(name, os.O_RDONLY if not number else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(status: int) -> None:
    """As an interpreter does: threads, then exit functions, then what is buffered."""
    with suppress(BaseException):
        threading._shutdown()
    with suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    os._exit(status)
