"""Output of commands: one JSON document or plain text on stdout, everything else on stderr."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from testgrove.errors import TestgroveError, UnavailableError

if TYPE_CHECKING:
    from testgrove.core.documents.commands import ErrorFields

SCHEMA_VERSION = 1
FRESH_TEMPLATES = "testgrove.fresh-templates"  # as the next one
OFFLINE = "testgrove.offline"  # where a command's context keeps the flag, for who opens the project


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options every command has: --project, --json, --quiet, --offline."""
    options = (
        click.option(
            "--project",
            "directory",
            type=click.Path(path_type=Path),
            default=Path(),
            help="Work on the repository in this folder instead of the current one.",
            metavar="DIR",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout."),
        click.option("--quiet", "-q", is_flag=True, help="Print only results and errors."),
        click.option(
            "--offline",
            is_flag=True,
            expose_value=False,
            callback=_remember_offline,
            help="Do not use the network; packages come from uv's cache.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _remember_offline(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    ctx.meta[OFFLINE] = value


def _remember_fresh_templates(ctx: click.Context, _option: click.Parameter, value: bool | None) -> None:
    ctx.meta[FRESH_TEMPLATES] = _is_in_ci() if value is None else value


def _is_in_ci() -> bool:
    """Return whether to rebuild database templates: on CI, where the result matters more than the time."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


no_template_cache = click.option(
    "--no-template-cache",
    is_flag=True,
    default=None,
    expose_value=False,
    envvar="TESTGROVE_NO_TEMPLATE_CACHE",
    callback=_remember_fresh_templates,
    help="Rebuild the database templates instead of using cached ones. Also: $TESTGROVE_NO_TEMPLATE_CACHE=1."
    " On by default if $CI is set, unless that variable is 0.",
)


def leak_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the checks after an attempt."""
    checks = click.option(
        "--leak-checks",
        type=click.Choice(["off", "fast", "all"]),
        default="all",
        show_default=True,
        help="What to check after each attempt. fast: everything but files in the checkout, databases and containers.",
    )
    return click.option("--fail-on-leak", is_flag=True, help="Exit with status 6 if a test leaves something behind.")(
        checks(function)
    )


def example(*lines: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add examples to a command's help."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        block = "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])
        inner.__doc__ = f"{cleandoc(function.__doc__ or '')}\n\n{block}\n"
        return inner

    return decorate


def print_json(**document: Any) -> None:
    """The command's one document."""
    echo(json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=2, default=str))


def echo(text: str, *, newline: bool = True, styled: bool = False) -> None:
    """Results: stdout. Names that are not UTF-8 come out as the bytes they are, except on a terminal.

    styled: the text contains testgrove's colours, and foreign names in it are already cleaned.
    """
    if not styled and sys.stdout.isatty():
        text = visible(text)
    try:
        click.echo(text if text.isascii() else _as_bytes(text), nl=newline)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would fail once more, with a status of its own
        problem = (error.strerror or str(error)).lower()
        raise UnavailableError("output-failed", f"cannot write to standard output: {problem}") from error


def _as_bytes(text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace")


def print_error(error: TestgroveError) -> None:
    """An error as the command's one document."""
    fields: ErrorFields = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "notes": list(getattr(error, "__notes__", [])),
        "details": error.details,
        "exit_status": error.exit_status,
    }
    print_json(error=fields)


def say(text: str, *, quiet: bool = False) -> None:
    """Progress and notes: stderr."""
    if not quiet:
        click.echo(visible(text), err=True)


def visible(text: str) -> str:
    """Text with names of others in it, for a terminal: control characters as escapes, but line breaks and tabs."""
    return "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text)


def warn(text: str) -> None:
    """Print a warning of a command that goes on, on stderr, also with --quiet."""
    click.echo(f"warning: {visible(text)}", err=True)


def progress(*, quiet: bool) -> Callable[[str, str], None]:
    """An OnPhase that shows each phase: stderr."""

    def on_phase(phase: str, reason: str) -> None:
        say(f"{phase}{f': {reason}' if reason else ''} …", quiet=quiet)

    return on_phase


def stream(output: bytes) -> None:
    """Print the output of a project's command as it comes, on stderr."""
    if output:
        click.echo(output, nl=False, err=True)


def show_error(error: TestgroveError, *, as_json: bool) -> None:
    """An expected error: the message, notes, and what to do next."""
    if as_json:
        print_error(error)
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(visible(error.message), err=True)
    for note in getattr(error, "__notes__", []):
        click.echo(f"  note: {visible(note)}", err=True)
    if error.hint:
        click.echo(f"  hint: {visible(error.hint)}", err=True)


def show_usage(error: click.ClickException) -> None:
    """A usage error in click's words."""
    words = io.StringIO()
    error.show(file=words)
    click.echo(visible(words.getvalue()), nl=False, err=True)


def show_bug(error: Exception) -> None:
    """An unexpected error, with what a maintainer needs."""
    import traceback

    sys.stderr.write(visible("".join(traceback.format_exception(error))))
    sys.stderr.write("\nThis is a bug in testgrove: please report it with the lines above.\n")
