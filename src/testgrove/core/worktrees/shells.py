"""How a shell is entered so that its user's own start-up files do not take a worktree out of reach again.

They run first: one that puts other programs in front of PATH would hide the environment's Python. Then the worktree's
variables are set once more, and its id goes into the prompt.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from testgrove.core.frozen import frozen


@frozen
class ShellCommand:
    """command: the shell; environ: further variables; files: what must be written first."""

    command: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)


def enter(
    shell: str,
    prompt: str,
    *,
    folder: Path,
    variables: Mapping[str, str],
    programs: str,
    home: str,
    zdotdir: str,
) -> ShellCommand:
    """Return how to enter a shell. folder: for its start-up files; variables: of the worktree; programs: a folder for
    the front of PATH, or empty; home, zdotdir: where the user's own start-up files are."""
    again = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    if programs:
        again += f'export PATH={shlex.quote(programs)}:"$PATH"\n'
    match Path(shell).name:
        case "bash":
            own = shlex.quote(f"{home}/.bashrc")
            text = f'[ -f {own} ] && . {own}\n{again}PS1="({prompt}) ${{PS1-}}"\n'
            return ShellCommand((shell, "--rcfile", str(folder / "bashrc")), {}, {folder / "bashrc": text})
        case "zsh":
            return _zsh(shell, prompt, folder, again, zdotdir or home)
        case "fish":
            return ShellCommand((shell, "-C", _fish(prompt, variables, programs)))
        case _:
            text = f'{again}PS1="({prompt}) ${{PS1-}}"\n'
            return ShellCommand((shell,), {"ENV": str(folder / "profile")}, {folder / "profile": text})


def _zsh(shell: str, prompt: str, folder: Path, again: str, own: str) -> ShellCommand:
    """Start-up files for zsh, which reads all of them from ZDOTDIR; the first of them may change it."""
    theirs, ours = shlex.quote(own), shlex.quote(str(folder))
    files = {
        folder / ".zshenv": f"ZDOTDIR={theirs}\n[ -f {theirs}/.zshenv ] && . {theirs}/.zshenv\n"
        f"TESTGROVE_ZDOTDIR=$ZDOTDIR\nZDOTDIR={ours}\n",
        folder / ".zshrc": "ZDOTDIR=$TESTGROVE_ZDOTDIR\nunset TESTGROVE_ZDOTDIR\n"
        '[ -f "$ZDOTDIR/.zshrc" ] && . "$ZDOTDIR/.zshrc"\n[ "$ZDOTDIR" = "$HOME" ] && unset ZDOTDIR\n'
        f'{again}PROMPT="({prompt}) $PROMPT"\n',
    }
    return ShellCommand((shell,), {"ZDOTDIR": str(folder)}, files)


def _fish(prompt: str, variables: Mapping[str, str], programs: str) -> str:
    lines = [f"set -gx {name} {_fish_quoted(value)}" for name, value in variables.items()]
    if programs:
        lines.append(f"set -gx PATH {_fish_quoted(programs)} $PATH")
    lines += [
        "functions --query testgrove_prompt; or functions --copy fish_prompt testgrove_prompt",
        f"function fish_prompt; echo -n '({prompt}) '; testgrove_prompt; end",
    ]
    return "; ".join(lines)


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
