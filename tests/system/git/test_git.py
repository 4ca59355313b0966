"""git: repositories, refs, snapshots, checkouts, their state. Everything against real repositories."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testgrove.errors import PreconditionError, TestgroveError, UnavailableError
from testgrove.system import git
from testgrove.system.processes import process

AWKWARD = (
    "plain",
    "with space",
    "qu'ote\"s",
    "ünï-čödé",
    "new\nline",
    "tab\t*?[x]",
    "-dash",
    b"\xff\xfe".decode(errors="surrogateescape"),
)


def run_git(where: Path, *words: str, check: bool = True) -> str:
    """git as a person runs it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    words = (
        "-c",
        "user.name=A Person",
        "-c",
        "user.email=person@example.org",
        "-c",
        "protocol.file.allow=always",
        *words,
    )
    done = subprocess.run(["git", *words], cwd=where, env=env, capture_output=True, check=False)
    assert not check or done.returncode == 0, done.stderr.decode(errors="replace")
    return os.fsdecode(done.stdout).strip("\n")


def commit_all(where: Path, message: str = "a change") -> str:
    run_git(where, "add", "-A")
    run_git(where, "commit", "-q", "--allow-empty", "-m", message)
    return run_git(where, "rev-parse", "HEAD")


def make_repository(path: Path) -> Path:
    path.mkdir(parents=True)
    run_git(path, "init", "-q", "-b", "main")
    (path / "src").mkdir()
    (path / "src" / "code.py").write_text("x = 1\n")
    (path / "README").write_text("hello\n")
    (path / ".gitignore").write_text("*.ignored\n/build/\n")
    commit_all(path, "first")
    return path


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "project")


@pytest.fixture
def repository(top: Path) -> git.Repository:
    return git.discover(top)


def head(path: Path) -> str:
    return run_git(path, "rev-parse", "HEAD")


def files_of(where: Path, commit: str) -> set[str]:
    return {name for name in run_git(where, "ls-tree", "-r", "-z", "--name-only", commit).split("\0") if name}


def content(where: Path, commit: str, name: str) -> str:
    return run_git(where, "cat-file", "blob", f"{commit}:{name}")


def make_checkout(repository: git.Repository, path: Path, ref: str = "HEAD", **options: str) -> Path:
    commit = git.resolve(repository, ref).commit
    git.add_checkout(repository, path, commit, **options)
    git.populate(path, commit)
    return path


def state(top: Path) -> tuple[bytes, str, str]:
    """What a snapshot must not change: the index, the refs, the status."""
    index = (top / ".git" / "index").read_bytes()
    return index, run_git(top, "for-each-ref"), run_git(top, "--no-optional-locks", "status", "--porcelain=v2")


# discover


def test_discover_finds_the_same_repository_from_every_place_in_it(top: Path, tmp_path: Path) -> None:
    run_git(top, "worktree", "add", "-q", str(tmp_path / "other"))
    expected = top.resolve()
    for place in (top, top / "src"):
        assert git.discover(place) == git.Repository(common_dir=expected / ".git", toplevel=expected, main=expected)
    found = git.discover(tmp_path / "other")
    assert (found.common_dir, found.toplevel, found.main) == (expected / ".git", tmp_path / "other", expected)


@pytest.mark.parametrize("name", [name for name in AWKWARD if name != "-dash"])
def test_discover_copes_with_awkward_folder_names(tmp_path: Path, name: str) -> None:
    top = make_repository(tmp_path / name)
    run_git(top, "worktree", "add", "-q", "../other")
    assert git.discover(top).toplevel == top
    assert git.discover(tmp_path / "other").main == top


