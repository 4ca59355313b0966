"""What the user has beside worktrees: the main checkout, other worktrees, the repository itself. A project for each."""

from __future__ import annotations

from auditor import git
from situations.files import append
from situations.table import Batch, Place

KEEPS = "Removes the worktree; nothing else changes"

batch = Batch("projects")
situation = batch.situation


@situation("Work in the main checkout: modified, staged, untracked, stashed", KEEPS)
def main_checkout(at: Place) -> None:
    repo = at.grove.repo
    append(repo / "README.md", "stashed\n")
    at.grove.git("stash", "--quiet")
    append(repo / "src/code.py")
    append(repo / "README.md")
    at.grove.git("add", "README.md")
    (repo / "notes.txt").write_text("mine\n")
    (repo / "test-artifacts").mkdir(exist_ok=True)
    (repo / "test-artifacts/report.txt").write_text("mine\n")


@situation("Hooks, configuration, attributes and exclude lines of the repository", KEEPS)
def common_directory(at: Place) -> None:
    folder = at.grove.repo / ".git"
    for name, text in (("hooks/pre-commit", "#!/bin/sh\nexit 0\n"), ("info/attributes", "*.bin binary\n")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    at.grove.git("config", "alias.mine", "status")


@situation("A worktree of the user's next to testgrove's", KEEPS)
def users_worktree(at: Place) -> None:
    own = at.grove.root / "own"
    at.grove.git("worktree", "add", "--quiet", "--detach", str(own))
    append(own / "README.md")
    git(own, "commit", "--quiet", "--all", "--message", "only here")
    own.rename(at.outside / "own")
    at.grove.git("worktree", "repair", str(at.outside / "own"))


@situation("A worktree of the user's on a disk that is not mounted", KEEPS)
def users_worktree_away(at: Place) -> None:
    own = at.grove.base / "disk"
    at.grove.git("worktree", "add", "--quiet", "--detach", str(own))
    git(own, "commit", "--quiet", "--allow-empty", "--message", "only here")
    own.rename(at.outside / "disk")


@situation("The folder of the worktrees is on a disk that is not mounted")
def root_away(at: Place) -> None:
    at.write("notes.txt")
    at.commit("only here")
    at.grove.root.rename(at.outside / "root")
    at.grove.root.mkdir()


@situation("The repository was renamed", "Does not find the worktree; leaves it")
def renamed_repository(at: Place) -> None:
    at.write("notes.txt")
    at.commit("only here")
    at.grove.repo = at.grove.repo.rename(at.grove.base / "renamed")
