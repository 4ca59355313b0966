"""Names that others have chosen do not reach the terminal as commands."""

from __future__ import annotations

import os
import pty
import sqlite3
from contextlib import closing, suppress

import click

from grove import TESTGROVE, Grove
from testgrove.cli.output import say, show_error, show_usage, warn
from testgrove.errors import UsageError

TITLE = "\x1b]0;owned\x07"
SHOWN = "\\x1b]0;owned\\x07"


def test_an_error_shows_control_characters_as_escapes(capsys):
    error = UsageError("x", "scenario '\x1b]0;owned\x07é' is\nbroken", hint="edit \x9b31m")
    error.add_note("in \x1b[2J")
    show_error(error, as_json=False)
    said = capsys.readouterr().err
    assert "\\x1b]0;owned\\x07é' is\nbroken" in said
    assert not {"\x1b", "\x07", "\x9b"} & set(said.replace("\x1b[31m\x1b[1m", "").replace("\x1b[0m", ""))


def on_a_terminal(one: Grove, *words: str) -> str:
    """What a command writes to a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(one.repo)
        os.execve(TESTGROVE[0], [*TESTGROVE, *words], one.env | {"TERM": "dumb"})
    written = b""
    with suppress(OSError):  # the other end is closed
        while part := os.read(terminal, 4096):
            written += part
    os.close(terminal)
    os.waitpid(pid, 0)
    return written.decode()


def test_progress_warnings_and_usage_errors_do_so_too(capsys):
    say(f"skipped {TITLE}")
    warn(f"in {TITLE}")
    show_usage(click.UsageError(f"No such option: --{TITLE}"))
    said = capsys.readouterr().err
    assert said.count(SHOWN) == 3
    assert "\x1b" not in said


def test_tables_show_them_on_a_terminal_and_scripts_get_the_bytes(grove):
    one = grove()
    one.create("test-unit", "a")
    with closing(sqlite3.connect(one.state / "state.db")) as db, db:
        db.execute("UPDATE worktrees SET note = ?, branch = ?", (f"note {TITLE}", TITLE))
    for words in (("list",), ("show", "a"), ("doctor",), ("remove", f"x{TITLE}"), ("list", f"--{TITLE}"), (TITLE,)):
        written = on_a_terminal(one, *words)
        assert TITLE not in written, words
    assert f"note {SHOWN}" in on_a_terminal(one, "list")
    assert TITLE in one.run("list").stdout
    assert TITLE not in one.run("list", "--json").stdout