def test_discover_through_a_link_gives_the_real_path(top: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(top)
    assert git.discover(tmp_path / "link").toplevel == top.resolve()


def test_discover_with_a_separate_git_dir_and_as_a_submodule(top: Path, tmp_path: Path) -> None:
    (tmp_path / "separate").mkdir()
    run_git(tmp_path / "separate", "init", "-q", "--separate-git-dir", str(tmp_path / "elsewhere"))
    commit_all(tmp_path / "separate")
    assert git.discover(tmp_path / "separate").main == tmp_path / "separate"
    outer = make_repository(tmp_path / "outer")
    run_git(outer, "submodule", "add", "-q", str(top), "lib")
    run_git(outer / "lib", "worktree", "add", "-q", str(tmp_path / "lib-other"))
    assert git.discover(outer / "lib").main == outer / "lib"
    assert git.discover(tmp_path / "lib-other").main == outer / "lib"


def test_discover_takes_the_first_checkout_of_a_bare_repository_as_the_main_one(top: Path, tmp_path: Path) -> None:
    run_git(tmp_path, "clone", "-q", "--bare", str(top), "bare")
    run_git(tmp_path / "bare", "worktree", "add", "-q", str(tmp_path / "b-main"), "main")
    run_git(tmp_path / "bare", "worktree", "add", "-q", "--lock", "--reason", "testgrove", str(tmp_path / "a-ours"))
    assert git.discover(tmp_path / "b-main").main == tmp_path / "b-main"
    assert git.discover(tmp_path / "a-ours").main == tmp_path / "b-main"


def test_discover_says_what_is_wrong(top: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "unborn").mkdir()
    run_git(tmp_path / "unborn", "init", "-q")
    run_git(tmp_path, "clone", "-q", "--bare", str(top), "bare")
    (tmp_path / "broken" / ".git").mkdir(parents=True)
    (tmp_path / "broken" / ".git" / "HEAD").write_text("nonsense")
    for name, code in (
        ("nothing", "no-repository"),
        ("unborn", "no-commit"),
        ("bare", "bare-repository"),
        ("missing", "no-directory"),
        ("project/.git", "no-repository"),
        ("broken", "git-refused"),
    ):
        with pytest.raises(PreconditionError) as caught:
            git.discover(tmp_path / name)
        assert caught.value.code == code, name
        assert str(tmp_path / name) in caught.value.message
        assert caught.value.hint


def test_discover_names_an_extension_that_git_does_not_know(top: Path) -> None:
    run_git(top, "config", "core.repositoryFormatVersion", "1")
    run_git(top, "config", "extensions.fromTheFuture", "1")
    with pytest.raises(PreconditionError, match="unknown repository extension found: fromthefuture"):
        git.discover(top)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a repository of somebody else")
def test_discover_shows_that_git_refuses_somebody_elses_repository(top: Path) -> None:
    for path in (top, top / ".git"):
        os.chown(path, 65534, 65534)
    with pytest.raises(PreconditionError) as caught:
        git.discover(top)
    assert caught.value.code == "git-refused"


def test_an_inherited_git_dir_is_not_followed(top: Path, tmp_path: Path) -> None:
    other = make_repository(tmp_path / "other")
    script = (
        f"from pathlib import Path; from testgrove.system import git; print(git.discover(Path({str(top)!r})).toplevel)"
    )
    env = os.environ | {"GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other), "GIT_INDEX_FILE": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(top)


# resolve


def test_resolve_understands_every_kind_of_ref(top: Path, tmp_path: Path) -> None:
    first = head(top)
    run_git(top, "tag", "v1")
    run_git(top, "tag", "-a", "-m", "annotated", "v2")
    run_git(top, "branch", "feature/x")
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "-q", str(top), "clone")
    repository = git.discover(clone)
    second = commit_all(clone)
    for ref, expected in {
        "main": (second, "main", None), "refs/heads/main": (second, "main", None), "HEAD": (second, None, None),
        "feature/x": (first, None, "origin/feature/x"), "origin/feature/x": (first, None, "origin/feature/x"),
        "v1": (first, None, None), "v2": (first, None, None), first: (first, None, None),
        first[:8]: (first, None, None),
        "HEAD~1": (first, None, None), "refs/tags/v1": (first, None, None),
    }.items():  # fmt: skip
        assert git.resolve(repository, ref) == git.Resolved(*expected), ref


def test_resolve_prefers_a_branch_to_a_tag_of_its_name(top: Path, repository: git.Repository) -> None:
    first = head(top)
    run_git(top, "tag", "twin")
    second = commit_all(top)
    run_git(top, "branch", "twin")
    assert git.resolve(repository, "twin") == git.Resolved(second, "twin")
    run_git(top, "branch", first[:10])
    assert git.resolve(repository, first[:10]).branch == first[:10]


def test_resolve_asks_which_remote_is_meant(top: Path, repository: git.Repository) -> None:
    first = head(top)
    for remote in ("one", "two"):
        run_git(top, "update-ref", f"refs/remotes/{remote}/topic", first)
    with pytest.raises(PreconditionError) as caught:
        git.resolve(repository, "topic")
    assert caught.value.code == "ambiguous-ref"
    run_git(top, "update-ref", "refs/remotes/origin/topic", first)
    assert git.resolve(repository, "topic").remote == "origin/topic"


@pytest.mark.parametrize(
    "ref",
    ["", "--upload-pack=touch /tmp/x", "-h", "main\n", "a b", "@{-1}", "@{upstream}", "main..HEAD", "main...HEAD",
     "HEAD:README", "HEAD^{tree}", "*", "refs/heads/*", "nope", "0" * 40, "HEAD^!", "^HEAD", ":/first", "x" * 5000,
     "\x00", "a\\b", "ünknown", "HEAD@{0}"],
)  # fmt: skip
def test_resolve_refuses_what_names_no_commit(top: Path, repository: git.Repository, ref: str) -> None:
    run_git(top, "switch", "-q", "-c", "earlier")
    run_git(top, "switch", "-q", "main")
    with pytest.raises(PreconditionError) as caught:
        git.resolve(repository, ref)
    assert caught.value.code == "unknown-ref"
    assert "git branch -a" in caught.value.hint


def test_resolve_names_near_matches(top: Path, repository: git.Repository) -> None:
    run_git(top, "branch", "feature/rest-api")
    with pytest.raises(PreconditionError) as caught:
        git.resolve(repository, "feature/restapi")
    assert "feature/rest-api" in caught.value.hint


# small facts


def test_tracked_and_listed_files(top: Path, repository: git.Repository) -> None:
    (top / "new [x].txt").write_text("")
    (top / "x.ignored").write_text("")
    assert git.tracked_at(repository, "HEAD", [".env.test", "README", "READM?", "src"]) == ["README", "src"]
    assert git.tracked_at(repository, "HEAD", ["READM?"]) == []
    assert set(git.listed_files(top)) == {"README", "src/code.py", ".gitignore", "new [x].txt"}
    assert git.tree_of(repository, "HEAD") == run_git(top, "rev-parse", "HEAD^{tree}")


@pytest.mark.parametrize("there", [b"", b"# mine\n/keep", b"/keep\r\n", None])
def test_exclude_adds_lines_once_and_keeps_what_is_there(
    top: Path, repository: git.Repository, there: bytes | None
) -> None:
    path = top / ".git" / "info" / "exclude"
    shutil.rmtree(path.parent)
    if there is not None:
        path.parent.mkdir()
        path.write_bytes(there)
        path.chmod(0o640)
    for _ in range(2):
        git.exclude(repository, (".env.test", "/test-artifacts/", "odd [name]"))
    data = path.read_bytes()
    assert data.startswith(there or b"")
    assert data.count(b"/.env.test\n") == data.count(b"/test-artifacts/\n") == 1
    assert there is None or path.stat().st_mode & 0o777 == 0o640
    for name in (".env.test", "odd [name]", *(["keep"] if there else [])):
        (top / name).write_text("")
    (top / "test-artifacts").mkdir()
    (top / "test-artifacts" / "x").write_text("")
    (top / "src" / ".env.test").write_text("")
    assert run_git(top, "status", "--porcelain", "-uall") == "?? src/.env.test"


def test_exclude_by_many_at_once_loses_no_line(repository: git.Repository) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: git.exclude(repository, (f"name-{n}", "shared")), range(24)))
    lines = (repository.common_dir / "info" / "exclude").read_text().splitlines()
    assert lines.count("/shared") == 1
    assert {f"/name-{n}" for n in range(24)} <= set(lines)


# snapshot


