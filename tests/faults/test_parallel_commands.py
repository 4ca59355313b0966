"""Commands that run at the same time: nobody is given what another one has, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

import local_packages
from auditor import checkouts
from grove import Grove

OPTIONS = ("--branch", "main", "--ports", "--no-env")


def start_create(grove: Grove, identifier: str, *options: str) -> subprocess.Popen[str]:
    return grove.start("create", "--purpose", "test-unit", "--identifier", identifier, *(options or OPTIONS), "--json")


def finish(started: list[subprocess.Popen[str]], timeout: float = 300.0) -> list[tuple[int, str, str]]:
    """Exit status, output and errors of each."""
    found = []
    for process in started:
        out, err = process.communicate(timeout=timeout)
        found.append((process.returncode, out, err))
    return found


def assert_all_succeeded(results: list[tuple[int, str, str]]) -> None:
    failed = [f"{status}: {out}{err}" for status, out, err in results if status != 0]
    assert not failed, f"{len(failed)} of {len(results)} failed, such as {failed[0]}"


def create_at_once(groves: list[Grove], number: int) -> None:
    """Create worktrees of the branch that is checked out, in all groves at once."""
    started = [start_create(grove, f"w{each}") for each in range(number) for grove in groves]
    results = finish(started)
    assert_all_succeeded(results)
    made = [json.loads(out)["worktree"] for _, out, _ in results]
    ports = [port for worktree in made for port in worktree["ports"].values()]
    assert len(ports) == len(set(ports)) == 3 * len(started)
    assert all(worktree["branch"] == "" for worktree in made), "the branch is checked out in the main checkout"
    for grove in groves:
        assert_registered(grove, number)


def assert_registered(grove: Grove, number: int) -> None:
    """Git, `list` and the registry view agree."""
    there = grove.worktrees()
    view = grove.registry()
    assert len(there) == number
    assert {name: entry["ports"] for name, entry in there.items()} == {
        name: entry.get("ports", {}) for name, entry in view["worktrees"].items()
    }
    assert view["allocated_ports"] == sorted(p for entry in there.values() for p in entry["ports"].values())
    assert {Path(entry["path"]) for entry in there.values()} == set(checkouts(grove.repo))
    grove.auditor().assert_no_leftovers()


def remove_at_once(groves: list[Grove], number: int) -> None:
    assert_all_succeeded(
        finish([grove.start("remove", f"test-unit-w{each}") for each in range(number) for grove in groves])
    )
    for grove in groves:
        grove.auditor().assert_nothing()
        assert not grove.root.exists()
        assert grove.registry() == {"schema": 1, "schema_version": 1, "worktrees": {}, "allocated_ports": []}


def test_creates_and_removes_at_once(grove):
    one = grove()
    create_at_once([one], 6)
    remove_at_once([one], 6)


@pytest.mark.slow
def test_sixteen_creates_at_once_in_each_of_two_projects(grove):
    one = grove()
    both = [one, one.sibling("other")]
    create_at_once(both, 16)
    remove_at_once(both, 16)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_fifty_rounds_of_eight(grove, part):
    one = grove()
    for number in range(10):
        create_at_once([one], 8)
        if number % 5 == part % 5:
            remove_at_once([one], 8)
        else:
            one.run("remove", *(f"test-unit-w{each}" for each in range(8)))
            one.auditor().assert_nothing()


def test_of_two_creates_of_one_identifier_one_succeeds(grove):
    one = grove()
    for number in range(4):
        results = finish([start_create(one, f"same{number}") for _ in range(2)])
        assert sorted(status for status, _, _ in results) == [0, 3]
        (refused,) = (json.loads(out)["error"] for status, out, _ in results if status == 3)
        assert refused["code"] in ("held", "worktree-held", "worktree-exists")
        assert f"test-unit-same{number}" in refused["message"]
        assert refused["hint"]
    assert_registered(one, 4)


def test_a_new_branch_is_made_once(grove):
    one = grove()
    options = ("--branch", "fresh", "--new-branch", "--no-env")
    results = finish([start_create(one, name, *options) for name in ("a", "b")])
    assert sorted(status for status, _, _ in results) == [0, 3], results
    (there,) = one.worktrees().values()
    assert there["branch"] == "fresh"
    assert "fresh" in one.git("branch")
    one.auditor().assert_no_leftovers()


def test_a_branch_of_the_users_outlives_a_refused_create(grove):
    one = grove()
    one.git("branch", "mine")
    ((status, out, _),) = finish([start_create(one, "a", "--branch", "mine", "--new-branch", "--no-env")])
    assert status == 3
    assert "mine" in json.loads(out)["error"]["message"]
    assert "mine" in one.git("branch")
    one.auditor().assert_nothing()


@pytest.mark.slow
def test_create_and_remove_of_one_identifier_at_once(grove):
    one = grove()
    for _ in range(4):
        create = start_create(one, "x")
        time.sleep(0.15)
        remove = one.start("remove", "test-unit-x", "--json")
        (made, _, _), (removed, out, err) = finish([create, remove])
        assert made == 0
        assert removed in (0, 3), out + err
        there = one.worktrees()
        assert set(there) == (set() if removed == 0 else {"test-unit-x"})
        one.auditor().assert_no_leftovers()
        if there:
            one.run("remove", "test-unit-x")


def test_of_many_removes_of_one_worktree_one_succeeds(grove):
    one = grove(variables=local_packages.settings())
    one.create("test-unit", "x", "--ports", "--no-env")
    results = finish([one.start("remove", "test-unit-x") for _ in range(4)])
    assert sorted(status for status, _, _ in results) == [0, 3, 3, 3], results
    one.auditor().assert_nothing()


SLOW_SUITE = {
    "README.md": "A project.\n",
    "tests/test_gate.py": """
