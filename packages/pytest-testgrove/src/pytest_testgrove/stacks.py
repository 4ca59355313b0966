"""Stack dumps of this process, written when testgrove asks for them by a signal, before a timeout ends the suite.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import faulthandler
import os
import signal

NUMBER = signal.SIGRTMAX - 4  # applications use SIGUSR1 and SIGUSR2 themselves

_descriptors: dict[str, int] = {}  # of each session's folder; kept open, since the signal may come at any time


def offer(folder: str) -> int:
    """Write all threads' stacks to a file of this process in the session's folder at each signal; return its number.

    Forked children inherit that. 0 where the file cannot be made."""
    if folder not in _descriptors:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            _descriptors[folder] = os.open(f"{folder}/stacks-{os.getpid()}.txt", flags, 0o644)
        except OSError:  # the disk is full
            return 0
    faulthandler.register(NUMBER, _descriptors[folder], all_threads=True)
    return NUMBER


def withdraw(folder: str) -> None:
    """Stop that at the session's end."""
    if folder in _descriptors:
        faulthandler.unregister(NUMBER)
        os.close(_descriptors.pop(folder))