def test_snapshot_of_a_clean_tree_is_head(top: Path, repository: git.Repository) -> None:
    (top / "x.ignored").write_text("")
    assert git.snapshot(repository) == git.Snapshot(head(top), run_git(top, "rev-parse", "HEAD^{tree}"))


def test_snapshot_holds_changes_deletions_and_new_files_and_touches_nothing(
    top: Path, repository: git.Repository
) -> None:
    (top / "src" / "code.py").write_text("x = 2\n")
    (top / "README").unlink()
    (top / "x.ignored").write_text("")
    (top / "staged").write_text("staged\n")
    run_git(top, "add", "staged")
    (top / "staged").write_text("and changed again\n")
    for name in AWKWARD:
        (top / name).write_text("new")
    before = state(top)
    taken = git.snapshot(repository)
    assert state(top) == before
    assert files_of(top, taken.commit) == {".gitignore", "src/code.py", "staged", *AWKWARD}
    assert content(top, taken.commit, "src/code.py") == "x = 2"
    assert content(top, taken.commit, "staged") == "and changed again"
    assert (taken.modified, taken.untracked, taken.nested) == (3, len(AWKWARD), ())
    assert run_git(top, "rev-parse", f"{taken.commit}^") == head(top)
    assert taken.tree == run_git(top, "rev-parse", f"{taken.commit}^{{tree}}")
    assert run_git(top, "branch", "-a", "--contains", taken.commit) == ""
    assert not (top / ".git" / "testgrove-index").exists()


def test_snapshots_of_equal_trees_are_one_commit_whoever_takes_them(
    top: Path, repository: git.Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "README").write_text("changed\n")
    first = git.snapshot(repository)
    run_git(top, "config", "user.name", "Somebody Else")
    run_git(top, "config", "commit.gpgSign", "true")
    run_git(top, "config", "i18n.commitEncoding", "latin-1")
    assert git.snapshot(repository) == first
    (top / "README").write_text("hello\n")
    assert git.snapshot(repository).commit == head(top)


def test_snapshot_sees_a_change_of_the_same_size_right_after_the_index_was_written(
    top: Path, repository: git.Repository
) -> None:
    # The index's own time says which entries git must look at again.
    path = top / "README"
    for text in ("aaaaa\n", "bbbbb\n", "ccccc\n"):
        path.write_text(text)
        run_git(top, "add", "README")
        path.write_text(text.upper())
        stamp = (top / ".git" / "index").stat().st_mtime_ns
        os.utime(path, ns=(stamp, stamp))
        run_git(top, "config", "core.trustctime", "false")
        assert content(top, git.snapshot(repository).commit, "README") == text.upper().strip()


def test_snapshot_during_a_merge_conflict_holds_the_files_as_they_are(top: Path, repository: git.Repository) -> None:
    run_git(top, "switch", "-q", "-c", "other")
    (top / "README").write_text("theirs\n")
    commit_all(top)
    run_git(top, "switch", "-q", "main")
    (top / "README").write_text("ours\n")
    commit_all(top)
    run_git(top, "merge", "other", check=False)
    (top / "promised").write_text("intent to add\n")
    run_git(top, "add", "--intent-to-add", "promised")
    before = state(top)
    taken = git.snapshot(repository)
    assert state(top) == before
    assert "<<<<<<<" in content(top, taken.commit, "README")
    assert "promised" in files_of(top, taken.commit)


def test_snapshot_with_a_split_index(top: Path, repository: git.Repository) -> None:
    run_git(top, "config", "core.splitIndex", "true")
    run_git(top, "update-index", "--split-index")
    (top / "README").write_text("changed\n")
    before = state(top)
    assert content(top, git.snapshot(repository).commit, "README") == "changed"
    assert state(top) == before


def test_snapshot_of_a_sparse_checkout_keeps_what_is_left_out(top: Path, repository: git.Repository) -> None:
    (top / "big").mkdir()
    (top / "big" / "file").write_text("1\n")
    commit_all(top)
    run_git(top, "sparse-checkout", "set", "src")
    assert not (top / "big").exists()
    (top / "src" / "new.py").write_text("")
    before = state(top)
    taken = git.snapshot(repository)
    assert state(top) == before
    assert files_of(top, taken.commit) == {".gitignore", "README", "src/code.py", "src/new.py", "big/file"}


def test_snapshot_names_nested_repositories_and_leaves_them_out(top: Path, repository: git.Repository) -> None:
    for name in ("empty nest", "nest"):
        (top / name).mkdir()
        run_git(top / name, "init", "-q")
    (top / "nest" / "file").write_text("")
    commit_all(top / "nest")
    assert git.snapshot(repository)[2:] == (0, 0, ("empty nest/", "nest/"))
    (top / "new").write_text("")
    taken = git.snapshot(repository)
    assert (taken.untracked, taken.nested) == (1, ("empty nest/", "nest/"))
    assert files_of(top, taken.commit) == {".gitignore", "README", "src/code.py", "new"}


def test_snapshot_names_a_submodule_with_changes_of_its_own(top: Path, tmp_path: Path) -> None:
    outer = make_repository(tmp_path / "outer")
    run_git(outer, "submodule", "add", "-q", str(top), "my lib")
    commit_all(outer)
    repository = git.discover(outer)
    assert git.snapshot(repository).nested == ()
    (outer / "my lib" / "README").write_text("dirty\n")
    taken = git.snapshot(repository)
    assert (taken.commit, taken.nested) == (head(outer), ("my lib",))
    inner = commit_all(outer / "my lib")
    taken = git.snapshot(repository)
    assert taken.nested == ()
    assert inner in run_git(outer, "ls-tree", taken.commit, "my lib")


def test_snapshot_inside_a_linked_checkout(top: Path, tmp_path: Path) -> None:
    run_git(top, "worktree", "add", "-q", str(tmp_path / "other"))
    (tmp_path / "other" / "new").write_text("")
    index = (top / ".git" / "index").read_bytes()
    assert "new" in files_of(top, git.snapshot(git.discover(tmp_path / "other")).commit)
    assert git.snapshot(git.discover(top)).commit == head(top)
    assert (top / ".git" / "index").read_bytes() == index


