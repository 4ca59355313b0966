"""`setup` and `teardown`: when they run, in what environment, and what a failure does."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from auditor import checkouts
from grove import Grove, said
from testgrove.app.worktrees.hooks import Hook
from testgrove.errors import UnavailableError
from testgrove.system.processes.supervisor_pool import SupervisorPool

FILES = {"README.md": "A project.\n", ".gitignore": "made/\n", "tests/test_it.py": "def test_it(): pass\n"}


def plant(grove, *, setup: list[str] = [], teardown: list[str] = [], **more: str) -> Grove:  # noqa: B006 - read only
    return grove(files=FILES | more, config=f"setup = {setup}\nteardown = {teardown}\n".replace("'", '"'))


@pytest.mark.slow
def test_setup_sees_the_worktree_whole_and_what_it_writes_is_ours(grove):
    project = plant(grove, setup=[
        "mkdir made && echo $WORKTREE_ID $APP_PORT > made/vars && command -v python > made/python",
        "cp .env.test .worktree-metadata.json made/ && pip --version > made/pip",
    ])  # fmt: skip
    done = project.create("review", "a", "--ports")
    tree = project.root / "review-a"
    assert (tree / "made/vars").read_text() == f"review-a {project.ports.start}\n"
    assert (tree / "made/python").read_text() == f"{tree}/.venv/bin/python\n"
    assert str(tree) in (tree / "made/pip").read_text()
    assert (tree / "made/.env.test").read_text() == (tree / ".env.test").read_text()
    assert "$ mkdir made" in done.stderr
    project.run("remove", "a")
    project.auditor().assert_nothing()


def test_output_is_streamed_and_kept(grove):
    project = plant(grove, setup=["echo to stdout; echo to stderr >&2"])
    done = project.create("review", "a")
    log = project.artifacts / "review-a/setup.log"
    assert log.read_text() == "$ echo to stdout; echo to stderr >&2\nto stdout\nto stderr\n"
    assert log.read_text() in done.stderr
    document = project.run("create", "--purpose=review", "--identifier=b", "--branch=main", "--no-env", "--json")
    assert document.stdout.startswith("{")
    assert "to stdout" not in document.stderr
    assert (project.artifacts / "review-b/setup.log").exists()


def test_a_failing_setup_is_loud_and_undone(grove):
    project = plant(grove, setup=["echo one", "echo reason; exit 7", "touch never"], teardown=["echo undone"])
    done = project.create("review", "a", "--ports", "--no-env", "--new-branch", branch="fresh", check=False)
    assert done.returncode == 5, said(done)
    assert "setup failed: `echo reason; exit 7` exited with status 7:\n    reason\n" in done.stderr
    log = project.artifacts / "review-a/setup.log"
    assert f"full output: {log}" in done.stderr
    assert log.read_text() == "$ echo one\none\n$ echo reason; exit 7\nreason\n"
    assert (project.artifacts / "review-a/teardown.log").read_text().endswith("undone\n")
    assert project.git("branch", "--format=%(refname:short)").split() == ["main"]
    assert project.worktrees() == {}
    project.auditor().assert_nothing()


def test_without_an_environment_pip_installs_into_nobody_elses(grove):
    project = plant(grove, setup=["echo PIP_REQUIRE_VIRTUALENV=$PIP_REQUIRE_VIRTUALENV"])
    done = project.create("review", "a")
    assert "\nPIP_REQUIRE_VIRTUALENV=1\n" in done.stderr


def test_what_setup_starts_is_gone_when_it_ends(grove):
    project = plant(grove, setup=["setsid sleep 300 & echo started"])
    project.create("review", "a")
    project.run("remove", "a")
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_a_run_sets_up_what_it_makes_and_what_it_recycles(grove):
    test = "import pathlib\ndef test_it():\n    assert pathlib.Path('made/by-setup').exists()\n"
    project = plant(
        grove, setup=["mkdir made && touch made/by-setup"], teardown=["echo bye"], **{"tests/test_it.py": test}
    )
    for _ in range(2):
        project.run("test")
    assert [*project.worktrees()] == ["test-tests-tree"]
    first, second = project.runs()
    assert (second / "test-tests-tree/setup.log").read_text().startswith("$ mkdir made")
    phases = [line for line in (first / "events.jsonl").read_text().splitlines() if '"phase":"setup"' in line]
    assert len(phases) == 1
    project.run("cleanup", "--max-age=0", "--yes")
    assert (project.artifacts / "test-tests-tree/teardown.log").read_text() == "$ echo bye\nbye\n"
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_a_setup_that_fails_in_a_run_is_the_cells_error(grove):
    project = plant(grove, setup=["echo why; false"])
    done = project.run("test", check=False)
    assert done.returncode == 1, said(done)
    assert "setup failed: `echo why; false`" in done.stdout
    assert project.worktrees() == {}
    assert "why" in (project.runs()[0] / "test-tests-tree/setup.log").read_text()


@pytest.mark.slow
def test_what_setup_installs_stays_when_a_worktree_is_recycled(grove):
    project = plant(
        grove,
        setup=["cd $VIRTUAL_ENV/lib/python3*/site-packages && { test -e helper.py || touch helper.py; }"],
        **{"tests/test_it.py": "def test_it():\n    import helper\n"},
    )
    for _ in range(2):
        project.run("test")
    lines = (project.runs()[1] / "events.jsonl").read_text().splitlines()
    phases = [event for event in map(json.loads, lines) if event.get("phase") == "environment"]
    assert [event["reason"] for event in phases] == ["", "pytest alone"], "it was made anew"


@pytest.mark.slow
def test_teardown_runs_before_removal_in_the_worktree(grove):
    project = plant(grove, teardown=["echo $WORKTREE_ID; command -v python; test -f README.md; echo bye > junit.xml"])
    project.create("review", "a", "--python=3")
    project.run("remove", "a")
    log = project.artifacts / "review-a/teardown.log"
    assert log.read_text().splitlines()[1:] == ["review-a", f"{project.root}/review-a/.venv/bin/python"]
    assert (project.artifacts / "review-a/junit.xml").read_text() == "bye\n", (
        "what it writes is kept like other outputs"
    )
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_a_failing_teardown_keeps_the_worktree_and_force_goes_on(grove):
    project = plant(grove, teardown=["test -e {flag}"])
    flag = project.base / "flag"
    config = project.repo / "testgrove.toml"
    config.write_text(config.read_text().replace("{flag}", str(flag)))
    for identifier in "ab":
        project.create("review", identifier)
    done = project.run("remove", "a", check=False)
    assert done.returncode == 5, said(done)
    assert f"teardown failed: `test -e {flag}` exited with status 1" in done.stderr
    assert "testgrove remove review-a --force" in done.stderr
    entry = project.worktrees()["review-a"]
    assert entry["status"] == "ready"
    assert "teardown failed" in entry["note"]
    # It is still a worktree, and what the user writes into it is still his.
    mine = project.root / "review-a/mine.txt"
    mine.write_text("mine")
    flag.touch()
    assert project.run("remove", "a", check=False).returncode == 3
    assert mine.exists()
    mine.unlink()
    project.run("remove", "a")
    flag.unlink()
    done = project.run("remove", "b", "--force")
    assert "note: teardown failed" in done.stderr
    assert project.worktrees() == {}
    project.auditor().assert_nothing()


def test_a_dirty_worktree_is_refused_before_anything_is_torn_down(grove):
    project = plant(grove, teardown=["echo bye"])
    project.create("review", "a")
    (project.root / "review-a/mine.txt").write_text("mine")
    assert project.run("remove", "a", check=False).returncode == 3
    assert not (project.artifacts / "review-a/teardown.log").exists()


def test_teardown_never_runs_in_what_somebody_put_in_the_place(grove):
    project = plant(grove, teardown=["touch torn-down"])
    project.create("review", "a")
    tree = project.root / "review-a"
    tree.rename(project.base / "moved")
    tree.mkdir()
    (tree / "mine").touch()
    project.run("remove", "a")
    assert [path.name for path in tree.iterdir()] == ["mine"]


def test_ctrl_c_during_setup_ends_it_and_undoes_all(grove):
    project = plant(grove, setup=["touch started; sleep 300"], teardown=["echo undone"])
    process = project.start("create", "--purpose=review", "--identifier=a", "--branch=main", "--no-env")
    started = project.root / "review-a/started"
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert (project.artifacts / "review-a/teardown.log").read_text() == "$ echo undone\nundone\n"
    project.auditor().assert_nothing()


def test_killed_during_setup_the_next_command_tears_down(grove):
    project = plant(grove, setup=["touch started; sleep 300"], teardown=["echo undone"])
    process = project.start("create", "--purpose=review", "--identifier=a", "--branch=main", "--no-env")
    started = project.root / "review-a/started"
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert project.worktrees() == {}
    assert (project.artifacts / "review-a/teardown.log").read_text() == "$ echo undone\nundone\n"
    project.auditor().assert_nothing(within=1.0)


def test_an_undo_whose_teardown_fails_keeps_the_record(grove):
    project = plant(grove, setup=["false"], teardown=["echo cannot; false"])
    done = project.create("review", "a", check=False)
    assert done.returncode == 5
    assert "note: undoing it failed: teardown failed" in done.stderr
    entry = project.worktrees()["review-a"]
    assert entry["status"] == "broken"
    assert "teardown failed" in entry["note"]
    assert "\n" not in entry["note"]
    assert project.run("remove", "a", check=False).returncode == 5
    project.run("remove", "a", "--force")
    assert checkouts(project.repo) == []
    project.auditor().assert_nothing()


def test_a_command_that_hangs_is_ended_at_its_timeout(tmp_path: Path):
    pool = SupervisorPool()
    try:
        hook = Hook("setup", ["echo begun; sleep 300"], tmp_path, tmp_path / "log", timeout=0.3)
        with pytest.raises(UnavailableError, match=r"timed out after 0.3 s") as caught:
            hook.run(pool, {"PATH": "/usr/bin:/bin"})
    finally:
        pool.close()
    assert caught.value.code == "setup-failed"
    assert "begun" in caught.value.message


@pytest.mark.slow
def test_a_migration_that_needs_what_setup_makes_runs_after_it(grove):
    project = plant(grove, setup=["mkdir made && sed s/x/things/ schema.txt > made/schema.sql"])
    migrate = '[services.sqlite]\nmigrate = "sqlite3 $SQLITE_PATH < made/schema.sql"\ninputs = ["made/*", "*.txt"]\n'
    config = (project.repo / "testgrove.toml").read_text()
    project.write({"schema.txt": "CREATE TABLE x (n int);\n", "testgrove.toml": config + migrate}, commit="A schema")
    failed = project.create("review", "a", "--quiet", check=False)
    assert failed.returncode == 5, said(failed)
    assert "migrate_after_setup = true" in failed.stderr
    project.write({"testgrove.toml": "migrate_after_setup = true\n" + config + migrate})
    project.create("review", "a", "--quiet")
    assert "things" in project.run("exec", "a", "--", "sh", "-c", "sqlite3 $SQLITE_PATH .schema").stdout
    project.run("remove", "a")
    project.auditor().assert_nothing()
