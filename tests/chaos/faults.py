"""Faults as values: at which effect of a command, at which moment of it, and what happens there."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

BEFORE, DURING, AFTER = "before", "during", "after"
SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "hang-up": signal.SIGHUP}
STORE_ERRORS = {
    "store-full": (sqlite3.SQLITE_FULL, "database or disk is full"),
    "store-io": (sqlite3.SQLITE_IOERR, "disk I/O error"),
    "store-read-only": (sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
    "store-locked": (sqlite3.SQLITE_BUSY, "database is locked"),
}
KINDS = {  # by gateway
    "files": ("kill", "kill", "interrupt", "terminate", "ENOSPC", "EACCES", "EIO", "EROFS", "EMFILE", "EDQUOT"),
    "reads": ("EACCES", "EIO", "EMFILE"),
    "processes": ("kill", "kill", "interrupt", "terminate", "child", "EAGAIN", "ENOMEM", "EMFILE"),
    "store": ("kill", "kill", "interrupt", "hang-up", *STORE_ERRORS),
}


@dataclass(frozen=True)
class Effect:
    """One line of a command's list of effects. number: counts all of them from 1; gateway: a key of KINDS."""

    number: int
    gateway: str
    what: str


@dataclass(frozen=True)
class Fault:
    """at: the number of the effect. lasting: later effects of this gateway fail in the same way."""

    at: int
    gateway: str
    moment: str
    kind: str
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.moment} effect {self.at} ({self.gateway}){' and later' if self.lasting else ''}"

    def concerns(self, number: int, gateway: str, moment: str) -> bool:
        """Whether it happens now."""
        if (gateway, moment) != (self.gateway, self.moment):
            return False
        return number == self.at or (self.lasting and number > self.at)

    def happen(self, child: Any) -> None:
        """Kill, interrupt, or raise what the operating system or SQLite would. child: the process just started."""
        if self.kind in SIGNALS:
            os.kill(os.getpid(), SIGNALS[self.kind])
        elif self.kind == "child":
            child.kill()
        elif self.kind in STORE_ERRORS:
            code, message = STORE_ERRORS[self.kind]
            error = sqlite3.OperationalError(message)
            error.sqlite_errorcode = code
            raise error
        else:
            number = getattr(errno, self.kind)
            raise OSError(number, os.strerror(number))


def choose(source: Random, effects: Sequence[Effect]) -> Fault:
    """A random fault of a command that has these effects: each gateway is as likely as the others."""
    gateway = source.choice(sorted({each.gateway for each in effects}))
    at = source.choice([each.number for each in effects if each.gateway == gateway])
    kind = source.choice(KINDS[gateway])
    if kind == "child":
        return Fault(at, gateway, DURING, kind)
    if kind not in SIGNALS:
        return Fault(at, gateway, BEFORE, kind, lasting=source.random() < 0.3)
    moments = {"processes": (BEFORE, DURING, AFTER), "store": (BEFORE, AFTER)}
    return Fault(at, gateway, source.choice(moments.get(gateway, (BEFORE,))), kind)