def test_snapshot_runs_none_of_the_users_hooks(top: Path, repository: git.Repository) -> None:
    for name in ("post-index-change", "reference-transaction", "post-checkout"):
        hook = top / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {top}/hook-ran.ignored\nexit 1\n")
        hook.chmod(0o755)
    (top / "README").write_text("changed\n")
    git.snapshot(repository)
    assert not (top / "hook-ran.ignored").exists()


def test_snapshot_while_files_change_is_whole_or_an_expected_error(top: Path, repository: git.Repository) -> None:
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            (top / "busy").write_text("y" * (n % 5000))
            (top / f"flicker-{n % 3}").write_text("z")
            (top / f"flicker-{(n + 1) % 3}").unlink(missing_ok=True)

    writer = threading.Thread(target=write)
    codes: set[str] = set()
    writer.start()
    try:
        for _ in range(8):
            try:
                commit = git.snapshot(repository).commit
            except PreconditionError as error:
                codes.add(error.code)
            else:
                assert "README" in files_of(top, commit)
    finally:
        stop.set()
        writer.join()
    assert codes <= {"snapshot-failed"}


def test_two_snapshots_at_once_agree(top: Path, repository: git.Repository) -> None:
    (top / "README").write_text("changed\n")
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: git.snapshot(repository), range(8)))) == 1


def test_snapshot_survives_what_a_killed_one_left(top: Path, repository: git.Repository) -> None:
    (top / ".git" / "testgrove-index").write_bytes(b"half an ind")
    (top / ".git" / "testgrove-index.lock").write_bytes(b"")
    (top / "README").write_text("changed\n")
    assert content(top, git.snapshot(repository).commit, "README") == "changed"


def test_snapshot_leaves_no_lock_when_git_is_killed(top: Path, repository: git.Repository) -> None:
    run_git(top, "config", "filter.killer.clean", "kill -9 $PPID; cat")
    (top / ".gitattributes").write_text("README filter=killer\n")
    (top / "README").write_text("changed\n")
    with pytest.raises(TestgroveError):
        git.snapshot(repository)
    left = [path.name for path in (top / ".git").glob("testgrove-index*")]
    assert left == ["testgrove-index.guard"]  # what others wait at stays


# checkouts


@pytest.mark.parametrize("name", AWKWARD)
def test_a_checkout_has_the_commits_files(repository: git.Repository, tmp_path: Path, name: str) -> None:
    path = make_checkout(repository, tmp_path / "trees" / name)
    assert (path / "src" / "code.py").read_text() == "x = 1\n"
    assert run_git(path, "status", "--porcelain") == ""
    record = next(r for r in git.checkouts(repository) if r.path == path)
    assert (record.head, record.branch, record.locked) == (head(repository.toplevel), None, "testgrove")
    moved = path.rename(tmp_path / "trash")
    git.remove_checkout(repository, path)
    assert [r.path for r in git.checkouts(repository)] == [repository.toplevel]
    assert moved.exists()


def test_a_branch_that_is_free_is_checked_out_and_one_that_is_taken_is_not(
    top: Path, repository: git.Repository, tmp_path: Path
) -> None:
    commit = head(top)
    run_git(top, "branch", "free")
    assert git.add_checkout(repository, tmp_path / "a", commit, branch="main") is True
    assert git.add_checkout(repository, tmp_path / "b", commit, branch="free") is False
    assert git.add_checkout(repository, tmp_path / "c", commit, branch="free") is True
    branches = {record.path.name: record.branch for record in git.checkouts(repository)}
    assert branches == {"project": "main", "a": None, "b": "free", "c": None}


def test_a_branch_that_moved_on_is_left_alone(top: Path, repository: git.Repository, tmp_path: Path) -> None:
    first = head(top)
    run_git(top, "branch", "moving")
    run_git(top, "switch", "-q", "moving")
    second = commit_all(top)
    run_git(top, "switch", "-q", "main")
    assert git.add_checkout(repository, tmp_path / "a", first, branch="moving") is True
    git.populate(tmp_path / "a", first)
    assert head(tmp_path / "a") == first
    assert run_git(top, "rev-parse", "moving") == second


def test_filling_a_checkout_never_moves_its_branch(top: Path, repository: git.Repository, tmp_path: Path) -> None:
    first = head(top)
    run_git(top, "branch", "moving")
    git.add_checkout(repository, tmp_path / "a", first, branch="moving")
    second = run_git(top, "commit-tree", "-m", "moved", "-p", first, f"{first}^{{tree}}")
    run_git(top, "update-ref", "refs/heads/moving", second)
    git.populate(tmp_path / "a", first)
    assert run_git(top, "rev-parse", "moving") == second


def test_a_branch_that_is_being_rebased_somewhere_is_checked_out_detached(
    top: Path, repository: git.Repository, tmp_path: Path
) -> None:
    run_git(top, "switch", "-q", "-c", "busy")
    (top / "README").write_text("busy\n")
    tip = commit_all(top)
    run_git(top, "switch", "-q", "main")
    (top / "README").write_text("main\n")
    commit_all(top)
    run_git(top, "switch", "-q", "busy")
    run_git(top, "rebase", "main", check=False)
    assert git.add_checkout(repository, tmp_path / "a", tip, branch="busy") is True
    assert len(list((top / ".git" / "worktrees").iterdir())) == 1


def test_a_new_branch_is_made_without_upstream(top: Path, repository: git.Repository, tmp_path: Path) -> None:
    run_git(top, "config", "branch.autoSetupMerge", "always")
    commit = head(top)
    assert git.add_checkout(repository, tmp_path / "a", commit, new_branch="feature/new") is False
    assert run_git(tmp_path / "a", "symbolic-ref", "HEAD") == "refs/heads/feature/new"
    assert run_git(top, "config", "--get-regexp", "^branch[.]feature", check=False) == ""


