"""`testgrove artifacts collect`: copies of what tests leave, in the documented layout."""

from __future__ import annotations

import os

import pytest

from grove import Grove, said

LEFT = {
    "htmlcov/index.html": "<html>", "htmlcov/sub/a.html": "a", "logs/app.log": "1\n", "junit-a.xml": "<x/>",
    "junit.xml": "<x/>", "coverage.xml": "<c/>", "prof/a.prof": "p", "mine.txt": "not an output",
}  # fmt: skip
COPIED = {
    "coverage/index.html", "coverage/sub/a.html", "logs/app.log", "junit-a.xml", "junit.xml", "coverage.xml",
    "prof/a.prof",
}  # fmt: skip


@pytest.fixture
def project(grove) -> Grove:
    """A project with the worktree test-unit-a, in which tests have left something."""
    planted: Grove = grove(config='collect = ["prof"]\n')
    planted.create("test-unit", "a")
    leave(planted)
    return planted


def leave(project: Grove) -> None:
    for name, text in LEFT.items():
        path = project.root / "test-unit-a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def files(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_documented_layout_and_the_worktree_keeps_its_own(project):
    done = project.run("artifacts", "collect", "a")
    assert files(project.artifacts / "test-unit-a") == COPIED
    assert done.stderr == f"test-unit-a: 7 files in {project.artifacts}/test-unit-a\n"
    assert {name for name in LEFT if (project.root / "test-unit-a" / name).is_file()} == set(LEFT)
    assert project.git("status", "--porcelain") == ""


def test_a_folder_of_ones_own_and_all_worktrees(project):
    project.create("review", "b")
    document = project.json("artifacts", "collect", "--output", "out")["collected"]
    assert {name: set(entry["files"]) for name, entry in document.items()} == {"test-unit-a": COPIED, "review-b": set()}
    assert files(project.repo / "out") == {f"test-unit-a/{name}" for name in COPIED}


def test_again_and_again(project):
    for text in ("1\n2\n", "1\n2\n3\n"):
        (project.root / "test-unit-a/logs/app.log").write_text(text)
        project.run("artifacts", "collect", "a")
        assert (project.artifacts / "test-unit-a/logs/app.log").read_text() == text
    assert files(project.artifacts / "test-unit-a") == COPIED


def test_what_an_earlier_worktree_of_that_id_left_is_kept(project):
    kept = project.artifacts / "test-unit-a/logs/app.log"
    kept.parent.mkdir(parents=True)
    kept.write_text("last week's")
    os.utime(kept, (1.6e9, 1.6e9))
    for _ in range(2):
        project.run("artifacts", "collect", "a")
    assert (kept.read_text(), (kept.parent / "app.1.log").read_text()) == ("1\n", "last week's")
    assert files(kept.parent) == {"app.log", "app.1.log"}


def test_removal_afterwards_loses_nothing(project):
    (project.root / "test-unit-a/mine.txt").unlink()
    project.run("artifacts", "collect", "a")
    project.run("remove", "a")
    assert files(project.artifacts / "test-unit-a") >= COPIED
    project.auditor().assert_nothing()


def test_a_link_is_copied_as_a_link(project):
    (project.root / "test-unit-a/logs/latest").symlink_to("/etc/passwd")
    project.run("artifacts", "collect", "a")
    assert (project.artifacts / "test-unit-a/logs/latest").readlink().as_posix() == "/etc/passwd"


def test_errors(project):
    done = project.run("artifacts", "collect", "nope", check=False)
    assert (done.returncode, "worktree 'nope' not found" in done.stderr) == (3, True), said(done)
    (project.repo / "file").touch()
    done = project.run("artifacts", "collect", "--output", "file", check=False)
    assert done.returncode == 2, said(done)
    assert "testgrove artifacts collect" in project.run("artifacts", "collect", "--help").stdout.split("Example")[1]
