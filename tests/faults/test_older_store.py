"""What an older version has left, and its running commands: taken over, shared or refused, never damaged."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from grove import Grove, said

OLD = Path(__file__).with_name("older_store.sql")
METADATA = {
    "review-a": {"created": "2026-11-30T15:29:29Z", "python": ""},
    "test-unit-tree": {"created": "2026-11-30T15:29:32Z", "python": "3.11.7"},
}
# What a command of that version does to hold the worktree review-a, and later to give it other ports. Nothing of
# today's code: a lock on the byte of its mark, its row, and its name in the worktree's row.
COMMAND = """
import fcntl, hashlib, os, sqlite3, struct, sys, time
state, mark = sys.argv[1:]
fd = os.open(f"{state}/holders.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
offset = int.from_bytes(hashlib.blake2b(mark.encode(), digest_size=7).digest())
fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhxxxxqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0))
db = sqlite3.connect(f"{state}/state.db", timeout=30.0, isolation_level=None)
db.execute("INSERT INTO holders VALUES (?, 'testgrove ports reassign', ?, ?)", (mark, os.getpid(), time.time()))
db.execute("UPDATE worktrees SET holder = ? WHERE id = 'review-a'", (mark,))
print("holding", flush=True)
sys.stdin.readline()
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE worktrees SET note = 'changed', holder = NULL WHERE id = 'review-a'")
db.execute("DELETE FROM holders WHERE mark = ?", (mark,))
db.execute("COMMIT")
"""
MARK = "94f2699fffffff"


def fill_in(one: Grove) -> str:
    """The old store for a grove, whose worktrees are there."""
    commit = one.git("rev-parse", "HEAD").strip()
    names = {
        "PROJECT": hashlib.sha256(os.fsencode(one.repo / ".git")).hexdigest()[:16],
        "REPO": str(one.repo), "ROOT": str(one.root), "SCRATCH": str(one.scratch), "COMMIT": commit,
        "NAMESPACE": str(Path("/proc/self/ns/net").stat().st_ino),
        **{f"PORT_{number}": str(one.ports[number + 30]) for number in (1, 2, 3)},
        **{f"MANIFEST {name}": manifest(one.root / name) for name in METADATA},
    }  # fmt: skip
    return re.sub("@([A-Z_]+[^@]*)@", lambda found: names[found[1]], OLD.read_text())


def manifest(tree: Path) -> str:
    """Of the files that testgrove has written, as that version wrote it."""
    found = {name: (tree / name).stat() for name in (".env.test", ".worktree-metadata.json")}
    entries = {name: [each.st_size, each.st_mtime_ns, each.st_ino] for name, each in found.items()}
    return json.dumps({"schema": 1, "entries": entries})


def make_worktree(one: Grove, name: str) -> None:
    """A worktree as that version left it, without its environment."""
    options = ("--quiet", "--detach", "--lock", "--reason", "testgrove")
    one.git("worktree", "add", *options, str(one.root / name), "HEAD")
    if about := METADATA.get(name):
        purpose, _, identifier = name.rpartition("-")
        commit = one.git("rev-parse", "HEAD").strip()
        whole = {"schema": 1, "id": name, "purpose": purpose, "identifier": identifier, "branch": "", "commit": commit}
        text = json.dumps(whole | {"env_file": ".env.test"} | about, indent=2)
        (one.root / name / ".worktree-metadata.json").write_text(text + "\n")
        (one.root / name / ".env.test").write_text(f"TEST_MODE=true\nWORKTREE_ID={name}\n")
        (one.root / name / ".env.test").chmod(0o600)


@pytest.fixture
def one(grove) -> Grove:
    """A project with all that the older version has left."""
    one: Grove = grove()
    (one.repo / ".git/info/exclude").write_text(
        "/.env.test\n/.worktree-metadata.json\n/worktrees_registry.json\n/test-artifacts/\n"
    )
    for name in ("review-a", "test-unit-tree", "test-slow-tree"):
        make_worktree(one, name)
    for folder in (one.state, one.scratch, one.scratch / "152936-d1b2"):
        folder.mkdir(mode=0o700)
    (one.artifacts / "20261130-152936-d1b2").mkdir(parents=True)
    with closing(sqlite3.connect(one.state / "state.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(fill_in(one))
    (one.state / "state.db").chmod(0o600)
    return one


@contextmanager
def old_command(one: Grove) -> Iterator[subprocess.Popen[str]]:
    """A command of the older version that holds review-a."""
    argv = [sys.executable, "-c", COMMAND, str(one.state), MARK]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "holding\n"
        try:
            yield process
        finally:
            process.kill()


def test_it_is_taken_over(one):
    commits = one.auditor().commits()
    there = one.worktrees()
    assert {name: each["status"] for name, each in there.items()} == {"review-a": "ready", "test-unit-tree": "parked"}
    assert list(there["review-a"]["ports"].values()) == list(one.ports[31:34])
    assert not (one.root / "test-slow-tree").exists()
    assert not (one.scratch / "152936-d1b2").exists()
    tree = one.root / "test-unit-tree"
    inode = tree.stat().st_ino
    one.create("test-unit", "tree")
    assert tree.stat().st_ino == inode  # recycled
    assert one.worktrees()["test-unit-tree"]["status"] == "ready"
    (tree / "notes.txt").write_text("mine")
    refused = one.run("remove", "test-unit-tree", check=False)
    assert refused.returncode == 3, said(refused)
    (tree / "notes.txt").unlink()
    one.run("remove", "test-unit-tree", "review-a")
    one.auditor().assert_nothing()
    one.auditor().assert_commits_kept(commits)


def test_what_is_the_users_in_its_worktrees_stays(one):
    for name in METADATA:
        (one.root / name / "README.md").write_text("changed")
    for words in (
        ("remove", "review-a"),
        ("create", "--purpose", "test-unit", "--identifier", "tree", "--branch", "main"),
    ):
        done = one.run(*words, check=False)
        assert done.returncode == 3, said(done)
    one.run("cleanup", "--max-age", "0", "--yes")
    one.run("doctor", "--fix", check=False)
    assert all((one.root / name / "README.md").read_text() == "changed" for name in METADATA)


def test_what_it_has_given_up_is_examined_before_it_goes(one):
    """That version recorded such a worktree as being removed, whether or not that had been decided."""
    with closing(sqlite3.connect(one.state / "state.db")) as db, db:
        db.execute("UPDATE worktrees SET status = 'removing', note = 'its command died' WHERE id = 'review-a'")
    there = one.worktrees()["review-a"]
    assert (there["status"], there["note"]) == ("broken", "its command died")
    (one.root / "review-a/notes.txt").write_text("mine")
    refused = one.run("remove", "review-a", check=False)
    assert refused.returncode == 3, said(refused)
    assert "notes.txt" in refused.stderr
    (one.root / "review-a/notes.txt").unlink()
    one.run("remove", "review-a", "test-unit-tree")
    one.auditor().assert_nothing()


def test_while_an_older_command_runs_its_worktree_is_refused_and_the_rest_shared(one):
    with old_command(one) as running:
        refused = one.run("remove", "review-a", "--force", check=False)
        assert refused.returncode == 3, said(refused)
        assert f"`testgrove ports reassign` (pid {running.pid})" in refused.stderr
        refused = one.run("uninstall", "--yes", check=False)
        assert f"pid {running.pid}" in refused.stderr
        one.create("test-unit", "mine")
        one.run("remove", "test-unit-tree")
        running.stdin.write("\n")
        running.stdin.flush()
        assert running.wait(30) == 0
    there = one.worktrees()
    assert there.keys() == {"review-a", "test-unit-mine"}
    assert there["review-a"]["note"] == "changed"
    assert not list(one.state.glob("damaged-*"))
    one.run("remove", "review-a", "test-unit-mine")
    one.auditor().assert_nothing()


def test_what_a_killed_older_command_held_is_free_again(one):
    with old_command(one) as running:
        running.kill()
        running.wait()
    assert one.worktrees()["review-a"]["status"] == "ready"
    one.run("remove", "review-a")


def test_a_store_that_is_replaced_under_an_older_command_keeps_what_it_says(one):
    with old_command(one) as running:
        with closing(sqlite3.connect(one.state / "state.db")) as db, db:
            db.execute("DROP TABLE durations")
        assert one.worktrees().keys() >= {"review-a", "test-unit-tree"}
        running.stdin.write("\n")
        running.stdin.flush()
        assert running.wait(30) == 0  # it has written into the one that was moved aside
    assert one.worktrees()["review-a"]["note"] != "changed"
    one.run("remove", "review-a")