@pytest.mark.parametrize(
    ("name", "code"),
    [("main", "branch-exists"), ("main/sub", "branch-exists"), ("-x", "invalid-branch"), ("a..b", "invalid-branch"),
     ("HEAD", "invalid-branch"), ("a b", "invalid-branch"), ("x.lock", "invalid-branch"), ("@{-1}", "invalid-branch")],
)  # fmt: skip
def test_a_new_branch_that_cannot_be_leaves_nothing(
    top: Path, repository: git.Repository, tmp_path: Path, name: str, code: str
) -> None:
    before = run_git(top, "for-each-ref")
    with pytest.raises(PreconditionError) as caught:
        git.add_checkout(repository, tmp_path / "a", head(top), new_branch=name)
    assert caught.value.code == code
    assert run_git(top, "for-each-ref") == before
    assert len(git.checkouts(repository)) == 1
    assert not (tmp_path / "a").exists()


def test_a_folder_that_is_there_is_refused(repository: git.Repository, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("taken", "dangling"):
        with pytest.raises(PreconditionError) as caught:
            git.add_checkout(repository, tmp_path / name, "HEAD")
        assert caught.value.code == "path-exists"
    path = make_checkout(repository, tmp_path / "gone")
    shutil.rmtree(path)
    with pytest.raises(PreconditionError) as caught:
        git.add_checkout(repository, path, "HEAD")
    assert caught.value.code == "checkout-exists"


def test_eight_checkouts_at_once_five_times_never_fail(top: Path, repository: git.Repository, tmp_path: Path) -> None:
    waited: list[str] = []
    for turn in range(5):
        paths = [tmp_path / f"t{turn}-{n}" for n in range(8)]

        def create(path: Path) -> bool:
            commit = git.resolve(repository, "main").commit
            detached = git.add_checkout(repository, path, commit, branch="main", on_wait=waited.append)
            git.populate(path, commit)
            return detached

        def remove(path: Path) -> None:
            shutil.move(path, path.with_name(path.name + ".trash"))
            git.remove_checkout(repository, path)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(create, paths))
            assert all((path / "src" / "code.py").exists() for path in paths)
            list(pool.map(remove, paths))
        assert [r.path for r in git.checkouts(repository)] == [top]
    assert waited
    assert "git lock" in waited[0]


def test_hooks_and_settings_of_the_user_do_not_break_a_checkout(
    top: Path, repository: git.Repository, tmp_path: Path
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    for key, value in (("core.hooksPath", str(hooks)), ("core.fsmonitor", "/nowhere"), ("worktree.guessRemote", "true"),
                       ("submodule.recurse", "true"), ("checkout.guess", "false"), ("color.ui", "always"),
                       ("status.showUntrackedFiles", "no"), ("log.showSignature", "true")):  # fmt: skip
        run_git(top, "config", key, value)
    first = head(top)
    (top / "README").write_text("later\n")
    second = run_git(top, "-c", "core.hooksPath=/dev/null", "commit", "-qam", "later") or head(top)
    path = make_checkout(repository, tmp_path / "a", "main")
    git.retarget(path, first)
    git.retarget(path, second)
    (path / "untracked").write_text("")
    assert git.status(path).untracked == ("untracked",)
    assert git.snapshot(git.discover(path)).untracked == 1


def test_lfs_files_are_not_fetched(top: Path, repository: git.Repository, tmp_path: Path) -> None:
    run_git(top, "config", "filter.probe.smudge", "sh -c 'cat; echo \"skip=$GIT_LFS_SKIP_SMUDGE\"'")
    (top / ".gitattributes").write_text("*.bin filter=probe\n")
    (top / "a.bin").write_text("pointer\n")
    commit_all(top)
    assert "skip=1" in (make_checkout(repository, tmp_path / "a") / "a.bin").read_text()


def test_submodules_come_along_also_at_a_commit_that_nobody_pushed(top: Path, tmp_path: Path) -> None:
    outer = make_repository(tmp_path / "outer")
    run_git(outer, "submodule", "add", "-q", f"file://{top}", "my lib")
    commit_all(outer)
    (outer / "my lib" / "local").write_text("not pushed\n")
    commit_all(outer / "my lib")
    repository = git.discover(outer)
    taken = git.snapshot(repository)
    top.rename(tmp_path / "moved away")  # as if there were no network
    path = tmp_path / "a"
    git.add_checkout(repository, path, taken.commit)
    git.populate(path, taken.commit)
    assert (path / "my lib" / "local").read_text() == "not pushed\n"
    assert git.status(path) == git.CheckoutStatus(submodules=("my lib",))
    assert run_git(path / "my lib", "config", "remote.origin.url") == f"file://{top}"
    (path / "my lib" / "__pycache__").mkdir()
    (path / "my lib" / "__pycache__" / "x.pyc").write_text("")
    assert git.status(path) == git.CheckoutStatus(untracked=("my lib/__pycache__/x.pyc",), submodules=("my lib",))
    git.retarget(path, head(outer))
    assert not (path / "my lib" / "local").exists()
    assert git.status(path) == git.CheckoutStatus(submodules=("my lib",))
    (path / "my lib" / "README").write_text("dirty\n")
    assert git.status(path).modified == ("my lib", "my lib/README")
    path.rename(tmp_path / "trash")
    git.remove_checkout(repository, path)
    assert len(git.checkouts(repository)) == 1


def test_submodules_in_eight_checkouts_at_once(top: Path, tmp_path: Path) -> None:
    outer = make_repository(tmp_path / "outer")
    run_git(outer, "submodule", "add", "-q", str(top), "lib")
    commit_all(outer)
    repository = git.discover(outer)
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda n: make_checkout(repository, tmp_path / f"w{n}"), range(8)))
    assert all((path / "lib" / "README").exists() for path in paths)


def test_a_submodule_that_cannot_be_had_is_a_clear_error(top: Path, tmp_path: Path) -> None:
    outer = make_repository(tmp_path / "outer")
    run_git(outer, "submodule", "add", "-q", str(top), "lib")
    commit_all(outer)
    run_git(tmp_path, "clone", "-q", str(outer), "clone")
    top.rename(tmp_path / "moved away")
    with pytest.raises(UnavailableError) as caught:
        make_checkout(git.discover(tmp_path / "clone"), tmp_path / "a")
    assert caught.value.code == "submodules-failed"


