"""`copy`: what of the main checkout every worktree gets a copy of, and whose that copy is."""

from __future__ import annotations

import os

import pytest

import local_packages
from auditor import git
from grove import Grove, said

FILES = {
    "README.md": "A project.\n",
    ".gitignore": "*.local\nsecrets/\n.env.local\n",
    "config/base.toml": "a = 1\n",
}


def plant(grove, copy: str, **more: str) -> Grove:
    return grove(files=FILES | more, config=f"copy = {copy}\n")


def test_files_globs_and_folders_are_copied_with_their_modes(grove):
    project = plant(grove, '[".env.local", "config/*.local", "secrets", "notes.txt"]')
    project.write({
        ".env.local": "KEY=1\n", "config/a.local": "a\n", "config/deep/b.local": "b\n", "secrets/x/key.pem": "key\n",
        "notes.txt": "not ignored\n",
    })  # fmt: skip
    (project.repo / "secrets/x/key.pem").chmod(0o400)
    (project.repo / ".env.local").chmod(0o640)
    project.create("review", "a")
    tree = project.root / "review-a"
    assert (tree / ".env.local").read_text() == "KEY=1\n"
    assert (tree / "secrets/x/key.pem").read_text() == "key\n"
    assert (tree / "notes.txt").read_text() == "not ignored\n"
    assert (tree / "config/a.local").exists()
    assert not (tree / "config/deep").exists(), "a star does not cross a folder"
    for name in (".env.local", "secrets/x/key.pem"):
        ours, theirs = (top / name for top in (tree, project.repo))
        assert ours.stat().st_mode == theirs.stat().st_mode
        assert ours.stat().st_ino != theirs.stat().st_ino, "a hard copy"
    assert not list(tree.glob(".testgrove*"))
    # They are ours as long as nobody edits them.
    project.run("remove", "a")
    project.auditor().assert_nothing()


def test_an_edited_copy_is_the_users(grove):
    project = plant(grove, '[".env.local"]')
    project.write({".env.local": "KEY=1\n"})
    project.create("review", "a")
    (project.root / "review-a/.env.local").write_text("KEY=2\n")
    done = project.run("remove", "a", check=False)
    assert done.returncode == 3, said(done)
    assert ".env.local (changed since a test or set-up wrote it)" in done.stderr
    assert (project.repo / ".env.local").read_text() == "KEY=1\n"


def test_what_is_not_there_is_a_note(grove):
    project = plant(grove, '[".env.local", "nothing/**"]')
    done = project.create("review", "a")
    assert "note: copy: no untracked file matches .env.local in" in done.stderr
    assert "note: copy: no untracked file matches nothing/** in" in done.stderr


def test_nothing_is_copied_from_outside_or_written_outside(grove):
    project = plant(grove, '["out.local", "in.local", "gone.local", "dir.local", "link/x.local", "sub"]')
    outside = project.base / "outside"
    outside.mkdir()
    (outside / "x.local").write_text("somebody else's\n")
    for name, target in (
        ("out.local", outside / "x.local"), ("in.local", "real.local"), ("gone.local", "nowhere"),
        ("dir.local", "config"), ("link", outside),
    ):  # fmt: skip
        (project.repo / name).symlink_to(target)
    (project.repo / "real.local").write_text("real\n")
    git(project.repo, "init", "--quiet", "sub")
    (project.repo / "sub/f.local").write_text("a nested repository's\n")
    done = project.create("review", "a")
    tree = project.root / "review-a"
    for line in ("out.local links to a file outside", "gone.local is a broken link", "dir.local is not a regular file",
                 "matches link/x.local in", "matches sub"):  # fmt: skip
        assert line in done.stderr, said(done)
    assert (tree / "in.local").read_text() == "real\n"
    assert not (tree / "in.local").is_symlink()
    assert {path.name for path in tree.iterdir()} == {
        ".git", ".gitignore", ".worktree-metadata.json", ".env.test", "README.md", "config", "testgrove.toml",
        "in.local",
    }  # fmt: skip


def test_a_commit_that_leads_out_of_the_tree_is_refused(grove):
    project = plant(grove, '["config/key.local"]')
    outside = project.base / "outside"
    outside.mkdir()
    project.git("switch", "--quiet", "--create", "evil")
    project.git("rm", "--quiet", "-r", "config")
    (project.repo / "config").symlink_to(outside)
    project.write({}, commit="a link in the place of the folder")
    project.git("switch", "--quiet", "main")
    project.write({"config/key.local": "secret\n"})
    done = project.create("review", "a", branch="evil", check=False)
    assert done.returncode == 3, said(done)
    assert "config/key.local would be written outside" in done.stderr
    assert list(outside.iterdir()) == []
    project.auditor().assert_nothing()


