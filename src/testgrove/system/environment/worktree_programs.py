"""What lets programs of an environment reach its worktree's servers without exported variables.

A .pth file sets the variables whenever the environment's Python starts; client programs beside that Python are short
scripts that run the real ones. `python -m venv` typed over the environment leaves both alone. Nothing that another
program has written is replaced.
"""

from __future__ import annotations

import os
import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.system.environment.record import FOLDER, WORKTREE_MODULE
from testgrove.system.files import atomic_write, explained, read_if_there

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testgrove.core.engines.declaration import Clients

_WRITTEN = b"Written by testgrove"
_CONTENT = "documented/worktree/testgrove_worktree.py"


@frozen
class ClientProgram:
    """A client program. path: of the engine's own; None if it is one on PATH. clients: how it finds the server."""

    name: str
    path: Path | None
    clients: Clients


def write(tree: Path, env_file: str, programs: Sequence[ClientProgram]) -> list[str]:
    """Write what is missing or of another version into the tree's environment; return the names of what was written.

    It does nothing where there is no environment, or only a link to one.
    """
    written = []
    for path, content in _files(tree, env_file, programs):
        if _replaceable(path, programs) and read_if_there(path) != content:
            atomic_write(path, content, mode=0o755 if path.parent.name == "bin" else 0o644)
            written.append(path.name)
    return written


def missing(tree: Path, env_file: str, programs: Sequence[ClientProgram]) -> list[str]:
    """The names of the files that are not there. Which programs PATH has may differ from when they were written."""
    return [path.name for path, _ in _files(tree, env_file, programs) if not os.path.lexists(path)]


def _files(tree: Path, env_file: str, programs: Sequence[ClientProgram]) -> Iterator[tuple[Path, bytes]]:
    folder = tree / FOLDER
    if folder.is_symlink() or (folder / "bin").is_symlink() or not (folder / "pyvenv.cfg").is_file():
        return
    needed = tuple(dict.fromkeys(name for each in programs for name in each.clients.reads))
    module = resources.files("testgrove").joinpath(_CONTENT).read_text(encoding="utf-8")
    for site in sorted(folder.glob("lib/*/site-packages")):
        yield site / f"{WORKTREE_MODULE}.py", f"{module}\n\nload({env_file!r}, {needed!r})\n".encode()
        yield site / f"{WORKTREE_MODULE}.pth", b"# Written by testgrove\nimport %s\n" % WORKTREE_MODULE.encode()
    for each in programs:
        yield folder / "bin" / each.name, _script(folder, each)


def _script(folder: Path, program: ClientProgram) -> bytes:
    clients = program.clients
    path = str(program.path or "")
    given = f"{program.name!r}, {path!r}, {clients.options!r}, {clients.elsewhere!r}, {clients.secrets!r}"
    code = f"import {WORKTREE_MODULE}; {WORKTREE_MODULE}.run({given})"
    lines = ("#!/bin/sh", "# Written by testgrove: runs the program with the variables of the worktree's env file")
    python = shlex.quote(str(folder / "bin/python"))
    return os.fsencode("\n".join((*lines, f'exec {python} -Ic {shlex.quote(code)} "$@"', "")))


def _replaceable(path: Path, programs: Sequence[ClientProgram]) -> bool:
    """Whether there is nothing, a file of testgrove's, or a link of testgrove's to an engine's program."""
    if not os.path.lexists(path):
        return True
    if path.is_symlink():
        return path.readlink() in [each.path for each in programs]
    with explained("read", path):
        return path.is_file() and _WRITTEN in path.read_bytes()[:100]
