"""Commits of the user's that a worktree alone holds, and what git is in the middle of there."""

from __future__ import annotations

import subprocess

from situations.files import append
from situations.table import Batch, Place

ELSEWHERE = "Removes the worktree"

batch = Batch("commits")
situation = batch.situation


def failing(at: Place, *words: str) -> None:
    """Run a git command that stops in the middle."""
    done = subprocess.run(["git", "-C", at.tree, *words], capture_output=True, check=False)
    assert done.returncode != 0, done.stdout


def diverge(at: Place) -> str:
    """Two branches of the worktree's own that conflict; the one that is not checked out."""
    for branch, text in (("theirs", "one\n"), ("ours", "two\n")):
        at.git("switch", "--quiet", "--create", f"{at.name}-{branch}", "main")
        at.write("README.md", text)
        at.commit(branch, "--all")
    return f"{at.name}-theirs"


@situation("A commit on no branch")
def lonely_commit(at: Place) -> None:
    at.commit("only here")


@situation("A commit that was reset away: only the reflog has it")
def reset_away(at: Place) -> None:
    at.write("new.txt")
    at.git("add", "new.txt")
    at.commit("made and reset away")
    at.git("reset", "--quiet", "--hard", "HEAD~1")


@situation("A commit that was amended: only the reflog has its first version")
def amended(at: Place) -> None:
    at.commit("first wording")
    at.commit("second wording", "--amend")


@situation("A commit on a branch", f"{ELSEWHERE}; the branch keeps the commit")
def on_a_branch(at: Place) -> None:
    at.git("switch", "--quiet", "--create", f"{at.name}-kept")
    at.write("new.txt")
    at.git("add", "new.txt")
    at.commit("kept by its branch")


@situation("A commit that a tag holds", f"{ELSEWHERE}; the tag keeps the commit")
def tagged(at: Place) -> None:
    at.commit("kept by its tag")
    at.git("tag", f"{at.name}-tag")


@situation("A commit on a branch that was deleted since")
def deleted_branch(at: Place) -> None:
    at.git("switch", "--quiet", "--create", f"{at.name}-brief")
    at.commit("on a branch that went")
    at.git("switch", "--quiet", "--detach", "HEAD~1")
    at.git("branch", "--quiet", "-D", f"{at.name}-brief")


@situation("A stash", f"{ELSEWHERE}; the repository keeps the stash")
def stash(at: Place) -> None:
    append(at.tree / "README.md", "stashed\n")
    at.git("stash", "--quiet")


@situation("An orphan branch without a commit, with staged files")
def orphan(at: Place) -> None:
    at.git("switch", "--quiet", "--orphan", f"{at.name}-orphan")
    at.write("first.txt")
    at.git("add", "first.txt")


@situation("A rebase that stopped at a conflict")
def rebase(at: Place) -> None:
    failing(at, "rebase", diverge(at))


@situation("A rebase that was resolved and not continued")
def resolved_rebase(at: Place) -> None:
    rebase(at)
    at.git("checkout", "--quiet", "--ours", "README.md")
    at.git("add", "README.md")


@situation("An interactive rebase that stopped to edit a commit")
def interactive_rebase(at: Place) -> None:
    diverge(at)
    at.git("-c", "sequence.editor=sed -i s/^pick/edit/", "rebase", "--quiet", "--interactive", "HEAD~1")


@situation("A rebase that has put uncommitted changes aside (`--autostash`)")
def autostash(at: Place) -> None:
    branch = diverge(at)
    append(at.tree / "src/code.py")
    failing(at, "rebase", "--autostash", branch)


@situation("A merge that stopped at a conflict")
def merge(at: Place) -> None:
    failing(at, "merge", diverge(at))


@situation("A merge that is resolved and not committed")
def uncommitted_merge(at: Place) -> None:
    diverge(at)
    at.git("merge", "--quiet", "--no-commit", "--strategy", "ours", f"{at.name}-theirs")


@situation("A cherry-pick that stopped at a conflict")
def cherry_pick(at: Place) -> None:
    failing(at, "cherry-pick", diverge(at))


@situation("A revert that stopped at a conflict")
def revert(at: Place) -> None:
    diverge(at)
    at.write("README.md", "three\n")
    at.commit("newer", "--all")
    failing(at, "revert", "HEAD~1")


@situation("An unfinished mailbox (`git am`)")
def mailbox(at: Place) -> None:
    branch = diverge(at)
    patch = at.git("format-patch", "--stdout", f"main..{branch}")
    (at.outside / "patch").write_text(patch)
    failing(at, "am", str(at.outside / "patch"))


@situation("A bisection")
def bisect(at: Place) -> None:
    at.git("bisect", "start")


@situation("A cherry-pick of several commits, of which the first is committed")
def sequencer(at: Place) -> None:
    branch = diverge(at)
    at.git("switch", "--quiet", branch)
    at.commit("another")
    at.git("switch", "--quiet", f"{at.name}-ours")
    failing(at, "cherry-pick", f"{branch}~1", branch)
    at.git("checkout", "--quiet", "--theirs", "README.md")
    at.commit("picked", "--all")


@situation("A cherry-pick that has nothing to commit")
def empty_cherry_pick(at: Place) -> None:
    diverge(at)
    failing(at, "cherry-pick", "HEAD")


@situation("A merge of notes that stopped at a conflict")
def notes_merge(at: Place) -> None:
    for ref in ("one", "other"):
        at.git("notes", "--ref", f"{at.name}-{ref}", "add", "-m", ref, "HEAD")
    failing(at, "notes", "--ref", f"{at.name}-one", "merge", f"{at.name}-other")


@situation("A ref of the worktree under `refs/worktree`")
def worktree_ref(at: Place) -> None:
    made = at.commit("kept by a ref of the worktree's own")
    at.git("update-ref", "refs/worktree/mine", made)
    at.git("reset", "--quiet", "--hard", "HEAD~1")
    at.git("reflog", "expire", "--expire=all", "HEAD")


@situation("A ref of the worktree to a file, not a commit")
def worktree_ref_to_file(at: Place) -> None:
    draft = at.write("draft.txt", "only under a ref of the worktree's own\n")
    at.git("update-ref", "refs/worktree/draft", at.git("hash-object", "-w", "draft.txt").strip())
    draft.unlink()


@situation("A leftover ref of a bisection under `refs/bisect`")
def bisect_ref(at: Place) -> None:
    made = at.commit("kept by a bisection")
    at.git("update-ref", "refs/bisect/bad", made)
    at.git("reset", "--quiet", "--hard", "HEAD~1")
    at.git("reflog", "expire", "--expire=all", "HEAD")


@situation("A lock that the user set (`git worktree lock`)")
def locked(at: Place) -> None:
    at.git("worktree", "unlock", str(at.tree))
    at.git("worktree", "lock", "--reason", "mine", str(at.tree))
