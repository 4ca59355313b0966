"""What `create` makes of each kind of ref, and the files that a worktree carries."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import sys
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from auditor import checkouts, git
from grove import Grove, said

THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def metadata(tree: Path) -> dict:
    return json.loads((tree / ".worktree-metadata.json").read_text())


@pytest.fixture
def project(grove) -> Grove:
    return grove()


def test_refs_of_every_kind(project):
    first = project.git("rev-parse", "HEAD").strip()
    project.git("tag", "-a", "v1", "-m", "a tag of its own", first)
    project.git("branch", "free")
    project.write({"README.md": "Second.\n"}, commit="second")
    second = project.git("rev-parse", "HEAD").strip()
    project.git("update-ref", "refs/remotes/origin/theirs", first)
    expected = {
        "free": ("free", first),
        "main": ("", second),
        "HEAD": ("", second),
        "HEAD~1": ("", first),
        "v1": ("", first),
        first[:10]: ("", first),
        "origin/theirs": ("", first),
        "theirs": ("", first),
    }
    for number, (ref, (branch, commit)) in enumerate(expected.items()):
        done = project.create("review", str(number), branch=ref)
        tree = project.root / f"review-{number}"
        assert git(tree, "rev-parse", "HEAD").strip() == commit, ref
        assert git(tree, "branch", "--show-current").strip() == branch, ref
        assert (metadata(tree)["branch"], metadata(tree)["commit"]) == (branch, commit)
        said_so = f"note: main is checked out in {project.repo}: detached at the same commit" in done.stderr
        assert said_so == (ref == "main"), said(done)
        assert git(tree, "status", "--porcelain") == ""
    listed = project.worktrees()
    assert [listed[f"review-{n}"]["branch"] for n in range(len(expected))] == [b for b, _ in expected.values()]
    assert project.git("branch", "--show-current") == "main\n"


def test_a_branch_that_another_worktree_is_on_is_checked_out_detached(project):
    project.git("branch", "topic")
    project.create("review", "one", branch="topic")
    done = project.create("review", "two", branch="topic")
    assert f"note: topic is checked out in {project.root / 'review-one'}: detached" in done.stderr
    assert metadata(project.root / "review-one")["branch"] == "topic"
    assert metadata(project.root / "review-two")["branch"] == ""
    project.run("remove", "one", "two")
    project.git("switch", "--quiet", "topic")
    project.git("switch", "--quiet", "main")
    project.git("branch", "-D", "topic")


def test_a_new_branch_starts_at_its_base_and_outlives_its_worktree(project):
    first = project.git("rev-parse", "HEAD").strip()
    project.write({"README.md": "Second.\n"}, commit="second")
    project.create("feature", "a", "--new-branch", "--base", first, "--no-env", branch="feature/a")
    project.create("feature", "b", "--new-branch", "--no-env", branch="feature/b")
    assert metadata(project.root / "feature-a")["branch"] == "feature/a"
    assert project.git("rev-parse", "feature/a").strip() == first
    assert project.git("rev-parse", "feature/b") == project.git("rev-parse", "main")
    project.run("remove", "a", "b")
    assert project.git("branch", "--format=%(refname:short)").split() == ["feature/a", "feature/b", "main"]


def test_a_branch_that_exists_is_never_undone(project):
    project.git("branch", "taken")
    done = project.create("feature", "a", "--new-branch", "--no-env", branch="taken", check=False)
    assert done.returncode == 3, said(done)
    assert "'taken' already exists" in done.stderr
    assert project.git("branch", "--format=%(refname:short)").split() == ["main", "taken"]
    project.auditor().assert_nothing()


@pytest.mark.parametrize("name", ["two words", "main/below", "-x", "a..b", "HEAD"])
def test_a_branch_that_cannot_be_leaves_nothing(project, name):
    done = project.create("feature", "a", "--new-branch", "--no-env", f"--branch={name}", branch="main", check=False)
    assert done.returncode == 3, said(done)
    assert repr(name) in done.stderr
    assert project.git("branch", "--format=%(refname:short)").split() == ["main"]
    project.auditor().assert_nothing()


def test_the_files_of_a_worktree(project):
    project.write({"testgrove.toml": (project.repo / "testgrove.toml").read_text() + '[env]\nURL = "${API_PORT}/x"\n'})
    project.write({}, commit="env")
    west = {"TZ": "WEST+5"}  # five hours behind
    before = datetime.now(UTC)
    umask = os.umask(0)
    try:
        project.create("test-integration", "api_v2", "--ports", "--no-env", env=west)
    finally:
        os.umask(umask)
    tree = project.root / "test-integration-api_v2"
    found = metadata(tree)
    port = project.ports.start
    ports = {"app": port, "api": port + 1, "db": port + 2}
    commit = project.git("rev-parse", "HEAD").strip()
    created = found["created"]
    assert datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert list(found.items()) == [
        ("schema", 1),
        ("schema_version", 1),
        ("id", "test-integration-api_v2"),
        ("purpose", "test-integration"),
        ("identifier", "api_v2"),
        ("branch", ""),
        ("commit", commit),
        ("created", created),
        ("ports", ports),
        ("env_file", ".env.test"),
        ("python", ""),
    ]
    assert (tree / ".worktree-metadata.json").read_text() == json.dumps(found, indent=2) + "\n"

    env_file = tree / ".env.test"
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert env_file.read_text().splitlines() == [
        f"APP_PORT={port}",
        f"API_PORT={port + 1}",
        f"DB_PORT={port + 2}",
        "TEST_MODE=true",
        "WORKTREE_ID=test-integration-api_v2",
        "COMPOSE_PROJECT_NAME=test-integration-api_v2",
        f"URL={port + 1}/x",
    ]

    registry = project.registry()
    entry = registry["worktrees"]["test-integration-api_v2"]
    local = datetime.fromisoformat(entry["created"])
    # As the documented scripts compare it: with datetime.now() there, which knows no zone.
    assert local.tzinfo is None
    now = local.replace(tzinfo=UTC) + timedelta(hours=5)
    assert before.replace(microsecond=0) <= now <= datetime.now(UTC)
    assert registry == {
        "schema": 1,
        "schema_version": 1,
        "worktrees": {
            "test-integration-api_v2": {
                "purpose": "test-integration",
                "identifier": "api_v2",
                "branch": "",
                "path": str(tree),
                "created": entry["created"],
                "created_utc": created,
                "status": "ready",
                "ports": ports,
            }
        },
        "allocated_ports": list(ports.values()),
    }
    project.run("remove", "api_v2")
    assert project.registry() == {"schema": 1, "schema_version": 1, "worktrees": {}, "allocated_ports": []}


def test_git_sees_none_of_our_files(project):
    (project.repo / "test-artifacts").mkdir()
    (project.repo / "test-artifacts/report").write_text("")
    for identifier in ("a", "b"):
        project.create("test-unit", identifier)
    for tree in (project.repo, project.root / "test-unit-a"):
        assert git(tree, "status", "--porcelain") == ""
    lines = (project.repo / ".git/info/exclude").read_text().splitlines()
    ours = [line for line in lines if not line.startswith("#")]
    assert ours == ["/.env.test", "/.worktree-metadata.json", "/worktrees_registry.json", "/test-artifacts/"]


def test_the_exclude_file_of_the_user_is_kept(project):
    path = project.repo / ".git/info/exclude"
    path.write_text("mine\n/.env.test")
    project.create("test-unit", "a")
    assert path.read_text().startswith("mine\n/.env.test\n/.worktree-metadata.json\n")


def test_ports_are_one_block_and_nobody_elses(project):
    start = project.ports.start
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", start + 1)))
        project.create("test-unit", "a", "--ports", "--no-env")
        project.create("test-unit", "b", "--ports", "--no-env")
        assert listener.getsockname()[1] == start + 1
    a, b = (list(project.worktrees()[f"test-unit-{each}"]["ports"].values()) for each in "ab")
    assert (a, b) == ([start + 2, start + 3, start + 4], [start + 5, start + 6, start + 7])
    assert project.registry()["allocated_ports"] == [*a, *b]
    project.run("remove", "a")
    project.create("test-unit", "c", "--ports", "--no-env")
    assert list(project.worktrees()["test-unit-c"]["ports"].values()) == [start, start + 1, start + 2]


def test_a_worktree_of_that_id_is_there(project):
    project.create("test-unit", "a")
    before = (project.root / "test-unit-a/.env.test").stat()
    done = project.create("test-unit", "a", check=False)
    assert done.returncode == 3, said(done)
    assert f"worktree test-unit-a already exists (ready, {project.root}/test-unit-a)" in done.stderr
    assert "testgrove remove test-unit-a" in done.stderr
    assert (project.root / "test-unit-a/.env.test").stat() == before


def test_something_of_the_users_stands_in_the_place(project):
    place = project.root / "test-unit-a"
    place.mkdir(parents=True)
    (place / "file").write_text("mine")
    done = project.create("test-unit", "a", check=False)
    assert done.returncode == 3, said(done)
    assert str(place) in done.stderr
    assert (place / "file").read_text() == "mine"
    (place / "file").unlink()
    project.create("test-unit", "a")


def test_an_environment_of_its_own_with_the_asked_for_python(project):
    project.create("test-unit", "env", "--python", THIS_PYTHON)
    tree = project.root / "test-unit-env"
    words = project.run("exec", "env", "--", "python", "-c", "import sys; print(sys.prefix, *sys.version_info[:3])")
    prefix, *version = words.stdout.split()
    assert prefix == str(tree / ".venv")
    assert metadata(tree)["python"] == ".".join(version)
    assert f"{THIS_PYTHON}." in metadata(tree)["python"]
    assert project.run("exec", "env", "--", "pip", "--version").stdout.count(str(tree)) == 1
    assert git(tree, "status", "--porcelain") == ""
    project.run("remove", "env")
    project.auditor().assert_nothing()


def test_two_purposes_may_share_an_identifier(project):
    project.create("test-unit", "same")
    project.create("review", "same")
    done = project.run("remove", "same", check=False)
    assert done.returncode == 3
    assert "'same' is ambiguous: test-unit-same and review-same" in done.stderr
    assert "use the full id" in done.stderr
    project.run("remove", "review-same")
    project.run("remove", "same")
    project.auditor().assert_nothing()


def test_commands_work_from_inside_a_worktree_and_a_subfolder(project):
    project.create("test-unit", "a")
    tree = project.root / "test-unit-a"
    project.create("test-unit", "b", cwd=tree / "src")
    assert set(project.worktrees()) == {"test-unit-a", "test-unit-b"}
    assert (project.root / "test-unit-b").is_dir()
    assert (project.repo / "worktrees_registry.json").exists()
    project.run("remove", "a", "b", cwd=tree)
    project.auditor().assert_nothing()


def test_a_root_inside_the_repository_ignores_itself(grove):
    project: Grove = grove(config='root = "worktrees"\n')
    project.create("test-unit", "a")
    assert project.git("status", "--porcelain") == ""
    assert (project.repo / "worktrees/.gitignore").read_text() == "*\n"
    project.run("remove", "a")
    assert not (project.repo / "worktrees").exists()
    project.auditor().assert_nothing()


def test_a_root_that_the_project_uses_is_left_visible(grove):
    project: Grove = grove(config='root = "src"\n')
    project.create("test-unit", "a")
    (project.repo / "src/new.py").write_text("mine")
    assert "?? src/new.py" in project.git("status", "--porcelain")
    project.run("remove", "a")
    assert {path.name for path in (project.repo / "src").iterdir()} == {"code.py", "new.py"}


def test_hooks_and_attributes_of_the_repository_do_not_stop_a_creation(project):
    hook = project.repo / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hook-ran\nexit 1\n")
    hook.chmod(0o755)
    project.create("test-unit", "a")
    assert not (project.root / "test-unit-a/hook-ran").exists()


def test_submodules_are_filled(grove):
    project: Grove = grove()
    other = project.sibling("library", files={"lib.py": "VALUE = 2\n"})
    project.git("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(other.repo), "vendor/lib")
    project.git("commit", "--quiet", "--message", "a submodule")
    env = {"GIT_CONFIG_GLOBAL": str(project.base / "gitconfig")}
    (project.base / "gitconfig").write_text('[protocol "file"]\n\tallow = always\n')
    project.create("test-unit", "a", env=env)
    assert (project.root / "test-unit-a/vendor/lib/lib.py").read_text() == "VALUE = 2\n"
    (project.root / "test-unit-a/vendor/lib/mine.txt").write_text("mine")
    done = project.run("remove", "a", check=False, env=env)
    assert done.returncode == 3
    assert "vendor/lib/mine.txt" in done.stderr
    project.run("remove", "a", "--force", env=env)
    assert checkouts(project.repo) == []


def test_inherited_git_variables_do_not_lead_elsewhere(grove):
    project: Grove = grove()
    other = project.sibling("other")
    lure = {"GIT_DIR": f"{other.repo}/.git", "GIT_WORK_TREE": str(other.repo), "GIT_INDEX_FILE": "/nonexistent/index"}
    project.create("test-unit", "a", env=lure)
    assert checkouts(project.repo) == [project.root / "test-unit-a"]
    assert checkouts(other.repo) == []
    project.run("remove", "a", env=lure)
    project.auditor(other).assert_nothing()


def test_two_creates_of_one_id_at_once_make_one(project):
    words = ("create", "--purpose", "test-unit", "--identifier", "same", "--branch", "main", "--no-env")
    both = [project.start(*words) for _ in range(2)]
    ended = [(process.communicate(timeout=60), process.returncode) for process in both]
    assert sorted(code for _, code in ended) == [0, 3], ended
    loser = next(err for (_, err), code in ended if code == 3)
    assert "test-unit-same" in loser
    assert list(project.worktrees()) == ["test-unit-same"]
    project.auditor().assert_no_leftovers()


def test_a_failed_environment_leaves_nothing(grove):
    project: Grove = grove(files={"requirements.txt": "no-such-distribution-at-all==99.99\n", "README.md": "x\n"})
    done = project.run(
        "create", "--purpose", "test-unit", "--identifier", "a", "--branch", "main", "--ports", check=False,
        env={"UV_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 5, said(done)
    assert "no-such-distribution-at-all" in done.stderr
    assert "Traceback" not in done.stderr
    assert project.worktrees() == {}
    project.auditor().assert_nothing()
    assert project.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_a_runs_folder_has_a_neutral_name_and_ids_keep_theirs(grove):
    project: Grove = grove(config="[suites.tests]\ncommand = \"sh -c 'basename $PWD | grep -v test'\"\n")
    project.run("test")
    tree = project.tree("test-tests-tree")
    assert re.fullmatch("tree-[0-9a-f]{8}", tree.name)
    assert metadata(tree)["id"] == "test-tests-tree"

    old = project.root / "test-tests-tree"  # as the version before called it
    project.git("worktree", "unlock", str(tree))
    project.git("worktree", "move", str(tree), str(old))
    with closing(sqlite3.connect(project.state / "state.db")) as store, store:
        store.execute("UPDATE worktrees SET path = ?", [str(old)])
        store.execute("UPDATE leases SET key = ? WHERE kind = 'checkout'", [str(old)])
    (old / "mine.txt").write_text("mine")
    project.run("test")
    assert (old / "mine.txt").read_text() == "mine"
    assert set(project.worktrees()) == {"test-tests-tree", "test-tests-tree-2"}, "a stand-in ran instead"
    (old / "mine.txt").unlink()
    project.run("test")
    assert (project.tree("test-tests-tree"), old.exists()) == (tree, False)

    project.create("test-tests", "tree")
    assert (project.tree("test-tests-tree"), tree.exists()) == (old, False)
    for name in ("tree", "tree-2"):
        project.run("remove", name)
    project.auditor().assert_nothing()