# recycling


def test_retarget_leaves_nothing_but_the_environment(top: Path, repository: git.Repository, tmp_path: Path) -> None:
    path = make_checkout(repository, tmp_path / "a")
    (top / "README").write_text("second\n")
    (top / "src" / "code.py").unlink()
    second = commit_all(top)
    for name in (".venv/lib/x.pyc", "src/__pycache__/code.pyc", "build/out", "notes.ignored", "sub/.venv/y"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("")
    (path / "README").write_text("changed\n")
    run_git(path, "add", "README")
    (path / "nest").mkdir()
    run_git(path / "nest", "init", "-q")
    git.retarget(path, second)
    found = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}
    assert found == {".git", ".gitignore", "README", ".venv/lib/x.pyc"}
    assert (path / "README").read_text() == "second\n"
    assert head(path) == second
    assert run_git(path, "symbolic-ref", "-q", "HEAD", check=False) == ""


def test_retarget_begins_the_reflog_anew_and_only_its_own(
    top: Path, repository: git.Repository, tmp_path: Path
) -> None:
    path = make_checkout(repository, tmp_path / "a")
    other = make_checkout(repository, tmp_path / "b")
    (top / "README").write_text("snapshot\n")
    taken = git.snapshot(repository)
    for place in (path, other):
        git.retarget(place, taken.commit)
    run_git(other, "commit", "-q", "--allow-empty", "-m", "of the user")
    logs = run_git(top, "reflog", "show", "main"), run_git(other, "reflog")
    git.retarget(path, head(top))
    assert (run_git(top, "reflog", "show", "main"), run_git(other, "reflog")) == logs
    assert foreign(path) == []


def test_retarget_takes_over_from_a_branch_without_moving_it(
    top: Path, repository: git.Repository, tmp_path: Path
) -> None:
    first = head(top)
    path = make_checkout(repository, tmp_path / "a", new_branch="kept")
    second = commit_all(top)
    git.detach(path)
    assert (head(path), run_git(path, "symbolic-ref", "-q", "HEAD", check=False)) == (first, "")
    run_git(top, "branch", "-D", "kept")
    git.retarget(path, second)
    assert head(path) == second


def test_detach_leaves_a_conflicted_index_as_it_is(top: Path, repository: git.Repository, tmp_path: Path) -> None:
    path = make_checkout(repository, tmp_path / "a", new_branch="one")
    (path / "README").write_text("one\n")
    commit_all(path)
    (top / "README").write_text("two\n")
    commit_all(top)
    run_git(path, "merge", "main", check=False)
    before = git.status(path)
    assert before.unmerged == ("README",)
    assert before.operation == "a merge"
    git.detach(path)
    assert git.status(path) == before


# removal


def test_remove_checkout_refuses_while_the_checkout_is_there(repository: git.Repository, tmp_path: Path) -> None:
    path = make_checkout(repository, tmp_path / "a")
    with pytest.raises(PreconditionError) as caught:
        git.remove_checkout(repository, path)
    assert caught.value.code == "checkout-in-place"
    assert (path / "README").exists()


def test_remove_checkout_leaves_a_folder_that_somebody_put_there(repository: git.Repository, tmp_path: Path) -> None:
    path = make_checkout(repository, tmp_path / "a")
    shutil.rmtree(path)
    other = make_repository(path)
    git.remove_checkout(repository, path)
    assert (other / "README").exists()
    assert len(git.checkouts(repository)) == 1


def test_remove_checkout_again_and_after_the_repository_is_gone(repository: git.Repository, tmp_path: Path) -> None:
    path = make_checkout(repository, tmp_path / "a")
    path.rename(tmp_path / "trash")
    git.remove_checkout(repository, path)
    git.remove_checkout(repository, path)
    shutil.rmtree(repository.toplevel)
    git.remove_checkout(repository, path)
    assert git.delete_branch_if_at(repository, "main", "0" * 40)
    assert not repository.common_dir.exists()


def test_remove_checkout_keeps_the_records_of_checkouts_that_are_not_mounted(
    top: Path, repository: git.Repository, tmp_path: Path
) -> None:
    run_git(top, "worktree", "add", "-q", str(tmp_path / "users"))
    (tmp_path / "users").rename(tmp_path / "unplugged")
    path = make_checkout(repository, tmp_path / "a")
    path.rename(tmp_path / "trash")
    git.remove_checkout(repository, path)
    (tmp_path / "unplugged").rename(tmp_path / "users")
    assert run_git(tmp_path / "users", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "kept", [(), ("locked",), ("locked", "gitdir"), ("locked", "gitdir", "HEAD"), ("locked", "gitdir", "commondir")]
)
@pytest.mark.parametrize("folder", ["gone", "empty"])
def test_a_checkout_whose_making_was_killed_is_removed(
    top: Path, repository: git.Repository, tmp_path: Path, kept: tuple[str, ...], folder: str
) -> None:
    neighbour = make_checkout(repository, tmp_path / "elsewhere" / "a")
    run_git(top, "worktree", "add", "-q", str(tmp_path / "users" / "a"))
    path = make_checkout(repository, tmp_path / "a")
    record = Path(run_git(path, "rev-parse", "--absolute-git-dir"))
    for file in record.iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name not in kept:
            file.unlink()
    shutil.rmtree(path)
    if folder == "empty":
        path.mkdir()
    git.remove_checkout(repository, path)
    assert not record.exists()
    assert not path.exists() or "gitdir" not in kept
    assert [r.path for r in git.checkouts(repository)][1:] == [neighbour, tmp_path / "users" / "a"]
    make_checkout(repository, path)


def test_a_record_that_git_is_writing_at_that_moment_is_waited_for(
    top: Path, repository: git.Repository, tmp_path: Path
) -> None:
    run_git(top, "worktree", "add", "-q", "--detach", str(tmp_path / "users"))
    written = top / ".git/worktrees/users/commondir"
    content = written.read_bytes()
    written.write_bytes(b"")
    later = threading.Timer(0.05, written.write_bytes, [content])
    later.start()
    assert tmp_path / "users" in [record.path for record in git.checkouts(repository)]
    later.join()


