"""Nothing of the user's is lost: what each command does with a worktree that has something of theirs in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import local_packages
from auditor import checkouts, git
from grove import Grove, said
from testgrove.app.worktrees.ownership import CheckoutContents
from testgrove.system.files import entries

IGNORED = {".gitignore": "*.log\nbuild/\n.env.local\n"}
BASE = {"README.md": "A project.\n", "src/code.py": "VALUE = 1\n"} | IGNORED


def commit(tree: Path, message: str, *more: str) -> None:
    git(tree, "commit", "--quiet", "--allow-empty", "--message", message, *more)


def append(path: Path, text: str = "mine\n") -> None:
    with path.open("a") as file:
        file.write(text)


def modified(tree: Path) -> list[str]:
    append(tree / "README.md")
    return ["README.md (modified)"]


def deleted(tree: Path) -> list[str]:
    (tree / "README.md").unlink()
    return ["README.md (deleted)"]


def staged(tree: Path) -> list[str]:
    append(tree / "README.md")
    git(tree, "add", "README.md")
    return ["README.md (staged)"]


def staged_and_gone(tree: Path) -> list[str]:
    """The content exists in the index alone."""
    (tree / "draft.txt").write_text("only in the index\n")
    git(tree, "add", "draft.txt")
    (tree / "draft.txt").unlink()
    return ["draft.txt (staged)"]


def untracked(tree: Path) -> list[str]:
    (tree / "notes").mkdir()
    (tree / "notes/idea.txt").write_text("mine\n")
    return ["notes/idea.txt (not written by set-up or a test)"]


def ignored(tree: Path) -> list[str]:
    (tree / "build").mkdir()
    (tree / "build/result.bin").write_text("mine\n")
    (tree / ".env.local").write_text("KEY=mine\n")
    return ["build/result.bin (not written by set-up or a test)", ".env.local ("]


def empty_file(tree: Path) -> list[str]:
    (tree / "empty").touch()
    return ["empty ("]


def broken_link(tree: Path) -> list[str]:
    (tree / "link").symlink_to("/nowhere/at/all")
    return ["link ("]


def strange_names(tree: Path) -> list[str]:
    for name in (b"a name with spaces", b"two\nlines", "Übung ✓.txt".encode(), b"\x1b[31mred", b"latin\xe9", b"-rf"):
        Path(os.fsdecode(os.fsencode(tree) + b"/" + name)).write_text("mine\n")
    return ["a name with spaces (", "two\\nlines (", "Übung ✓.txt (", "\\x1b[31mred (", "latin\\udce9 (", "-rf ("]


def lonely_commit(tree: Path) -> list[str]:
    commit(tree, "only here")
    return ["only here (on no branch)"]


def commit_in_the_reflog(tree: Path) -> list[str]:
    commit(tree, "made and reset away")
    git(tree, "reset", "--quiet", "--hard", "HEAD~1")
    return ["made and reset away (on no branch)"]


def amended_commit(tree: Path) -> list[str]:
    commit(tree, "first wording")
    commit(tree, "second wording", "--amend")
    return ["first wording (on no branch)", "second wording (on no branch)"]


def commit_of_a_deleted_branch(tree: Path) -> list[str]:
    git(tree, "switch", "--quiet", "--create", "brief")
    commit(tree, "on a branch that went")
    git(tree, "switch", "--quiet", "--detach", "HEAD~1")
    git(tree, "branch", "--quiet", "-D", "brief")
    return ["on a branch that went (on no branch)"]


def nested_repository(tree: Path) -> list[str]:
    inner = tree / "inner"
    git(tree, "init", "--quiet", str(inner))
    return ["inner/ (a nested repository)"]


def ignored_nested_repository(tree: Path) -> list[str]:
    (tree / "build").mkdir()
    git(tree, "init", "--quiet", str(tree / "build/inner"))
    (tree / "build/inner/file").write_text("mine\n")
    return ["build/inner/ (a nested repository)"]


def nested_checkout(tree: Path) -> list[str]:
    git(tree, "worktree", "add", "--quiet", "--detach", str(tree / "build/other"))
    return ["build/other/ (a nested repository)"]


def overlooked_edit(tree: Path) -> list[str]:
    git(tree, "update-index", "--assume-unchanged", "README.md")
    append(tree / "README.md")
    git(tree, "update-index", "--skip-worktree", "src/code.py")
    append(tree / "src/code.py")
    return ["README.md (modified)", "src/code.py (modified)"]


def edited_env_file(tree: Path) -> list[str]:
    append(tree / ".env.test", "MY_KEY=precious\n")
    return [".env.test (changed since a test or set-up wrote it)"]


def diverge(tree: Path) -> None:
    for branch, text in (("theirs", "one\n"), ("ours", "two\n")):
        git(tree, "switch", "--quiet", "--create", f"{tree.name}-{branch}", "main")
        (tree / "README.md").write_text(text)
        commit(tree, branch, "--all")


def attempt(tree: Path, *words: str) -> None:
    assert subprocess.run(["git", "-C", tree, *words], capture_output=True, check=False).returncode != 0


def rebase(tree: Path) -> list[str]:
    diverge(tree)
    attempt(tree, "rebase", f"{tree.name}-theirs")
    return ["README.md (unmerged)", "a rebase that is not finished"]


def resolved_rebase(tree: Path) -> list[str]:
    rebase(tree)
    git(tree, "checkout", "--quiet", "--ours", "README.md")
    git(tree, "add", "README.md")
    return ["a rebase that is not finished"]


def merge(tree: Path) -> list[str]:
    diverge(tree)
    attempt(tree, "merge", f"{tree.name}-theirs")
    return ["README.md (unmerged)", "a merge that is not finished"]


def bisection(tree: Path) -> list[str]:
    git(tree, "bisect", "start")
    return ["a bisection that is not finished"]


Thing = Callable[[Path], list[str]]
THINGS: tuple[Thing, ...] = (
    modified, deleted, staged, staged_and_gone, untracked, ignored, empty_file, broken_link, strange_names,
    lonely_commit, commit_in_the_reflog, amended_commit, commit_of_a_deleted_branch, nested_repository,
    ignored_nested_repository, nested_checkout, overlooked_edit, edited_env_file, rebase, resolved_rebase, merge,
    bisection,
)  # fmt: skip


def contents(tree: Path) -> dict[str, bytes]:
    """Everything in a checkout: its files, its index and the commits that only it knows."""
    found = {}
    for path in sorted(tree.rglob("*")):
        if path.is_symlink():
            found[str(path)] = os.fsencode(path.readlink())
        elif path.is_file() and ".venv" not in path.parts:
            found[str(path)] = path.read_bytes()
    found["index"] = git(tree, "ls-files", "--stage").encode()
    found["reflog"] = git(tree, "rev-list", "--walk-reflogs", "HEAD").encode()
    return found


@pytest.mark.slow
def test_remove_and_cleanup_leave_what_is_the_users(grove):
    project: Grove = grove(files=BASE)
    trees = {thing.__name__: project.root / f"test-unit-{thing.__name__}" for thing in THINGS}
    expected = {}
    for thing in THINGS:
        project.create("test-unit", thing.__name__)
        expected[thing.__name__] = thing(trees[thing.__name__])
    before = {name: contents(tree) for name, tree in trees.items()}

    done = project.run("remove", *trees, check=False)
    assert done.returncode == 3, said(done)
    for name, tree in trees.items():
        assert_told(name, tree, done.stderr, expected[name])
        assert contents(tree) == before[name], name
    assert "\x1b" not in done.stderr, "a file's name must not speak to the terminal"

    done = project.run("cleanup", "--max-age", "0", "--yes")
    skipped = [line for line in done.stderr.splitlines() if line.startswith("skipped ")]
    assert [line.partition(": has ")[0] for line in skipped] == [f"skipped test-unit-{name}" for name in trees]
    for name, tree in trees.items():
        assert contents(tree) == before[name], name
    assert {entry["status"] for entry in project.worktrees().values()} == {"ready"}

    project.run("remove", "--force", *trees)
    git(project.repo, "fsck", "--connectivity-only")
    project.git("worktree", "prune")  # the record of nested_checkout(), which went with its files
    project.auditor().assert_nothing()


def assert_told(name: str, tree: Path, words: str, expected: list[str]) -> None:
    """The refusal of one worktree: each thing on a line of its own, and the commands that go on."""
    start = words.index(f"error: worktree test-unit-{name} cannot be removed: it contains your work:\n")
    told = words[start : words.index("  hint: ", start)]
    for line in expected:
        assert line in told
    assert len(told.splitlines()) == 1 + len(expected), told
    advice = words[words.index("  hint: ", start) :].splitlines()[0]
    assert f"cd {tree}" in advice
    assert advice.endswith(f"testgrove remove test-unit-{name} --force")


def test_remove_says_as_json_what_is_the_users(grove):
    project: Grove = grove(files=BASE)
    project.create("test-unit", "mine")
    modified(project.root / "test-unit-mine")
    done = project.run("remove", "mine", "--json", check=False)
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["exit_status"], done.returncode) == ("worktree-dirty", 3, 3)
    assert error["details"] == {"worktree": "test-unit-mine", "files": ["README.md (modified)"]}


def test_a_long_list_is_cut_and_counted(grove):
    project: Grove = grove(files=BASE)
    project.create("test-unit", "mine")
    for number in range(15):
        (project.root / f"test-unit-mine/file{number:02}").touch()
    done = project.run("remove", "mine", check=False)
    assert "file09" in done.stderr
    assert "file10" not in done.stderr
    assert "… and 5 more" in done.stderr


def test_a_stash_outlives_its_worktree(grove):
    project: Grove = grove(files=BASE)
    project.create("test-unit", "mine")
    tree = project.root / "test-unit-mine"
    append(tree / "README.md", "stashed\n")
    git(tree, "stash")
    project.run("remove", "mine")
    assert "+stashed" in project.git("stash", "show", "-p", "stash@{0}")
    project.auditor().assert_nothing()


def test_commits_on_a_branch_outlive_their_worktree(grove):
    project: Grove = grove(files=BASE)
    project.create("review", "42", "--new-branch", "--base", "main", "--no-env", branch="feature/x")
    commit(project.root / "review-42", "kept by its branch")
    project.run("remove", "42")
    assert "kept by its branch" in project.git("log", "--format=%s", "feature/x")
    project.auditor().assert_nothing()


def test_a_worktree_in_which_only_suites_ran_is_removed_without_a_question(grove):
    suite = """
        import os, pathlib, subprocess
        def test_writes_as_suites_do():
            pathlib.Path("README.md").write_text("changed by a test")
            pathlib.Path("scratch.dat").write_text("by a test")
            pathlib.Path("junit-extra.xml").write_text("<testsuites/>")
            pathlib.Path("logs").mkdir()
            pathlib.Path("logs/app.log").write_text("an output")
            subprocess.run(["git", "init", "-q", "made-by-a-test"], check=True)
    """
    lines = [line.removeprefix("        ") for line in suite.splitlines()]
    project: Grove = grove(
        files=BASE | {"tests/test_writes.py": "\n".join(lines), "requirements.txt": "pytest\n"},
        config='[suites.unit]\ncommand = "pytest -q -p no:cacheprovider tests"\n',
        variables=local_packages.settings(),
    )
    project.run("test")
    assert project.worktrees()["test-unit-tree"]["status"] == "parked"
    done = project.run("remove", "test-unit-tree")
    assert done.stderr == "removed test-unit-tree\n"
    kept = {path.name for path in project.artifacts.rglob("*")}
    assert {"app.log", "junit-extra.xml"} <= kept
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_recycling_never_happens_over_what_is_the_users(grove):
    chosen = (modified, staged, untracked, ignored, lonely_commit, nested_repository, resolved_rebase, overlooked_edit)
    things = {thing.__name__.replace("_", "-"): thing for thing in chosen}
    suites = "".join(f'[suites.{name}]\ncommand = "true"\n' for name in things)
    project: Grove = grove(files=BASE, config=f"park = 99\n{suites}")
    project.run("test")
    trees = {name: project.tree(f"test-{name}-tree") for name in things}
    assert set(checkouts(project.repo)) == set(trees.values())
    for name, thing in things.items():
        thing(trees[name])
    before = {name: contents(tree) for name, tree in trees.items()}

    done = project.run("test", check=False)
    assert done.returncode == 0, said(done)
    for name, tree in trees.items():
        assert contents(tree) == before[name], name
        assert project.tree(f"test-{name}-tree-2").is_dir(), "a stand-in ran instead"

    done = project.run("cleanup", "--max-age", "0", "--yes")
    for name, tree in trees.items():
        assert f"skipped test-{name}-tree: has " in done.stderr
        assert contents(tree) == before[name], name
    assert set(project.worktrees()) == {f"test-{name}-tree" for name in trees}


@pytest.mark.slow
def test_a_parked_worktree_deleted_by_hand_is_made_anew(grove):
    project: Grove = grove(files=BASE, config='[suites.unit]\ncommand = "true"\n')
    project.run("test")
    tree = project.tree("test-unit-tree")
    shutil.rmtree(tree)
    project.run("test")
    assert list(project.worktrees()) == ["test-unit-tree"]
    assert (tree / "README.md").exists()
    project.run("cleanup", "--max-age", "0", "--yes")
    project.auditor().assert_nothing()


def by_hand(project: Grove, tree: Path) -> None:
    shutil.rmtree(tree)


def by_hand_with_its_root(project: Grove, tree: Path) -> None:
    shutil.rmtree(tree.parent)


def by_git(project: Grove, tree: Path) -> None:
    project.git("worktree", "remove", "-f", "-f", str(tree))


@pytest.mark.parametrize("way", [by_hand, by_hand_with_its_root, by_git], ids=lambda way: way.__name__)
def test_a_worktree_whose_folder_the_user_deleted_can_be_removed(grove, way):
    project: Grove = grove()
    project.create("test-unit", "gone", "--no-env", "--ports")
    way(project, project.root / "test-unit-gone")
    assert list(project.worktrees()) == ["test-unit-gone"]
    done = project.run("exec", "gone", "--", "true", check=False)
    assert done.returncode == 3, said(done)
    assert "testgrove remove test-unit-gone" in done.stderr
    project.run("remove", "gone")
    assert project.registry()["worktrees"] == {}
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_what_stands_where_a_worktree_was_is_not_touched(grove):
    project: Grove = grove()
    for name in ("clone", "folder", "file", "link"):
        project.create("test-unit", name)
        shutil.rmtree(project.root / f"test-unit-{name}")
    clone, folder, file, link = (project.root / f"test-unit-{name}" for name in ("clone", "folder", "file", "link"))
    project.git("clone", "--quiet", str(project.repo), str(clone))
    git(clone, "-c", "user.name=a", "-c", "user.email=a", "commit", "--quiet", "--allow-empty", "-m", "mine")
    folder.mkdir()
    (folder / "precious").write_text("mine")
    file.write_text("mine")
    elsewhere = project.base / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("mine")
    link.symlink_to(elsewhere)

    done = project.run("remove", "clone", "folder", "file", "link")
    assert f"note: {clone} was not removed: it now contains something else" in done.stderr
    assert "mine" in git(clone, "log", "--format=%s")
    assert (folder / "precious").read_text() == file.read_text() == (elsewhere / "precious").read_text() == "mine"
    assert checkouts(project.repo) == []
    assert project.worktrees() == {}

    done = project.create("test-unit", "folder", check=False)
    assert done.returncode == 3, said(done)
    assert f"{folder} already exists and is not a testgrove worktree" in done.stderr
    assert (folder / "precious").read_text() == "mine"


def test_the_place_of_another_projects_worktree_is_named_as_such(grove):
    project: Grove = grove()
    other = project.sibling("other", config=f'root = "{project.root}"\n')
    project.create("test-unit", "same", "--no-env")
    done = other.create("test-unit", "same", "--no-env", check=False)
    assert done.returncode == 3
    place = project.root / "test-unit-same"
    assert f"{place} is worktree test-unit-same of another project, {project.repo}" in done.stderr


def test_a_root_where_no_file_can_be_is_named(grove):
    project: Grove = grove(config='root = "/proc/x"\n')
    done = project.create("test-unit", "a", "--no-env", check=False)
    assert done.returncode == 3
    assert "cannot create worktrees in /proc/x" in done.stderr


def test_a_checkout_that_git_cannot_read_is_skipped_and_goes_by_force(grove):
    project: Grove = grove(files=BASE)
    for name in ("broken", "fine"):
        project.create("test-unit", name)
    (record,) = (project.repo / ".git/worktrees").glob("*broken*")
    (record / "index").write_bytes(b"not an index")
    done = project.run("remove", "broken", check=False)
    assert done.returncode == 5, said(done)
    assert "Traceback" not in done.stderr
    done = project.run("cleanup", "--max-age", "0", "--yes")
    assert "skipped test-unit-broken: examination failed" in done.stderr
    assert list(project.worktrees()) == ["test-unit-broken"]
    project.run("remove", "broken", "--force")
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_the_users_own_worktrees_are_never_touched(grove):
    project: Grove = grove(files=BASE)
    own, away = project.root / "test-unit-own", project.base / "on-a-disk"
    for path in (own, away):
        project.git("worktree", "add", "--quiet", "--detach", str(path))
        modified(path)
    (project.base / "disk").mkdir()
    away.rename(project.base / "disk/unmounted")
    before, records = contents(own), sorted((project.repo / ".git/worktrees").iterdir())

    done = project.create("test-unit", "own", check=False)
    assert done.returncode == 3, said(done)
    project.create("test-unit", "ours")
    project.run("remove", "ours")
    project.create("test-unit", "ours")
    project.run("cleanup", "--max-age", "0", "--yes")
    assert project.run("remove", "own", check=False).returncode == 3
    assert contents(own) == before
    assert sorted((project.repo / ".git/worktrees").iterdir()) == records, "pruned"
    (project.base / "disk/unmounted").rename(away)
    assert git(away, "status", "--porcelain") == " M README.md\n"
    assert project.worktrees() == {}


def test_a_worktree_that_the_user_moved_is_left_where_it_is(grove):
    project: Grove = grove(files=BASE)
    project.create("test-unit", "moved")
    tree, place = project.root / "test-unit-moved", project.base / "my-place"
    modified(tree)
    project.git("worktree", "move", "-f", "-f", str(tree), str(place))
    project.run("remove", "moved")
    assert git(place, "status", "--porcelain") == " M README.md\n"
    assert project.worktrees() == {}


def test_a_linked_root_works_and_stays(grove):
    project: Grove = grove(files=BASE)
    disk = project.base / "disk"
    disk.mkdir()
    project.root.symlink_to(disk)
    project.create("test-unit", "a")
    modified(disk / "test-unit-a")
    assert project.run("remove", "a", check=False).returncode == 3
    assert "README.md" in (disk / "test-unit-a/README.md").name
    project.create("test-unit", "b")
    project.run("remove", "a", "--force")
    project.run("remove", "b")
    assert project.root.is_symlink(), "the user's link is not ours to remove"
    assert list(disk.iterdir()) == []
    assert checkouts(project.repo) == []


def test_other_purposes_survive_a_cleanup(grove):
    project: Grove = grove()
    project.create("feature", "login")
    project.create("test-unit", "old")
    done = project.run("cleanup", "--max-age", "0")
    assert "would remove test-unit-old" in done.stderr
    assert "--yes" in done.stderr
    assert set(project.worktrees()) == {"feature-login", "test-unit-old"}
    document = project.json("cleanup", "--max-age", "0", "--yes")
    assert document["removed"] == ["test-unit-old"]
    assert list(project.worktrees()) == ["feature-login"]
    again = project.run("cleanup", "--max-age", "1", "--yes")
    assert again.stderr == "nothing to remove: no worktrees older than 1 hour\n"


def test_what_changes_after_the_look_at_a_checkout_is_not_in_its_manifest(grove):
    """Parking uses the look that was taken when the last attempt had ended."""
    top = grove().repo
    for name in ("left", "touched", "coverage.xml"):
        (top / name).write_text("by a test\n")
    (top / "README.md").write_text("by a test\n")
    contents = CheckoutContents.of(top)
    append(top / "touched")
    append(top / "new")
    append(top / "src/code.py")
    (top / "coverage.xml").unlink()  # moved to the artifacts
    manifest = contents.manifest(top)
    names = ["left", "touched", "new", "README.md", "src/code.py"]
    held = {entry.path: manifest.holds(entry) for entry in entries(top, names)}
    assert held == {"left": True, "touched": False, "new": False, "README.md": True, "src/code.py": False}
    assert "coverage.xml" not in manifest.entries
