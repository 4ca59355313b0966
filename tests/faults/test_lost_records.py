"""A damaged store: every command goes on, and worktrees are known again; nothing that is anybody's is deleted."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from grove import Grove, said


def destroy(project: Grove) -> None:
    store = project.state / "state.db"
    with store.open("r+b") as file:
        file.write(os.urandom(store.stat().st_size))
    for end in ("-wal", "-shm"):
        Path(f"{store}{end}").unlink(missing_ok=True)


def test_worktrees_of_a_destroyed_store_are_known_again(grove):
    project = grove()
    other = project.sibling("other")
    project.create("test-unit", "a", "--ports", "--no-env")
    project.create("review", "mine", "--new-branch", "--no-env", branch="mine")
    other.create("test-unit", "b")
    (project.root / "review-mine" / "notes.txt").write_text("mine")
    project.git("worktree", "add", "--lock", "--reason", "mine", "--detach", str(project.base / "users"))
    before = project.worktrees()
    destroy(project)

    done = project.run("list")
    assert "damaged" in done.stderr
    assert "Traceback" not in done.stderr
    after = project.worktrees()
    assert set(after) == set(before)
    keys = ("path", "ports", "branch", "purpose", "created")
    assert [{key: after[name].get(key) for key in keys} for name in after] == [
        {key: before[name].get(key) for key in keys} for name in after
    ]
    assert "restored" in after["test-unit-a"]["note"]
    assert project.registry()["allocated_ports"] == sorted(before["test-unit-a"]["ports"].values())

    taken = project.create("test-unit", "new", "--ports", "--no-env")
    assert taken.returncode == 0
    ports = [port for entry in project.worktrees().values() for port in entry["ports"].values()]
    assert len(ports) == len(set(ports)) == 6
    assert set(other.worktrees()) == {"test-unit-b"}

    refused = project.run("remove", "review-mine", check=False)
    assert refused.returncode == 3, said(refused)
    assert "notes.txt" in refused.stderr
    kept = project.run("remove", "test-unit-a", check=False)  # nobody knows any more who has written it
    assert kept.returncode == 3, said(kept)
    assert ".env.test" in kept.stderr
    project.run("remove", "test-unit-new")
    project.run("remove", "--force", "test-unit-a")
    other.run("remove", "--force", "test-unit-b")
    assert (project.base / "users" / "README.md").exists()
    project.run("remove", "--force", "review-mine")
    assert not project.root.exists()
    assert "damaged" not in project.run("list").stderr


def test_a_worktree_of_a_command_that_still_runs_is_not_taken_for_free(grove):
    project = grove(config='setup = ["touch started; sleep 600"]\n')
    making = project.start("create", "--purpose", "test-unit", "--identifier", "a", "--branch", "main", "--no-env")
    started = project.root / "test-unit-a" / "started"
    while not started.exists():
        assert making.poll() is None, making.communicate()
        os.sched_yield()
    destroy(project)
    assert project.worktrees() == {}
    assert started.exists()
    making.kill()
    making.communicate()
    assert set(project.worktrees()) == {"test-unit-a"}
    project.run("remove", "--force", "test-unit-a")


def test_one_broken_row_of_another_project_stops_nobody(grove):
    project = grove()
    other = project.sibling("other")
    project.create("test-unit", "a", "--ports", "--no-env")
    other.create("test-unit", "b")
    ports = project.worktrees()["test-unit-a"]["ports"]
    with closing(sqlite3.connect(project.state / "state.db")) as db, db:
        db.execute("UPDATE worktrees SET ports = '{', status = 'dancing' WHERE id = 'test-unit-a'")
    assert set(other.worktrees()) == {"test-unit-b"}
    assert project.worktrees()["test-unit-a"]["ports"] == ports
    project.run("remove", "test-unit-a")
    other.run("remove", "test-unit-b")
    project.auditor(other).assert_nothing()


def test_a_sub_projects_worktree_is_known_again_as_its_own(grove):
    project = grove(files={"README.md": "x\n", "back end/pyproject.toml": '[project]\nname = "b"\nversion = "1"\n'})
    project.create("test-unit", "a", "--no-env", cwd=project.repo / "back end")
    project.create("test-unit", "b", "--no-env")
    destroy(project)
    assert len(project.worktrees()) == 2
    for name, directory in (("a", "back end"), ("b", None)):
        project.run("sync", f"test-unit-{name}")
        metadata = json.loads((project.root / f"test-unit-{name}/.worktree-metadata.json").read_text())
        assert metadata.get("directory") == directory
