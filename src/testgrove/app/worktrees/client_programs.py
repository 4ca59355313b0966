"""Client programs inside a worktree: those of the engines where the machine has none on PATH; in a worktree that the
documented scripts have created, programs that reach its servers without exported variables."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from testgrove.core.engines.declaration import Engine
from testgrove.core.engines.registry import engine_shown, implementation_of
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.system import git
from testgrove.system.environment import worktree_programs
from testgrove.system.environment.record import FOLDER
from testgrove.system.environment.worktree_programs import ClientProgram
from testgrove.system.files import atomic_write
from testgrove.system.processes.process import scrubbed

_MARK = "testgrove-programs"  # in the worktree's git folder, with which it goes


def mark(tree: Path) -> None:
    """Note that the documented scripts have created this worktree."""
    atomic_write(git.git_dir_of(tree) / _MARK, "")


def is_marked(tree: Path) -> bool:
    """Return whether the documented scripts have created this worktree."""
    return (git.git_dir_of(tree) / _MARK).is_file()


def provide(worktree: WorktreeRecord) -> list[str]:
    """Put the programs into the worktree's environment; return the names of what was missing in a marked one."""
    if is_marked(worktree.path):
        return worktree_programs.write(worktree.path, worktree.env_file, _programs(worktree))
    _link(worktree)
    return []


def missing(worktree: WorktreeRecord) -> list[str]:
    """The names of what provide() would write into the environment of a marked worktree."""
    if not is_marked(worktree.path):
        return []
    return worktree_programs.missing(worktree.path, worktree.env_file, _programs(worktree))


def _programs(worktree: WorktreeRecord) -> Sequence[ClientProgram]:
    """The programs of the worktree's engines that this machine has."""
    path = scrubbed().get("PATH")
    found = {}
    for engine in _engines(worktree):
        own = {program.name: program for program in implementation_of(engine.name).client_programs(path)}
        for name in engine.clients.programs:
            if name in own or shutil.which(name, path=path):
                found[name] = ClientProgram(name, own.get(name), engine.clients)
    return tuple(found.values())


def _engines(worktree: WorktreeRecord) -> Iterator[Engine]:
    yield from {engine.name: engine for engine in (engine_shown(*each) for each in worktree.databases.items())}.values()


def _link(worktree: WorktreeRecord) -> None:
    """Put the engines' own client programs, where PATH has none, beside the environment's Python."""
    programs = worktree.path / FOLDER / "bin"
    if not programs.is_dir():
        return
    for engine in _engines(worktree):
        for program in implementation_of(engine.name).client_programs(scrubbed().get("PATH")):
            if not os.path.lexists(link := programs / program.name):
                link.symlink_to(program)
