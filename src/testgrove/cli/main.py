"""The command line: names to modules, errors to exit statuses. Each command is imported when it is called."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from testgrove import __version__
from testgrove.cli.groups import NearMatches
from testgrove.cli.output import print_error, show_bug, show_error, show_usage
from testgrove.errors import InterruptedByUser, TestgroveError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

GLOBAL_FLAGS = ("--json", "--quiet", "-q", "--offline", "--verbose", "-v")  # -v: of `test`

COMMANDS = {
    "init": ("init", "Write settings for this project, and the documented scripts."),
    "create": ("create", "Create a worktree: checkout, environment, ports, env file."),
    "list": ("worktrees", "List this project's worktrees."),
    "show": ("worktrees", "Show all details of a worktree."),
    "path": ("worktrees", "Print a worktree's path."),
    "env": ("worktrees", "Print a worktree's environment variables."),
    "exec": ("worktrees", "Run a command inside a worktree."),
    "shell": ("worktrees", "Open your shell inside a worktree."),
    "sync": ("sync", "Update a worktree's copied files, commit and environment."),
    "remove": ("removal", "Remove worktrees. Refuses while they contain your files or commits."),
    "cleanup": ("removal", "Remove old test worktrees and parked ones."),
    "ports": ("ports", "Ports of worktrees: list, check, release, reassign."),
    "db": ("db", "Databases of worktrees: list, url, shell, create, drop, reset, migrate, check."),
    "services": ("services", "The project's own servers: list, start, stop, logs."),
    "artifacts": ("artifacts", "Collect the outputs of tests from worktrees."),
    "report": ("report", "Show, merge or open the reports of runs."),
    "history": ("history", "Show pass rates and durations of scenarios and cells over past runs."),
    "test": ("test", "Run the test suites in parallel, each in its own worktree, with one report."),
    "coordinate": ("coordinate", "Run a graph of test scenarios across worktrees, with one report."),
    "broker": ("broker", "Hand out fresh databases to a test session; the pytest plugin starts it."),
    "doctor": ("doctor", "Find problems, and fix what can be fixed automatically."),
    "uninstall": ("uninstall", "Remove everything that testgrove has on this machine, in all projects."),
    "completion": ("completion", "Print the completion script for bash, zsh or fish."),
}


SECTIONS = {
    "Run tests": ("test", "coordinate", "report", "history", "artifacts"),
    "Work in worktrees": ("create", "list", "show", "path", "env", "exec", "shell", "sync", "remove", "cleanup"),
    "Databases, servers and ports": ("db", "services", "ports", "broker"),
    "Set up and repair": ("init", "doctor", "completion", "uninstall"),
}


class CommandGroup(NearMatches):
    """A group whose commands are imported when they are called. Options of every command may stand before its name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move global options that stand before the command behind its name."""
        given, words = leading_options(args)
        if not given:
            return super().parse_args(ctx, args)
        if not words:
            raise click.UsageError("Missing command.", ctx)
        depth = 1
        if isinstance(self.get_command(ctx, words[0]), click.Group):
            depth = 2
        if any(word.startswith("-") for word in [*words, "-"][:depth]):  # no command, which may be as well: its help
            return super().parse_args(ctx, words)
        return super().parse_args(ctx, [*words[:depth], *given, *words[depth:]])

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"testgrove.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names and options that begin so, without importing a command."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """The list for --help, without importing anything."""
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name][1]) for name in names])


def leading_options(args: list[str]) -> tuple[list[str], list[str]]:
    """The options of every command at the start of the arguments, and the rest."""
    at = 0
    while at < len(args) and (args[at] in GLOBAL_FLAGS or args[at].partition("=")[0] == "--project"):
        at += 2 if args[at] == "--project" else 1
    return args[:at], args[at:]


@click.command(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """An isolated git worktree, with its own environment, ports and databases, for every test run.

    \b
    testgrove test                     run all suites of the working tree, side by side
    testgrove test unit --python 3.12  one suite on one interpreter
    testgrove create feature/login     a worktree to work in

    --project DIR, --json, --quiet and --offline may stand before or after the command. In a new project, begin with
    `testgrove test`: it needs no settings. `testgrove COMMAND --help` has examples.
    """


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its status (see errors.py for the table)."""
    arguments = sys.argv[1:] if argv is None else argv
    gc.set_threshold(20_000)  # a command loads thousands of objects that stay: looking for garbage takes 10 ms
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks for
            # As Ctrl-C: what was begun is undone before we go.
            signal.signal(number, signal.default_int_handler)
    _fill_standard_streams()
    if sys.getfilesystemencoding() != "utf-8":
        from testgrove.system.processes.process import restart_in_utf8

        restart_in_utf8()
    status = _run(arguments)
    gc.freeze()  # at its end, Python would look through all objects for garbage once more: 30 ms after `test`
    if argv is None:
        _end_at_once(status)
    sys.exit(status)


def _end_at_once(status: int) -> None:
    """End the process without taking the interpreter apart, which takes as long as a git command.

    Does nothing where that is not safe: a thread still runs, or output cannot be written, which Python reports.
    """
    if threading.active_count() > 1:
        return
    atexit._run_exitfuncs()  # first: they may write, too
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(status)


def _fill_standard_streams() -> None:
    """Open the closed ones: the next file that is opened, such as the store, would take their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - as above


def _run(arguments: list[str]) -> int:
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in ours
    try:
        if not sys.platform.startswith("linux"):
            raise TestgroveError(
                "platform",
                "testgrove runs on Linux only: it relies on child subreapers, /proc and "
                "file locks that die with their process",
            )
        status: Any = cli.main(arguments, prog_name="testgrove", standalone_mode=False)
    except TestgroveError as error:
        show_error(error, as_json=as_json)
        return error.exit_status
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        show_error(InterruptedByUser("interrupted", "interrupted"), as_json=as_json)
        return 130
    except click.ClickException as error:
        if as_json:
            print_error(UsageError("usage", error.format_message()))
        show_usage(error)
        return 2
    except SystemExit as error:
        return 141 if error.code == 1 else cast("int", error.code)  # click's answer to a reader that went away
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _unexpected(error, as_json=as_json)
    return status if isinstance(status, int) else 0


def _unexpected(error: Exception, *, as_json: bool) -> int:
    """Report a failure of the machine (a full or broken disk) as an error; else a bug, with a traceback."""
    from testgrove.system.files import explain, is_of_the_machine

    if isinstance(error, OSError) and is_of_the_machine(error):
        failure = explain("use", error.filename or "the disk", error)
        if not error.filename:
            failure.hint = "df -h"
        show_error(failure, as_json=as_json)
        return failure.exit_status
    show_bug(error)
    return 70