@pytest.mark.parametrize("pattern", ["README.md", "config"])
def test_a_pattern_that_names_tracked_files_alone_is_refused(grove, pattern):
    project = plant(grove, f'["{pattern}"]')
    done = project.create("review", "a", check=False)
    assert done.returncode == 3, said(done)
    named = "README.md" if pattern == "README.md" else "config/base.toml"
    assert f"copy = ['{pattern}']: {named} is tracked by git in the main checkout" in done.stderr
    project.auditor().assert_nothing()


def test_a_file_that_the_commit_tracks_is_not_overwritten(grove):
    project = plant(grove, '[".env.local"]')
    project.git("switch", "--quiet", "--create", "tracked")
    project.write({".env.local": "tracked\n"})
    project.git("add", "--force", ".env.local")
    project.git("commit", "--quiet", "--message", "tracked there")
    project.git("switch", "--quiet", "main")
    project.write({".env.local": "KEY=1\n"})
    done = project.create("review", "a", branch="tracked", check=False)
    assert done.returncode == 3, said(done)
    assert ".env.local is tracked by git at the commit" in done.stderr
    project.auditor().assert_nothing()


@pytest.mark.parametrize(
    "pattern", ["/etc/passwd", "../other", "a/../../b", ".git/config", ".venv", "", "~/x", ":(top)"]
)
def test_a_pattern_that_leads_elsewhere_is_no_setting(grove, pattern):
    project = plant(grove, f'["{pattern}"]')
    done = project.create("review", "a", check=False)
    assert done.returncode == 2, said(done)
    assert "'copy': expected" in done.stderr
    assert f"found '{pattern}'" in done.stderr


def test_our_own_files_are_not_copied(grove):
    project = plant(grove, '["**"]', tests="")
    project.write({".env.local": "KEY=1\n", ".env.test": "MAIN=1\n"})
    (project.repo / "test-artifacts").mkdir()
    (project.repo / "test-artifacts/report").write_text("x")
    project.create("review", "a")
    tree = project.root / "review-a"
    assert (tree / ".env.local").exists()
    assert "MAIN" not in (tree / ".env.test").read_text()
    assert not (tree / "test-artifacts").exists()
    assert not (tree / "worktrees_registry.json").exists()


def test_a_file_that_cannot_be_read_is_named_and_nothing_is_left(grove):
    if os.getuid() == 0:
        pytest.skip("root reads everything")
    project = plant(grove, '[".env.local"]')
    project.write({".env.local": "KEY=1\n"})
    (project.repo / ".env.local").chmod(0)
    done = project.create("review", "a", check=False)
    assert done.returncode == 3, said(done)
    assert f"cannot copy {project.repo}/.env.local: permission denied" in done.stderr
    project.auditor().assert_nothing()


def test_suites_see_the_copies_in_new_and_in_recycled_worktrees(grove):
    test = "import pathlib\ndef test_it():\n    assert pathlib.Path('.env.local').read_text() == 'KEY=%d\\n'\n"
    project = plant(grove, '[".env.local", "notes.txt"]', **{"tests/test_it.py": test % 1})
    project.variables = local_packages.settings()
    project.write({".env.local": "KEY=1\n", "notes.txt": "in the snapshot\n"})
    for number in (1, 2):
        project.write({".env.local": f"KEY={number}\n", "tests/test_it.py": test % number})
        project.run("test")
    assert len(project.worktrees()) == 1, "the second run recycled the first one's"
    project.auditor().assert_no_leftovers()


def test_a_worktreeinclude_names_ignored_files_beside_copy(grove):
    """Its patterns are those of .gitignore; of the files that match, only ignored ones are copied."""
    patterns = "# of developers\n.env.local\nsecrets/*\n!secrets/no.key\n*.md\n*.pem\n"
    project = grove(files=FILES | {".worktreeinclude": patterns, ".gitignore": FILES[".gitignore"] + ".venv\n"})
    project.git("switch", "--quiet", "--create", "older")
    project.write({".env.local": "KEY=tracked\n"})
    project.git("add", "--force", ".env.local")
    project.git("commit", "--quiet", "--message", "tracked there")
    project.git("switch", "--quiet", "main")
    project.write({
        ".env.local": "KEY=1\n", "secrets/x/key.pem": "key\n", "secrets/no.key": "no\n", "mine.md": "not ignored\n",
        "other.local": "not named\n", "test-artifacts/.env.local": "an output\n",
        "backend/.venv/lib/cacert.pem": "of a package\n",
    })  # fmt: skip
    project.create("review", "b", branch="older")
    assert (project.root / "review-b/.env.local").read_text() == "KEY=tracked\n", "a commit may have such a file"
    project.run("remove", "b")
    project.create("review", "a")
    tree = project.root / "review-a"
    assert (tree / ".env.local").read_text() == "KEY=1\n"
    assert (tree / "secrets/x/key.pem").read_text() == "key\n"
    for name in ("secrets/no.key", "mine.md", "other.local", "test-artifacts", "backend"):
        assert not (tree / name).exists(), name
    project.write({".env.local": "KEY=2\n"})
    assert "copied: .env.local" in project.run("sync", "a").stdout
    project.run("remove", "a")
    project.auditor().assert_nothing()
