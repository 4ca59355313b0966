"""The folder of a worktree is not what testgrove made: moved, missing, another thing in its place."""

from __future__ import annotations

import shutil

from auditor import git
from situations.files import append
from situations.table import Batch, Place

LEFT = "Removes its own record; leaves what is there"

batch = Batch("places")
situation = batch.situation


@situation("Its index is damaged", "Reports that git cannot read it; keeps everything")
def damaged_index(at: Place) -> None:
    at.write("precious.txt")
    (index,) = (at.grove.repo / ".git/worktrees").glob(f"{at.tree.name}/index")
    index.write_bytes(b"not an index")


@situation("The folder was deleted; its record has a commit on no branch")
def folder_deleted(at: Place) -> None:
    at.commit("only in the record")
    shutil.rmtree(at.tree)


@situation("The folder was deleted; its record has a staged file")
def folder_deleted_staged(at: Place) -> None:
    at.write("draft.txt", "only in the index\n")
    at.git("add", "draft.txt")
    shutil.rmtree(at.tree)


@situation("The folder was deleted; its record has nothing else", "Removes the record")
def folder_deleted_clean(at: Place) -> None:
    shutil.rmtree(at.tree)


@situation("The folder was moved by `mv`, with a commit on no branch")
def folder_moved(at: Place) -> None:
    at.commit("only here")
    append(at.tree / "README.md")
    at.tree.rename(at.outside / "moved")


@situation("The worktree was moved by `git worktree move`", LEFT)
def moved_by_git(at: Place) -> None:
    append(at.tree / "README.md")
    at.commit("only here", "--all")
    at.git("worktree", "move", "-f", "-f", str(at.tree), str(at.outside / "moved"))


@situation("A worktree of the user's stands in its place", LEFT)
def anothers_worktree(at: Place) -> None:
    at.grove.git("worktree", "remove", "-f", "-f", str(at.tree))
    at.grove.git("worktree", "add", "--quiet", "--detach", str(at.tree))
    append(at.tree / "README.md")


@situation("A clean worktree of the user's stands in its place", LEFT)
def anothers_clean_worktree(at: Place) -> None:
    at.grove.git("worktree", "remove", "-f", "-f", str(at.tree))
    at.grove.git("worktree", "add", "--quiet", "-b", f"{at.name}-mine", str(at.tree))


@situation("A clone stands in its place", LEFT)
def a_clone(at: Place) -> None:
    shutil.rmtree(at.tree)
    at.grove.git("clone", "--quiet", str(at.grove.repo), str(at.tree))
    git(at.tree, "-c", "user.name=a", "-c", "user.email=a", "commit", "--quiet", "--allow-empty", "-m", "mine")


@situation("A folder with files stands in its place", LEFT)
def a_folder(at: Place) -> None:
    shutil.rmtree(at.tree)
    at.write("precious.txt")


@situation("A file stands in its place", LEFT)
def a_file(at: Place) -> None:
    shutil.rmtree(at.tree)
    at.tree.write_text("mine\n")


@situation("A link to a folder of the user's stands in its place", LEFT)
def a_link(at: Place) -> None:
    shutil.rmtree(at.tree)
    (at.outside / "precious.txt").write_text("mine\n")
    at.tree.symlink_to(at.outside)


@situation("Its `.git` file was deleted, and there are files", LEFT)
def no_git_file(at: Place) -> None:
    (at.tree / ".git").unlink()
    at.write("precious.txt")