def test_a_record_without_a_commondir_is_barely_made_only_where_nothing_was_committed(
    top: Path, tmp_path: Path
) -> None:
    run_git(top, "worktree", "add", "-q", "--detach", str(tmp_path / "users"))
    record = top / ".git/worktrees/users"
    assert not git.is_barely_made(record)
    (record / "commondir").write_bytes(b"")
    assert not git.is_barely_made(record)
    (record / "index").unlink()
    shutil.rmtree(record / "logs")
    assert git.is_barely_made(record)
    (record / "commondir").write_text("../..\n")
    assert not git.is_barely_made(record)
    (record / "HEAD").write_text("0" * 40 + "\n")  # as git writes it first
    assert git.is_barely_made(record)


def test_worktree_add_killed_at_any_moment_is_removed(top: Path, repository: git.Repository, tmp_path: Path) -> None:
    words = ["git", "worktree", "add", "-q", "--no-checkout", "--detach", "--lock", "--reason", "testgrove"]
    path = tmp_path / "a"
    for step in range(12):
        add = [*words, str(path), "HEAD"]
        with subprocess.Popen(add, cwd=top, stderr=subprocess.DEVNULL, start_new_session=True) as child:
            try:
                child.wait(0.0005 * step)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)  # git has children of its own, which would go on
        if path.exists():
            path.rename(tmp_path / f"trash-{step}")
        git.remove_checkout(repository, path)
        assert [str(p) for p in (top / ".git").glob("worktrees/**/*")] == []


def test_a_branch_is_deleted_only_where_it_was_made(top: Path, repository: git.Repository, tmp_path: Path) -> None:
    commit = head(top)
    git.add_checkout(repository, tmp_path / "a", commit, new_branch="ours")
    assert git.delete_branch_if_at(repository, "ours", commit)
    (tmp_path / "a").rename(tmp_path / "trash")
    git.remove_checkout(repository, tmp_path / "a")
    git.create_branch(repository, "moved", commit)
    git.create_branch(repository, "in-use", commit)
    run_git(top, "switch", "-q", "moved")
    commit_all(top)
    run_git(top, "switch", "-q", "in-use")
    assert not git.delete_branch_if_at(repository, "moved", commit)
    assert not git.delete_branch_if_at(repository, "in-use", commit)
    assert git.delete_branch_if_at(repository, "never-was", commit)
    assert run_git(top, "branch", "--format=%(refname:short)").split() == ["in-use", "main", "moved"]


# status and commits


def test_status_tells_every_kind_of_difference(top: Path, repository: git.Repository, tmp_path: Path) -> None:
    for name in ("gone", "staged", "both", "overlooked"):
        (top / name).write_text("1\n")
    commit_all(top)
    path = make_checkout(repository, tmp_path / "a")
    assert git.status(path) == git.CheckoutStatus()
    (path / "README").write_text("changed\n")
    (path / "gone").unlink()
    for name in ("staged", "both"):
        (path / name).write_text("2\n")
        run_git(path, "add", name)
    (path / "both").write_text("3\n")
    run_git(path, "update-index", "--assume-unchanged", "overlooked")
    (path / "overlooked").write_text("edited\n")
    for name in (".venv/x", "sub/.venv/y", "secret.ignored", "build/z", *AWKWARD):
        (path / name).parent.mkdir(exist_ok=True, parents=True)
        (path / name).write_text("")
    (path / "nest").mkdir()
    run_git(path / "nest", "init", "-q")
    (path / "nest" / "file").write_text("")
    found = git.status(path)
    assert set(found.modified) == {"README", "gone", "both", "overlooked"}
    assert set(found.staged) == {"staged", "both"}
    assert set(found.untracked) == {"sub/.venv/y", "secret.ignored", "build/z", *AWKWARD}
    assert found.nested == ("nest/",)
    assert (found.unmerged, found.operation) == ((), "")


def test_status_of_what_is_no_checkout_is_an_expected_error(tmp_path: Path) -> None:
    with pytest.raises(TestgroveError):
        git.status(tmp_path)
    with pytest.raises(TestgroveError):
        git.foreign_commits(tmp_path)


def foreign(path: Path, own: Sequence[str] = ()) -> list[tuple[str, str, bool]]:
    found = git.foreign_commits(git.git_dir_of(path), own)
    return [(commit.sha, commit.subject, commit.from_ref) for commit in found]


def test_foreign_commits_are_those_that_only_this_checkout_holds(
    top: Path, repository: git.Repository, tmp_path: Path
) -> None:
    (top / "README").write_text("snapshot\n")
    taken = git.snapshot(repository)
    path = tmp_path / "a"
    git.add_checkout(repository, path, taken.commit)
    git.populate(path, taken.commit)
    assert foreign(path) == []
    mine = commit_all(path, "on no branch: ünïcode")
    expected = [(mine, "on no branch: ünïcode", False)]
    assert foreign(path) == expected
    run_git(path, "checkout", "-q", "--detach", taken.commit)
    assert foreign(path) == expected
    run_git(path, "reflog", "expire", "--expire=all", "HEAD")
    assert foreign(path) == []
    for name in ("refs/bisect/good", "refs/worktree/mine", "refs/rewritten/x"):  # they go with the checkout
        run_git(path, "update-ref", name, mine)
        assert foreign(path) == expected, name
        run_git(path, "update-ref", "-d", name)
    run_git(path, "update-ref", "refs/worktree/mine", mine)
    run_git(top, "tag", "kept", mine)
    assert foreign(path) == []