import os, time
from pathlib import Path

def test_gate():
    Path(os.environ["GATE"], str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while not Path(os.environ["GATE"], "open").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert Path(__file__).exists()
""",
}


class Gate:
    """A grove whose runs wait until they are let through."""

    def __init__(self, make) -> None:
        self.grove = make(files=SLOW_SUITE)
        self.folder = self.grove.base / "gate"
        self.folder.mkdir()
        text = (self.grove.repo / "testgrove.toml").read_text()
        self.grove.write({"testgrove.toml": f'[env]\nGATE = "{self.folder}"\n{text}'}, commit="A gate")

    def start(self, waiting: int) -> subprocess.Popen[str]:
        """Start a run; return when so many suites are at the gate."""
        run = self.grove.start("test")
        deadline = time.monotonic() + 60
        while len(list(self.folder.iterdir())) < waiting:
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return run

    def open(self) -> None:
        (self.folder / "open").touch()


def test_a_cleanup_leaves_what_a_run_holds(grove):
    gate = Gate(grove)
    run = gate.start(1)
    gate.grove.create("test-unit", "old")
    done = gate.grove.json("cleanup", "--max-age", "0", "--yes")
    assert done["removed"] == ["test-unit-old"]
    assert set(done["skipped"]) == {"test-tests-tree"}
    refused = gate.grove.run("remove", "test-tests-tree", "--force", check=False)
    assert refused.returncode == 3
    assert "testgrove test" in refused.stderr, "it says who holds it"
    gate.open()
    assert_all_succeeded(finish([run]))
    gate.grove.run("cleanup", "--max-age", "0", "--yes")
    gate.grove.auditor().assert_nothing()


@pytest.mark.slow
def test_two_runs_at_once_both_pass(grove):
    gate = Gate(grove)
    runs = [gate.start(1), gate.start(2)]
    held = gate.grove.worktrees()
    assert {name: entry["status"] for name, entry in held.items()} == {
        "test-tests-tree": "running",
        "test-tests-tree-2": "running",
    }
    gate.open()
    assert_all_succeeded(finish(runs))
    gate.grove.auditor().assert_no_leftovers()
    assert {entry["status"] for entry in gate.grove.worktrees().values()} == {"parked"}
    assert len(gate.grove.runs()) == 2


@pytest.mark.slow
def test_runs_started_in_the_same_moment_pass_in_two_projects(grove):
    one = grove(variables=local_packages.settings())
    both = [one, one.sibling("other")]
    for _ in range(2):
        assert_all_succeeded(finish([each.start("test") for each in both for _ in range(3)]))
        for each in both:
            each.auditor().assert_no_leftovers()
            assert {entry["status"] for entry in each.worktrees().values()} == {"parked"}
