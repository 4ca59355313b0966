"""Commands of the settings: split into words, references replaced, a shell only where it is used."""

from __future__ import annotations

import pytest

from testgrove.core.commands import shell_or_exec, with_references
from testgrove.errors import PreconditionError, UsageError

ENVIRON = {"API_PORT": "8002", "URL": "postgresql://u:p w@h/d?x=1&y=2"}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pytest -k 'a b'", ["pytest", "-k", "a b"]),
        ("A=1 pytest", ["/bin/sh", "-c", "A=1 pytest"]),
        ("cat x | sort", ["/bin/sh", "-c", "cat x | sort"]),
    ],
)
def test_a_shell_runs_what_only_a_shell_can(command, words):
    assert shell_or_exec(command) == words


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("serve --port ${API_PORT}", ["serve", "--port", "8002"]),
        ("serve '--on=:${API_PORT} x'", ["serve", "--on=:8002 x"]),
        ("serve ${URL}", ["serve", ENVIRON["URL"]]),
        ("serve ${URL} | tee log", ["/bin/sh", "-c", "serve ${URL} | tee log"]),
        ("serve $API_PORT", ["/bin/sh", "-c", "serve $API_PORT"]),
        ("serve plainly", ["serve", "plainly"]),
    ],
)
def test_a_reference_becomes_one_word_and_never_syntax(command, words):
    assert with_references(command, ENVIRON, key="processes.api.command") == words


def test_a_reference_to_nothing_names_the_setting():
    with pytest.raises(UsageError, match=r"'processes.api.command': variable '\$\{NOPE\}' not found in"):
        with_references("serve ${NOPE} | tee log", ENVIRON, key="processes.api.command")


def test_quotes_that_do_not_close_are_an_error():
    with pytest.raises(PreconditionError, match="cannot split"):
        with_references("serve 'x", ENVIRON, key="k")
