"""Where git is asked less, the answer stays the same. Everything against real repositories."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from testgrove.errors import PreconditionError
from testgrove.system import git
from testgrove.system.git import call


def run_git(where: Path, *words: str, check: bool = True) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.invalid", "-c", "protocol.file.allow=always")
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *identity, *words], cwd=where, env=env, capture_output=True, text=True, check=check)
    return done.stdout.strip()


def commit_all(where: Path) -> str:
    run_git(where, "add", "--all")
    run_git(where, "commit", "--quiet", "--allow-empty", "--message", "a change")
    return run_git(where, "rev-parse", "HEAD")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    run_git(tmp_path, "init", "--quiet", "--initial-branch=main", str(top))
    for name in (
        "changed",
        "deleted",
        "gone/file",
        "hidden",
        "kept",
        "linked",
        "mode",
        "skipped",
        "staged",
        "same size",
    ):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text("one\n")
    (top / ".gitignore").write_text("*.ignored\n")
    commit_all(top)
    return top


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that are run."""
    seen: list[list[str]] = []
    real = call.process.run_bytes

    def note(argv: list[str], **options: object) -> object:
        seen.append(argv)
        return real(argv, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(call.process, "run_bytes", note)
    return seen


def same(path: Path) -> git.Differences:
    """differences(), which has to agree with status()."""
    found, all_of_it = git.differences(path), git.status(path)
    assert sorted(found.modified) == sorted(all_of_it.modified)
    assert (found.untracked, found.nested) == (all_of_it.untracked, all_of_it.nested)
    return found


def test_differences_are_those_of_the_status(top, tmp_path, asked):
    assert same(top) == git.Differences()
    stamp = (top / "same size").stat().st_mtime_ns
    (top / "same size").write_text("two\n")
    os.utime(top / "same size", ns=(stamp, stamp))
    for name in ("changed", "hidden", "skipped", "staged"):
        (top / name).write_text("another text\n")
    run_git(top, "add", "staged")
    run_git(top, "update-index", "--assume-unchanged", "hidden")
    run_git(top, "update-index", "--skip-worktree", "skipped")
    (top / "deleted").unlink()
    (top / "gone/file").unlink()
    (top / "gone").rmdir()
    (top / "linked").unlink()
    (top / "linked").symlink_to("kept")
    (top / "mode").chmod(0o755)
    os.utime(top / "kept")
    for name in ("new", "line\nbreak", "x.ignored", "added"):
        (top / name).write_text("")
    run_git(top, "add", "--intent-to-add", "added")
    (top / ".venv/lib").mkdir(parents=True)
    (top / ".venv/lib/x.py").write_text("")
    run_git(top, "init", "--quiet", "nested")
    asked.clear()
    found = git.differences(top)
    assert len(asked) == 1
    names = {"added", "changed", "deleted", "gone/file", "hidden", "linked", "mode", "same size", "skipped"}
    assert {*found.modified} == names
    assert {*found.untracked} == {"new", "line\nbreak", "x.ignored"}
    assert found.nested == ("nested/",)
    same(top)


def test_differences_leave_out_what_is_in_conflict(top):
    run_git(top, "checkout", "--quiet", "-b", "other")
    (top / "changed").write_text("theirs\n")
    commit_all(top)
    run_git(top, "checkout", "--quiet", "main")
    (top / "changed").write_text("ours\n")
    commit_all(top)
    run_git(top, "merge", "other", check=False)
    assert git.status(top).unmerged == ("changed",)
    assert same(top).modified == ()


def test_differences_look_into_submodules(top, tmp_path):
    inner = tmp_path / "inner"
    run_git(tmp_path, "clone", "--quiet", str(top), str(inner))
    run_git(top, "submodule", "--quiet", "add", str(inner), "lib")
    commit_all(top)
    assert same(top) == git.Differences()
    (top / "lib/new").write_text("")
    assert same(top) == git.Differences(untracked=("lib/new",))
    (top / "lib/changed").write_text("two\n")
    assert same(top).modified == ("lib", "lib/changed")
    commit_all(top / "lib")
    assert same(top) == git.Differences(modified=("lib",))


def test_the_history_of_a_detached_checkout_takes_one_process(top, tmp_path, asked):
    repository, path = git.discover(top), tmp_path / "a"
    git.add_checkout(repository, path, repository.commit)
    git.populate(path, "HEAD")
    record = git.git_dir_of(path)
    first, second = commit_all(path), commit_all(path)
    run_git(path, "checkout", "--quiet", "--detach", "main")
    asked.clear()
    git.detach(path)
    assert git.foreign_objects(record) == []
    assert not asked
    assert [commit.sha for commit in git.foreign_commits(record)] == [second, first]
    assert len(asked) == 1
    run_git(path, "update-ref", "refs/worktree/file", run_git(path, "rev-parse", "HEAD:kept"))
    assert git.foreign_objects(record) == ["refs/worktree/file (a blob that only this worktree's ref names)"]


def test_where_the_files_do_not_tell_git_is_asked(top, tmp_path, asked):
    """As with a reftable, where the file HEAD is only a stub."""
    repository, path = git.discover(top), tmp_path / "a"
    git.add_checkout(repository, path, repository.commit, new_branch="mine")
    git.populate(path, "HEAD")
    record = git.git_dir_of(path)
    mine = commit_all(path)
    run_git(path, "checkout", "--quiet", "--detach")
    run_git(path, "branch", "--delete", "--force", "mine")
    log = (record / "logs/HEAD").read_bytes()
    for text in (None, b"in another format\n", log):
        (record / "logs/HEAD").unlink(missing_ok=True)
        if text is not None:
            (record / "logs/HEAD").write_bytes(text)
        asked.clear()
        assert [commit.sha for commit in git.foreign_commits(record)] == [mine]
        assert len(asked) == (1 if text == log else 2)
    (record / "reftable").mkdir()
    asked.clear()
    assert git.foreign_objects(record) == []
    assert len(asked) == 1


@pytest.mark.parametrize("traces", [True, False])
def test_a_git_that_is_too_old_is_refused(tmp_path, monkeypatch, traces):
    program = tmp_path / "git"
    trace = '{"event":"version","evt":"3","exe":"2.30.1"}'
    program.write_text(f"""#!/bin/sh
case $1 in version) echo git version 2.30.1;; *) {f"echo '{trace}' >&2" if traces else "exit 129"};; esac
""")
    program.chmod(0o755)
    monkeypatch.setattr(call, "environment", lambda more=None: {"PATH": str(tmp_path), **(more or {})})
    call.require_git.cache_clear()
    with pytest.raises(PreconditionError) as raised:
        git.discover(tmp_path)
    assert (raised.value.code, raised.value.details["found"]) == ("git-too-old", "2.30.1")
    program.unlink()
    with pytest.raises(PreconditionError) as raised:
        git.discover(tmp_path)
    assert raised.value.code == "no-git"
    call.require_git.cache_clear()


def test_the_words_of_git_stay_without_its_trace(tmp_path):
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    with pytest.raises(PreconditionError) as raised:
        git.discover(tmp_path)
    assert "event" not in raised.value.message
