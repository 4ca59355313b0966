"""No command loses a commit, wherever git keeps it: deleted branches, records without a folder, submodules, clones."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

import needs
from auditor import checkouts, git, git_records
from grove import TESTGROVE, Grove, said

SUITE = '[suites.unit]\ncommand = "true"\n'
FILES = {"README.md": "A project.\n", "src/code.py": "VALUE = 1\n", ".gitignore": "build/\n"}
RESCUED = "refs/testgrove/rescued/"


def commit(tree: Path, message: str, *more: str) -> str:
    git(tree, "commit", "--quiet", "--allow-empty", "--message", message, *more)
    return git(tree, "rev-parse", "HEAD").strip()


def pruned_branch(project: Grove, identifier: str, message: str, purpose: str = "test-unit") -> str:
    """A worktree made from a branch that is deleted afterwards, as after a squash merge; its commit."""
    project.git("switch", "--quiet", "--create", identifier)
    made = commit(project.repo, message)
    project.git("switch", "--quiet", "--detach", "main")
    project.git("update-ref", "refs/remotes/origin/topic", made)
    project.create(purpose, identifier, branch="origin/topic")
    project.git("update-ref", "-d", "refs/remotes/origin/topic")
    project.git("branch", "-D", identifier)
    project.git("reflog", "expire", "--expire=all", "--all")
    return made


def refs(project: Grove) -> dict[str, str]:
    lines = project.git("for-each-ref", "--format=%(refname) %(objectname)", RESCUED).splitlines()
    return {name.removeprefix(RESCUED): commit for name, commit in map(str.split, lines)}


def test_a_commit_whose_branch_was_deleted_is_the_users(grove):
    project: Grove = grove(files=FILES)
    made = pruned_branch(project, "a", "squashed elsewhere")
    pruned_branch(project, "b", "another\x1b[31m")
    before = project.auditor().commits()
    done = project.run("remove", "a", check=False)
    assert done.returncode == 3, said(done)
    assert f"commit {made[:10]} squashed elsewhere (on no branch)" in done.stderr
    assert f"git branch NAME {made[:10]}" in done.stderr

    done = project.run("cleanup", "--max-age", "0", "--yes")
    assert "removed test-unit-a" in done.stderr
    assert f"note: commit {made[:10]} squashed elsewhere is on no branch: kept as test-unit-a" in done.stderr
    assert set(refs(project)) == {"test-unit-a", "test-unit-b"}
    assert refs(project)["test-unit-a"] == made
    project.auditor().assert_commits_kept(before)
    project.auditor().assert_nothing()

    listed = project.json("list", "--rescued")["rescued"]
    assert [(each["id"], each["commit"] == made) for each in listed] == [("test-unit-a", True), ("test-unit-b", False)]
    assert listed[0].keys() == {"id", "commit", "subject", "when"}
    shown = project.run("list", "--rescued")
    assert "squashed elsewhere" in shown.stdout
    assert "\x1b" not in shown.stdout + shown.stderr
    assert "testgrove remove --rescued test-unit-a" in shown.stderr
    project.run("remove", "--rescued", "test-unit-a")
    assert set(refs(project)) == {"test-unit-b"}
    done = project.run("remove", "--rescued", "test-unit-a", check=False)
    assert (done.returncode, "not found (available: test-unit-b)" in done.stderr) == (3, True)


def test_what_a_user_has_committed_on_no_branch_still_stops_bulk_removal(grove):
    project: Grove = grove(files=FILES)
    pruned_branch(project, "a", "from a branch")
    commit(project.root / "test-unit-a", "mine")
    done = project.run("cleanup", "--max-age", "0", "--yes")
    assert "skipped test-unit-a: has commit" in done.stderr
    assert refs(project) == {}
    project.run("remove", "a", "--force")
    project.auditor().assert_nothing()


def test_recycling_and_trimming_keep_commits_of_deleted_branches(grove):
    project: Grove = grove(files=FILES, config=f"park = 1\n{SUITE}")
    project.git("switch", "--quiet", "--create", "topic")
    first = commit(project.repo, "first")
    project.run("test", "--ref", "topic")
    (tree,) = checkouts(project.repo)
    second = commit(project.repo, "amended", "--amend")
    project.run("test", "--ref", "topic")
    assert refs(project) == {}, "the main checkout's reflog has the first"
    project.git("switch", "--quiet", "main")
    project.git("branch", "-D", "topic")
    project.git("reflog", "expire", "--expire=all", "--all")
    before = project.auditor().commits()
    assert second in before
    assert first not in before
    project.git("branch", "topic", "main")
    project.run("test", "--ref", "topic")
    assert checkouts(project.repo) == [tree], "it was recycled"
    assert refs(project) == {"test-unit-topic": second}
    project.auditor().assert_commits_kept(before)


def test_refs_of_a_worktrees_own_hold_commits_that_go_with_it(grove):
    project: Grove = grove(files=FILES)
    project.create("test-unit", "a")
    tree = project.root / "test-unit-a"
    made = commit(tree, "kept aside")
    git(tree, "update-ref", "refs/worktree/mine", made)
    git(tree, "reset", "--quiet", "--hard", "HEAD~1")
    git(tree, "reflog", "expire", "--expire=all", "HEAD")
    for command in (("remove", "a"), ("cleanup", "--max-age", "0", "--yes")):
        done = project.run(*command, check=False)
        assert f"commit {made[:10]} kept aside" in done.stderr, said(done)
    assert git(tree, "rev-parse", "refs/worktree/mine").strip() == made


def test_a_lock_of_the_users_keeps_a_worktree(grove):
    project: Grove = grove(files=FILES)
    project.create("test-unit", "a")
    tree = project.root / "test-unit-a"
    git(project.repo, "worktree", "unlock", str(tree))
    git(project.repo, "worktree", "lock", "--reason", "on my stick", str(tree))
    done = project.run("remove", "a", check=False)
    assert (done.returncode, "a lock: on my stick (git worktree unlock " in done.stderr) == (3, True), said(done)
    done = project.run("cleanup", "--max-age", "0", "--yes")
    assert "skipped test-unit-a: has a lock" in done.stderr
    git(project.repo, "worktree", "unlock", str(tree))
    project.run("remove", "a")
    project.auditor().assert_nothing()


def test_a_worktree_that_somebody_else_made_in_the_place_of_ours_is_left_alone(grove):
    project: Grove = grove(files=FILES, config=SUITE)
    project.create("test-unit", "a")
    project.run("test")
    trees = (project.root / "test-unit-a", project.tree("test-unit-tree"))
    for tree in trees:
        git(project.repo, "worktree", "remove", "-f", "-f", str(tree))
        git(project.repo, "worktree", "add", "--quiet", "--detach", str(tree), "main")
    done = project.run("remove", "a", "--force")
    assert "it now contains something else" in done.stderr
    done = project.run("test", check=False)
    assert done.returncode == 0, said(done)
    assert set(checkouts(project.repo)) >= {*trees}
    assert all((tree / "README.md").exists() for tree in trees)


@pytest.fixture
def without_folder(grove) -> Grove:
    """Two worktrees whose folders are gone: `clean` has nothing in its record, `full` a commit and a staged file."""
    project: Grove = grove(files=FILES)
    for name in ("clean", "full"):
        project.create("test-unit", name)
    tree = project.root / "test-unit-full"
    commit(tree, "only in the reflog")
    git(tree, "reset", "--quiet", "--hard", "HEAD~1")
    (tree / "draft").write_text("only in the index\n")
    git(tree, "add", "draft")
    shutil.rmtree(project.root)
    return project


def test_the_record_of_a_worktree_whose_folder_is_gone_is_examined(without_folder):
    project = without_folder
    before, records = project.auditor().commits(), git_records(project.repo)
    done = project.run("doctor", "--fix", check=False)
    assert "full" in done.stdout
    assert "only in the reflog" in done.stdout
    for command in (("remove", "full"), ("cleanup", "--max-age", "0", "--yes")):
        done = project.run(*command, check=False)
        assert "only in the reflog (on no branch)" in done.stderr, said(done)
        assert "draft (staged; the folder is missing)" in done.stderr
    assert set(git_records(project.repo)) == {path for path in records if path.endswith("full")}
    project.auditor().assert_commits_kept(before)
    assert git(Path(git_records(project.repo)[0]), "show", ":draft") == "only in the index\n"
    project.run("remove", "full", "--force")
    project.auditor().assert_nothing()


def test_a_parked_record_without_its_folder_is_not_recycled_over_commits(grove):
    project: Grove = grove(files=FILES, config=SUITE)
    project.run("test")
    (tree,) = checkouts(project.repo)
    commit(tree, "mine")
    shutil.rmtree(tree)
    before = project.auditor().commits()
    project.run("test")
    project.auditor().assert_commits_kept(before)
    assert "test-unit-tree-2" in project.worktrees(), "a stand-in ran instead"


def test_a_worktree_on_a_disk_that_is_not_mounted_stays(grove):
    project: Grove = grove(files=FILES)
    project.root.mkdir()
    script = 'mount -t tmpfs disk "$0" || exit 99; "$@" && umount "$0"'
    words = (*needs.mount_namespace(), "sh", "-c", script, str(project.root), *TESTGROVE)
    project.create("test-unit", "a", program=words)
    assert not (project.root / "test-unit-a").exists()
    for command in (("remove", "a"), ("cleanup", "--max-age", "0", "--yes"), ("doctor", "--fix")):
        done = project.run(*command, check=False)
        assert f"{project.root}, which holds the worktree's folder, is not mounted" in done.stderr + done.stdout, said(
            done
        )
    assert len(git_records(project.repo)) == 1
    project.run("remove", "a", "--force")
    project.auditor().assert_nothing()


def test_recovery_keeps_a_commit_made_in_what_a_killed_command_left(grove):
    project: Grove = grove(files=FILES, config='setup = ["touch ../began; sleep 60"]\n')
    process = project.start("create", "--purpose", "test-unit", "--identifier", "a", "--branch", "main", "--no-env")
    began = project.root / "began"
    deadline = time.monotonic() + 60
    while not began.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    began.unlink()
    tree = project.root / "test-unit-a"
    made = commit(tree, "in a half made worktree")
    done = project.run("list")
    assert not tree.exists(), said(done)
    assert refs(project) == {"test-unit-a": made}
