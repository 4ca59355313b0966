"""`copy` and `.worktreeinclude`: untracked files of the main checkout, copied into worktrees.

A copy keeps its source's mode and modification time. It belongs to testgrove (according to the manifest) until it is
edited; the source has changed if its size or time differs from the copy's.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testgrove.core.worktrees.ownership import METADATA, Manifest
from testgrove.errors import PreconditionError
from testgrove.system import git
from testgrove.system.files import copy_file, entries

INCLUDE = ".worktreeinclude"  # patterns of ignored files, which other tools read as well
TEMPORARY = ".testgrove-tmp"  # in the tree: a copy gets its name by a rename


@dataclass
class Sources:
    """The files to copy: paths relative to both checkouts, and where each one's content is.

    included: those that only INCLUDE names, for whatever commit is checked out.
    """

    files: dict[str, Path] = field(default_factory=dict)
    included: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


@dataclass
class RenewedCopies:
    """copied: paths that were copied. ours: paths that were up to date. kept: paths that were not copied, and why."""

    copied: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def find_sources(main: Path, patterns: Sequence[str], ours: Collection[str]) -> Sources:
    """Find the files. ours: names at the top that testgrove writes; they are never copied.

    Raises PreconditionError (``copy-tracked``) for a pattern that matches only files that git tracks.
    """
    found = Sources()
    for pattern in patterns:
        paths = git.untracked_files(main, pattern)
        if not paths and (tracked := git.tracked_files(main, pattern)):
            raise _tracked(tracked[0], pattern, "in the main checkout")
        mine = [path for path in paths if path.split("/")[0] in ours]
        if mine:
            found.notes.append(f"copy: {mine[0]} belongs to testgrove; not copied")
        if not paths:
            found.notes.append(f"copy: no untracked file matches {pattern} in {main}")
        for path in paths:
            if path not in mine:
                _add(found, main, path)
    if has_include(main):
        for path in git.ignored_files(main, main / INCLUDE):
            folders = path.split("/")
            if folders[0] not in ours and ".venv" not in folders and path not in found.files:
                found.included.add(path)
                _add(found, main, path)
    return found


def has_include(main: Path) -> bool:
    """Return whether the main checkout names files to copy without settings of testgrove."""
    return (main / INCLUDE).is_file()


def _add(found: Sources, main: Path, path: str) -> None:
    source = (main / path).resolve()
    if not source.is_relative_to(main.resolve()):
        found.notes.append(f"copy: {path} links to a file outside {main}; not copied")
    elif not source.exists():
        found.notes.append(f"copy: {path} is a broken link; not copied")
    elif not stat.S_ISREG(source.stat().st_mode):
        found.notes.append(f"copy: {path} is not a regular file; not copied")
    else:
        found.files[path] = source


def copy_all(tree: Path, sources: Sources, *, snapshot: bool) -> None:
    """Copy the files into a fresh checkout.

    snapshot: it holds the untracked files already, as they are. Raises PreconditionError (``copy-tracked``,
    ``copy-outside``).
    """
    tracked = git.tracked_among(tree, sources.files)
    if not snapshot and (named := tracked - sources.included):
        path = min(named)
        raise _tracked(path, path, "at the commit that is checked out")
    for path in sources.files.keys() - tracked:
        copy_one(tree, path, sources.files[path])
    remove_temporary(tree)


def renew(tree: Path, sources: Sources, manifest: Manifest, temporary: Callable[[], None]) -> RenewedCopies:
    """Copy files that were changed in the main checkout but not in the worktree, and those that are missing there.

    manifest: testgrove's files in the worktree. temporary: called before the first copy, which creates TEMPORARY.
    """
    done = RenewedCopies()
    tracked = git.tracked_among(tree, sources.files)
    for path, source in sources.files.items():
        here, there = entries(tree, [path])[0], source.stat()
        same = (here.size, here.mtime_ns) == (there.st_size, there.st_mtime_ns)
        if path in tracked:
            done.kept.append(f"{path}: tracked by git here")
        elif same:
            done.ours.append(path)  # also if a sync was killed before it recorded the copy
        elif here.size >= 0 and not manifest.holds(here):
            done.kept.append(f"{path}: edited here; differs from the main checkout")
        else:
            if not done.copied:
                temporary()
            copy_one(tree, path, source)
            done.copied.append(path)
    remove_temporary(tree)
    return done


def copy_one(tree: Path, path: str, source: Path) -> None:
    """Copy a file into a worktree, in the place of any that is there; never through a link out of it."""
    target = tree / path
    if not target.parent.resolve().is_relative_to(tree.resolve()):
        raise PreconditionError(
            "copy-outside",
            f"copy: {path} would be written outside {tree}: {target.parent} links to {target.parent.resolve()}",
            hint=f"remove it from `copy` or {INCLUDE}; see: ls -ld {target.parent}",
            path=path,
        )
    copy_file(source, target, temporary=tree / TEMPORARY / "copy")


def remove_temporary(tree: Path) -> None:
    """Take the folder of copies in the making away."""
    if (tree / TEMPORARY).is_dir():
        os.rmdir(tree / TEMPORARY)  # noqa: PTH106 - it must be empty


def never_copied(env_file: str) -> tuple[str, ...]:
    """The names at the top of a checkout that are each worktree's own, or the main checkout's."""
    return (env_file, METADATA, "worktrees_registry.json", "test-artifacts", ".venv")


def _tracked(path: str, pattern: str, where: str) -> PreconditionError:
    return PreconditionError(
        "copy-tracked",
        f"copy = ['{pattern}']: {path} is tracked by git {where}; refusing to overwrite it",
        hint=f"remove it from `copy`, or from git: git rm --cached {shlex.quote(path)}",
        path=path,
    )
