"""One broken thing breaks one thing: what a dead command left in one project never fails a command of another."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest

import needs
from faults.sweeping import PROGRAM
from grove import TESTGROVE, Grove, said
from testgrove.app.holder import holding
from testgrove.core.model import Lease, LeaseKind
from testgrove.system.locations import locate
from testgrove.system.store import Store

CREATE = ("create", "--purpose", "test-unit", "--identifier", "x", "--branch", "main", "--ports", "--no-env")
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


@pytest.fixture
def one(grove) -> Grove:
    """A project in which a `create` was killed."""
    one: Grove = grove()
    variables = {"KILLING_LOG": str(one.base / "steps"), "KILLING_AT": "after check out files"}
    killed = one.run(*CREATE, program=PROGRAM, env=variables | {"KILLING_BASE": str(one.base)}, check=False)
    assert killed.returncode == -9, said(killed)
    return one


def change_lease(one: Grove, kind: str, data: str) -> None:
    with closing(sqlite3.connect(one.state / "state.db")) as db, db:
        assert db.execute("UPDATE leases SET data = ? WHERE kind = ?", (data, kind)).rowcount == 1


def break_ignore_file(one: Grove) -> None:
    (one.root / ".gitignore").write_bytes(b"caf\xe9\n")


def break_lock(one: Grove) -> None:
    lock = one.repo / ".git" / "testgrove.lock"
    lock.unlink()
    lock.mkdir()


def break_lease(one: Grove) -> None:
    change_lease(one, "checkout", json.dumps({"common_dir": 7}))


def break_reach(one: Grove) -> None:
    (one.root / "test-unit-x").chmod(0)


def break_project(one: Grove) -> None:
    shutil.rmtree(one.repo)
    one.repo.write_text("a file now")


@pytest.mark.parametrize(
    "broken", [break_ignore_file, break_lock, break_lease, break_reach, break_project], ids=lambda f: f.__name__
)
def test_another_project_works(one, broken):
    other = one.sibling("other")
    broken(one)
    other.create("test-unit", "mine", program=(*needs.ordinary_user(), *TESTGROVE))  # root can read everything
    assert set(other.worktrees()) == {"test-unit-mine"}
    other.run("remove", "test-unit-mine")


def test_what_is_noted_is_tried_again(one):
    other = one.sibling("other")
    break_lock(one)
    other.create("test-unit", "mine")
    there = one.worktrees()["test-unit-x"]
    assert there["status"] == "broken"
    assert "testgrove.lock" in there["note"]
    assert "testgrove.lock" in one.run("remove", "test-unit-x", check=False).stderr
    (one.repo / ".git" / "testgrove.lock").rmdir()
    one.run("doctor", "--fix", check=False)
    other.run("remove", "test-unit-mine")
    one.auditor(other).assert_nothing()


def test_a_repository_on_a_read_only_file_system_stops_no_other(one):
    other = one.sibling("other")
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    inside = (*own, "sh", "-c", READ_ONLY, str(one.repo))
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        needs.missing("mount", "nothing can be mounted here")
    create = ("create", "--purpose", "test-unit", "--identifier", "mine", "--branch", "main", "--no-env")
    done = other.run(*create, program=(*inside, PROGRAM[0], "-m", "testgrove"), check=False)
    assert done.returncode == 0, said(done)
    assert "Traceback" not in done.stderr
    one.run("doctor", "--fix", check=False)
    assert not (one.root / "test-unit-x").exists()


def test_doctor_names_a_command_that_cannot_be_recovered(one):
    with closing(sqlite3.connect(one.state / "state.db")) as db, db:
        owner = db.execute("SELECT 'command:' || mark FROM holders").fetchone()[0]
        db.execute("INSERT INTO leases (owner, kind, key, data) VALUES (?, 'trash', '/x', '{}')", (owner,))
    other = one.sibling("other")
    other.create("test-unit", "mine")
    done = one.run("doctor", check=False)
    assert done.returncode == 3
    assert "recovery" in done.stdout
    assert "/x is not in" in done.stdout


def test_what_cannot_be_deleted_of_a_dead_command_does_not_fail_this_one(grove, monkeypatch):
    one = grove()
    for name, value in one.env.items():
        monkeypatch.setenv(name, value)
    locations = locate(os.environ)
    store = Store(locations.store)
    lease = Lease(LeaseKind.TRASH, "/x")
    with holding(store, locations, "a test") as holder:
        holder.leases.record(lease)
        holder.delete_later(holder.leases, lease)
        holder.forgive_deletions()
    assert store.leases(f"command:{holder.mark}").all() == (lease,)
    store.close()
