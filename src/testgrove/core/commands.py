"""Commands of the settings as argument lists."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from testgrove.core.settings.references import REFERENCE, references
from testgrove.errors import PreconditionError, UsageError


def shell_or_exec(command: str) -> list[str]:
    """A command as an argument list; by the shell only where it uses the shell. Raises PreconditionError."""
    return ["/bin/sh", "-c", command] if _uses_shell(command) else _split(command)


def with_references(command: str, environ: Mapping[str, str], *, key: str) -> list[str]:
    """shell_or_exec() with each ``${NAME}`` replaced by its value, which cannot become several words.

    A shell replaces them itself. key: of the setting, for the UsageError about a name that refers to nothing.
    """
    if unknown := references(command) - environ.keys():
        name = min(unknown)
        raise UsageError(
            "config-unknown-reference",
            f"'{key}': variable '${{{name}}}' not found in this worktree",
            hint=f"check that the worktree has ports and that service; write ${name} for a variable of the shell",
        )
    if _uses_shell(REFERENCE.sub("x", command)):
        return ["/bin/sh", "-c", command]
    return [REFERENCE.sub(lambda match: environ[match[1]], word) for word in _split(command)]


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise PreconditionError("command-unreadable", f"cannot split {command!r} into words: {error}") from error


def _uses_shell(command: str) -> bool:
    first = (command.split(maxsplit=1) or [""])[0]
    return any(character in command for character in "|&;<>()$`*?[]#~\n") or "=" in first
