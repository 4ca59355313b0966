"""An attempt's session folder: who reports into it, and the file of its records.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
from typing import Any

LIMIT = 100_000  # bytes of one text field
PLUGIN = "pytest_testgrove"

_finished: set[str] = set()  # sessions that this process has claimed and finished


def claim(folder: str) -> bool:
    """Return whether this process may report into the folder: it is unclaimed, or its claimant has ended.

    A nested pytest always finds the claim of a living process; pytest processes that one command starts one
    after another (``pytest a && pytest b``) are all reported. Claims are numbered, never replaced: two processes that
    find a dead claimant cannot both win.
    """
    number = 1
    while True:
        path = f"{folder}/claim" + (f".{number}" if number > 1 else "")
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            if not _is_over(path, folder):
                return False
            number += 1
            continue
        except OSError:
            return False  # missing, or another user's: a leftover variable
        with os.fdopen(fd, "w") as file:
            file.write(f"{os.getpid()}\n")
        return True


def _is_over(path: str, folder: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - a str all along
            pid = int(file.read())
    except (OSError, ValueError):
        return False  # being written just now
    if pid == os.getpid():
        return folder in _finished
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def finish(folder: str) -> None:
    """Stop reporting from this process; a later session in it may report again."""
    _finished.add(folder)


class Log:
    """``tests.jsonl``: one JSON object a line, each appended with one write, so that writers never mix lines.

    A child that a test forks writes nothing. error: why writing has stopped, if it has.
    """

    def __init__(self, folder: str) -> None:
        self.error = ""
        self._pid = os.getpid()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(f"{folder}/tests.jsonl", flags, 0o644)

    def write(self, type: str, **fields: Any) -> None:  # noqa: A002 - the field's name
        """Append one record."""
        if self.error or self._fd < 0 or os.getpid() != self._pid:
            return
        line = json.dumps({"type": type, **fields}, ensure_ascii=False, separators=(",", ":")) + "\n"
        for separator in "\x85\u2028\u2029":  # where str.splitlines() would cut the line
            line = line.replace(separator, f"\\u{ord(separator):04x}")
        data = line.encode("utf-8", "replace")
        try:
            if os.write(self._fd, data) != len(data):
                self.error = "the disk is full"
        except OSError as error:
            self.error = str(error)

    def close(self) -> None:
        """Close the file; later records are dropped."""
        if self._fd >= 0 and os.getpid() == self._pid:
            os.close(self._fd)
            self._fd = -1


def cut(text: str) -> str:
    """Return at most LIMIT bytes of a text: the middle of a longer one is replaced by a note."""
    if len(text) <= LIMIT // 4:
        return text
    data = text.encode("utf-8", "replace")
    if len(data) <= LIMIT:
        return text
    half = LIMIT // 2 - 50
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{head}\n[... {len(data) - 2 * half:,} bytes are left out here ...]\n{tail}"


def hide_injection() -> None:
    """Take what brought this plugin here out of the environment.

    Tests, and the pytest processes, interpreters and tools that they start, see what they see in a plain run.
    """
    folder = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - compared with text
    _take_out("PYTHONPATH", folder, os.pathsep)
    _take_out("PYTEST_PLUGINS", PLUGIN, ",")
    os.environ.pop("TESTGROVE_RANDOM_SEED", None)


def _take_out(variable: str, entry: str, separator: str) -> None:
    entries = os.environ.get(variable, "").split(separator)
    if entry not in entries:
        return
    entries.remove(entry)
    if entries:
        os.environ[variable] = separator.join(entries)
    else:
        del os.environ[variable]