def test_what_came_from_a_ref_is_the_users_once_no_ref_holds_it(
    top: Path, repository: git.Repository, tmp_path: Path
) -> None:
    run_git(top, "switch", "-q", "-c", "feature")
    first, second = commit_all(top, "first"), commit_all(top, "second")
    (top / "README").write_text("changed\n")
    taken = git.snapshot(repository)
    run_git(top, "switch", "-q", "--force", "main")
    path = make_checkout(repository, tmp_path / "a", taken.commit)
    assert foreign(path, [taken.commit]) == []
    run_git(top, "branch", "-q", "-D", "feature")
    assert foreign(path, [taken.commit]) == [(second, "second", True), (first, "first", True)]
    found = git.foreign_commits(git.git_dir_of(path), [taken.commit])
    assert [commit.sha for commit in git.tips(found)] == [second]
    assert git.not_in_reflogs(repository.common_dir, found) == []
    run_git(top, "reflog", "expire", "--expire=all", "--all")
    assert git.not_in_reflogs(repository.common_dir, found) == found

    kept = git.rescue(repository, "test-unit-a", found)
    assert [(each.id, each.commit) for each in kept] == [("test-unit-a", second)]
    mine = commit_all(path, "mine")
    assert [each.id for each in git.rescue(repository, "test-unit-a", git.foreign_commits(git.git_dir_of(path)))] == [
        "test-unit-a-2"
    ]
    listed = git.rescued(repository)
    assert [(each.id, each.commit, each.subject) for each in listed] == [
        ("test-unit-a", second, "second"),
        ("test-unit-a-2", mine, "mine"),
    ]
    assert all(each.when and abs(each.when.timestamp() - time.time()) < 60 for each in listed)
    assert git.drop_rescued(repository, "test-unit-a") == second
    with pytest.raises(PreconditionError, match=r"'test-unit-a' not found \(available: test-unit-a-2\)"):
        git.drop_rescued(repository, "test-unit-a")


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_the_record_of_a_missing_checkout_tells_its_commits_and_its_index(tmp_path: Path, form: str) -> None:
    top, path = tmp_path / "top", tmp_path / "a"
    run_git(tmp_path, "init", "-q", "-b", "main", f"--object-format={form}", str(top))
    for name, value in (("user.name", "A"), ("user.email", "a@example.invalid")):
        run_git(top, "config", name, value)
    (top / "README").write_text("one\n")
    run_git(top, "add", "README")
    run_git(top, "commit", "-q", "-m", "one")
    run_git(top, "worktree", "add", "-q", "-b", "gone", str(path))
    mine = commit_all(path, "mine")
    run_git(path, "commit", "-q", "--amend", "--allow-empty", "-m", "amended")
    (path / "staged").write_text("only in the index\n")
    run_git(path, "add", "staged")
    run_git(path, "rm", "-q", "--cached", "README")
    record = git.git_dir_of(path)
    shutil.rmtree(path)
    assert [commit.sha for commit in git.foreign_commits(record)] == [mine]
    assert git.staged_files(record) == ["staged"]
    run_git(top, "update-ref", "-d", "refs/heads/gone")  # HEAD is at a branch that is not there
    assert {commit.subject for commit in git.foreign_commits(record)} == {"mine", "amended"}
    assert "staged" in git.staged_files(record)


def test_a_stash_and_a_branch_hold_their_commits(top: Path, repository: git.Repository, tmp_path: Path) -> None:
    path = make_checkout(repository, tmp_path / "a")
    (path / "README").write_text("stashed\n")
    run_git(path, "stash")
    run_git(path, "switch", "-q", "-c", "feature")
    commit_all(path)
    assert foreign(path) == []
    run_git(path, "switch", "-q", "--detach", "HEAD")
    run_git(path, "branch", "-q", "-D", "feature")
    assert len(foreign(path)) == 1


# as an ordinary user

SCRIPT = """
import difflib, os, sys
from pathlib import Path
from testgrove.errors import TestgroveError
from testgrove.system import git

for name in git.__all__:
    getattr(git, name)  # loads it
if os.geteuid() == 0:  # only now: an ordinary user may not be able to read this interpreter
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
base = Path(sys.argv[1])
top = base / "project"
repository = git.discover(top)
path = base / "trees" / "a"
commit = git.resolve(repository, "main").commit
assert git.add_checkout(repository, path, commit, branch="main")
git.populate(path, commit)
git.retarget(path, commit)
assert git.status(path) == git.CheckoutStatus()

def code(call):
    try:
        call()
    except TestgroveError as error:
        return error.code

(top / "unreadable").write_text("")
(top / "unreadable").chmod(0)
assert code(lambda: git.snapshot(repository)) == "snapshot-failed"
(top / "unreadable").unlink()
exclude = top / ".git" / "info" / "exclude"
exclude.chmod(0o444)
assert code(lambda: git.exclude(repository, ["x"])) == "not-permitted"
(base / "readonly").mkdir(mode=0o555)
assert code(lambda: git.add_checkout(repository, base / "readonly" / "sub" / "b", commit)) == "not-permitted"
assert len(git.checkouts(repository)) == 2
path.rename(base / "trash")
git.remove_checkout(repository, path)
assert len(git.checkouts(repository)) == 1
print("done")
"""


def test_all_of_it_as_an_ordinary_user() -> None:
    base = Path(tempfile.mkdtemp(prefix="testgrove-user-"))
    try:
        make_repository(base / "project")
        if os.geteuid() == 0:
            for path in (base, *base.rglob("*")):
                os.chown(path, 65534, 65534, follow_symlinks=False)
        env = os.environ | {"HOME": str(base)}
        words = [sys.executable, "-c", SCRIPT, str(base)]
        done = subprocess.run(words, env=env, cwd="/", capture_output=True, text=True, check=False)
        assert done.stdout == "done\n", done.stderr
    finally:
        shutil.rmtree(base)


def test_the_gateway_is_cheap_to_import() -> None:
    heavy = {"msgspec", "asyncio", "rich", "difflib"}
    script = f"import sys; import testgrove.system.git; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_populate_uses_the_runner_it_is_given(repository: git.Repository, tmp_path: Path) -> None:
    calls = []

    def run(argv: list[str], **options: object) -> process.Completed:
        calls.append((argv, options))
        return process.run(argv, **options)  # type: ignore[arg-type]

    git.add_checkout(repository, tmp_path / "a", head(repository.toplevel))
    git.populate(tmp_path / "a", head(repository.toplevel), run=run)
    assert [call[1]["cwd"] for call in calls] == [tmp_path / "a"]
    assert (tmp_path / "a" / "README").exists()
