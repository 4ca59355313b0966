"""Names that others have chosen do not reach the terminal as commands."""

from __future__ import annotations

from testgrove.cli.output import show_error
from testgrove.errors import UsageError


def test_an_error_shows_control_characters_as_escapes(capsys):
    error = UsageError("x", "scenario '\x1b]0;owned\x07é' is\nbroken", hint="edit \x9b31m")
    error.add_note("in \x1b[2J")
    show_error(error, as_json=False)
    said = capsys.readouterr().err
    assert "\\x1b]0;owned\\x07é' is\nbroken" in said
    assert not {"\x1b", "\x07", "\x9b"} & set(said.replace("\x1b[31m\x1b[1m", "").replace("\x1b[0m", ""))
