"""completion: the script that makes a shell complete testgrove's commands, worktrees and suites."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from testgrove.cli.output import echo, example
from testgrove.errors import UsageError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@example(
    "testgrove completion bash > ~/.local/share/bash-completion/completions/testgrove",
    'testgrove completion zsh > "${fpath[1]}/_testgrove"',
    "testgrove completion fish > ~/.config/fish/completions/testgrove.fish",
)
def completion_command(*, shell: str) -> None:
    """Print a shell's completion script for commands, options, worktree ids and suite names."""
    from testgrove.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise UsageError("no-completion", f"unsupported shell '{shell}'")
    # Not its own source(): for bash that starts one to ask for its version.
    echo(ShellComplete.source(found(cli, {}, "testgrove", "_TESTGROVE_COMPLETE")))
