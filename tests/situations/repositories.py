"""Repositories of the user's inside a worktree: nested ones, submodules, clones in the environment."""

from __future__ import annotations

import os
from pathlib import Path

from auditor import git
from grove import Grove
from situations.table import Batch, Place

batch = Batch("repositories")
situation = batch.situation
WHO = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.invalid")
FILE = ("-c", "protocol.file.allow=always")


def commit_in(folder: Path, message: str = "only here") -> None:
    """A commit in some repository."""
    (folder / "new.txt").write_text(f"{message}\n")
    git(folder, "add", "new.txt")
    git(folder, *WHO, "commit", "--quiet", "--message", message)


def prepare(grove: Grove) -> None:
    """Give the project a submodule ``lib``."""
    library = grove.base / "library"
    git(grove.base, "init", "--quiet", "--initial-branch=main", str(library))
    commit_in(library, "the library")
    grove.git(*FILE, "submodule", "--quiet", "add", str(library), "lib")
    grove.git("commit", "--quiet", "--message", "a submodule")


@situation("A nested repository")
def nested(at: Place) -> None:
    git(at.tree, "init", "--quiet", "inner")
    commit_in(at.tree / "inner")


@situation("A nested repository in a folder that git ignores")
def ignored_nested(at: Place) -> None:
    at.write("build/file.txt")
    git(at.tree, "init", "--quiet", "build/inner")
    commit_in(at.tree / "build/inner")


@situation("A nested repository in a tool's cache (`.mypy_cache`, `.tox`)")
def nested_in_cache(at: Place) -> None:
    for folder in (".mypy_cache/inner", ".tox/py/src/inner"):
        (at.tree / folder).parent.mkdir(parents=True)
        git(at.tree, "init", "--quiet", folder)
        commit_in(at.tree / folder)


@situation("A bare repository")
def bare(at: Place) -> None:
    git(at.tree, "clone", "--quiet", "--bare", str(at.grove.repo), str(at.tree / "inner.git"))


@situation("A linked worktree of the user's inside")
def nested_worktree(at: Place) -> None:
    at.git("worktree", "add", "--quiet", "--detach", str(at.tree / "build/other"))
    commit_in(at.tree / "build/other")


@situation("A submodule with a modified file")
def submodule_modified(at: Place) -> None:
    at.write("lib/new.txt", "changed\n")


@situation("A submodule with an untracked file")
def submodule_untracked(at: Place) -> None:
    at.write("lib/notes.txt")


@situation("A submodule with a modified file that has `--skip-worktree`")
def submodule_skip_worktree(at: Place) -> None:
    git(at.tree / "lib", "update-index", "--skip-worktree", "new.txt")
    at.write("lib/new.txt", "mine\n")


@situation("A submodule with a modified file, size and time kept, and git is set to compare only these")
def submodule_modified_unseen(at: Place) -> None:
    path = at.tree / "lib/new.txt"
    for setting in (("core.checkStat", "minimal"), ("core.trustctime", "false")):
        git(path.parent, "config", *setting)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    git(path.parent, "update-index", "--refresh")
    with path.open("r+") as file:
        file.write("T")
    os.utime(path, (1_000_000_000, 1_000_000_000))


@situation("A submodule with a linked worktree elsewhere")
def submodule_worktree(at: Place) -> None:
    git(at.tree / "lib", "worktree", "add", "--quiet", "--detach", str(at.outside / "other"))


@situation("A submodule at a commit that no branch has")
def submodule_commit(at: Place) -> None:
    commit_in(at.tree / "lib", "on no branch of the submodule")


@situation("A submodule with its own branch, back at the pinned commit")
def submodule_branch(at: Place) -> None:
    git(at.tree / "lib", "switch", "--quiet", "--create", "topic")
    commit_in(at.tree / "lib", "on a branch of the submodule")
    git(at.tree / "lib", "checkout", "--quiet", "--detach", "HEAD~1")


@situation("A submodule with a stash")
def submodule_stash(at: Place) -> None:
    at.write("lib/new.txt", "stashed\n")
    git(at.tree / "lib", *WHO, "stash", "--quiet")


@situation("A submodule that was deinitialised, with commits")
def submodule_deinitialised(at: Place) -> None:
    submodule_branch(at)
    at.git("submodule", "--quiet", "deinit", "--force", "lib")


@situation("A submodule that was deinitialised, and files in its folder")
def submodule_files(at: Place) -> None:
    at.git("submodule", "--quiet", "deinit", "--force", "lib")
    at.write("lib/precious.txt")


@situation("A submodule that was added and not committed")
def submodule_added(at: Place) -> None:
    other = at.outside / "other"
    git(at.outside, "init", "--quiet", "other")
    commit_in(other)
    at.git(*FILE, "submodule", "--quiet", "add", str(other), "other")


def clone_in_environment(at: Place) -> Path:
    """What ``pip install --editable git+…`` makes."""
    at.write(".venv/pyvenv.cfg", "home = /usr/bin\n")
    clone = at.tree / ".venv/src/library"
    git(at.grove.base, "clone", "--quiet", str(at.grove.base / "library"), str(clone))
    return clone


@situation("A clone under `.venv/src` with a commit")
def clone_with_commit(at: Place) -> None:
    commit_in(clone_in_environment(at))


@situation("A clone under `.venv/src` with a modified file")
def clone_modified(at: Place) -> None:
    (clone_in_environment(at) / "new.txt").write_text("mine\n")
