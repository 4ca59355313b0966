"""Test outputs: moved or copied out of worktrees. Nothing that is kept already is lost."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from testgrove.system.files import explained


def collect(outputs: Iterable[str], tree: Path, destination: Path) -> list[Path]:
    """Move outputs (paths relative to tree) under destination, at the same relative paths; return where
    they are.

    Nothing is overwritten: a name that is taken gets a number (``junit.1.xml``). Outputs that are gone are
    left out.
    """
    moved = []
    for output in outputs:
        source, target = tree / output, destination / output
        with explained("keep the output", source):
            if not os.path.lexists(source):
                continue
            _make_parent(target)
            target = free_name(target)
            _move(source, target)
        moved.append(target)
    return moved


def copy_output(source: Path, target: Path, *, since: float) -> bool:
    """Copy a file with its times; whether it was there. A target from before `since` (seconds since the epoch) is moved
    aside with a number, a newer one is replaced as a whole."""
    with explained("keep a copy of", source):
        if not os.path.lexists(source):
            return False
        _make_parent(target)
        if os.path.lexists(target) and target.lstat().st_mtime < since:
            target.rename(free_name(target))
        _copy(source, target)
    return True


def _make_parent(target: Path) -> None:
    with explained("create the folder", target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)


def free_name(target: Path) -> Path:
    """The name, or one with a number that nothing has. The caller is the only one that makes such names there."""
    number, name = 0, target
    while os.path.lexists(name):
        number += 1
        name = target.with_name(f"{target.stem}.{number}{target.suffix}")
    return name


def _move(source: Path, target: Path) -> None:
    """Rename, or copy to another file system; nothing half copied ever has the name, whenever we are killed."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)
        source.unlink()


def _copy(source: Path, target: Path) -> None:
    copy = target.with_name(f".{target.name[:200]}.tmp")
    try:
        copy.unlink(missing_ok=True)
        shutil.copy2(source, copy, follow_symlinks=False)
        copy.rename(target)
    except OSError:
        copy.unlink(missing_ok=True)
        raise
