"""Runs that are killed, interrupted or hang: nothing is left of them, and they have a report."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from faults.tricky import KINDS, Tricky, kill, supervisors_of

WITHIN = 2.0  # seconds after which nothing may be left
# The second is how Python ends when a KeyboardInterrupt met an exec(), as in the making of a dataclass, although it was
# handled; for a shell it is 130 too.
INTERRUPTED = (130, -signal.SIGINT)


@pytest.fixture
def tricky(grove):
    return Tricky(grove)


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> None:
    """As a terminal does it: to the whole process group."""
    os.killpg(process.pid, number)


def wait_for_main(process: subprocess.Popen[str]) -> None:
    """Until testgrove has its signal handlers, Python has its own."""
    status, deadline = Path(f"/proc/{process.pid}/status"), time.monotonic() + 30
    while not int(status.read_text().partition("SigCgt:")[2].split()[0], 16) >> (signal.SIGTERM - 1) & 1:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def cell(report: dict) -> dict:
    (found,) = report["cells"]
    return found


def test_the_children_are_as_tricky_as_they_are_meant_to_be(tricky):
    run = tricky.start()
    children = tricky.children()
    try:
        assert len(children) == len(KINDS)
        assert len({os.getsid(child.pid) for child in children}) == 4
        assert sum(not child.environ() for child in children) == 1
        found = tricky.grove.auditor().audit().processes
        assert all(any(line.startswith(f"{child.pid} ") for line in found) for child in children)
    finally:
        kill(*supervisors_of(run), run)
        tricky.grove.run("list")


def test_nothing_is_left_of_a_run_whose_testgrove_is_killed(tricky):
    run = tricky.start()
    children = tricky.children()
    kill(run)
    deadline = time.monotonic() + WITHIN
    while any(child.is_running() for child in children):
        assert time.monotonic() < deadline, f"alive after {WITHIN} s: {tricky.children()}"
        time.sleep(0.01)
    while found := tricky.grove.auditor().audit().processes:  # the supervisors end last
        assert time.monotonic() < deadline, f"alive after {WITHIN} s: {found}"
    assert_killed_run_is_reported(tricky)
    tricky.assert_recycled()


def test_nothing_is_left_of_a_run_whose_supervisor_is_killed(tricky):
    run = tricky.start()
    began = time.monotonic()
    kill(*supervisors_of(run))
    out, err = run.communicate(timeout=30)
    assert tricky.children() == []
    assert run.returncode == 1, out + err
    assert time.monotonic() - began < 10 * WITHIN
    tricky.grove.auditor().assert_no_leftovers()
    report = tricky.report()
    assert (report["complete"], report["status"], cell(report)["status"]) == (True, "error", "error")
    assert "its supervisor process was killed in tests/test_hang.py::test_that_hangs" in cell(report)["reason"]
    tricky.assert_recycled()


def test_nothing_is_left_of_a_run_after_the_next_command_when_both_are_killed(tricky):
    run = tricky.start()
    kill(*supervisors_of(run), run)
    assert tricky.children() != [], "the supervisor was not killed first"
    tricky.grove.run("list")
    assert tricky.children() == []
    tricky.grove.auditor().assert_no_leftovers()
    assert_killed_run_is_reported(tricky)
    tricky.assert_recycled()


@pytest.mark.slow
def test_two_runs_that_were_killed_are_both_finished_by_the_next(tricky):
    first = tricky.start()
    kill(*supervisors_of(first), first)
    for path in tricky.hang.iterdir():
        path.unlink()
    second = tricky.start()
    kill(*supervisors_of(second), second)
    tricky.grove.run("list")
    tricky.grove.auditor().assert_no_leftovers()
    assert len(tricky.grove.runs()) == 2
    tricky.assert_recycled()


def assert_killed_run_is_reported(tricky: Tricky) -> None:
    tricky.grove.run("list")
    report = tricky.report()
    assert (report["complete"], report["exit_status"], cell(report)["status"]) == (False, 130, "error")
    assert "killed" in report["interrupted"]
    (attempt,) = cell(report)["attempts"]
    assert [test["nodeid"] for test in attempt["tests"]] == ["tests/test_hang.py::test_before"]
    log = tricky.grove.runs()[-1] / attempt["log"]
    assert "the output so far" in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_an_interrupted_run_ends_with_a_report(tricky, number):
    run = tricky.start()
    began = time.monotonic()
    interrupt(run, number)
    out, err = run.communicate(timeout=30)
    assert time.monotonic() - began < 9, "a grace of five seconds, and a little"
    assert (run.returncode, err) == (130, ""), out + err
    assert tricky.children() == []
    tricky.grove.auditor().assert_no_leftovers()
    report = tricky.report()
    assert (report["status"], report["exit_status"], cell(report)["status"]) == ("interrupted", 130, "cancelled")
    assert ("Ctrl-C" if number == signal.SIGINT else number.name) in report["interrupted"]
    assert "interrupted" in out
    tricky.assert_recycled()


@pytest.mark.slow
def test_a_second_interrupt_kills_at_once(tricky):
    run = tricky.start()
    interrupt(run)
    time.sleep(0.3)
    assert run.poll() is None
    assert any(child.is_running() for child in tricky.children()), "one of them ignores TERM"
    began = time.monotonic()
    interrupt(run)
    out, err = run.communicate(timeout=30)
    assert time.monotonic() - began < WITHIN
    assert (run.returncode, err) == (130, ""), out + err
    assert tricky.children() == []
    tricky.grove.auditor().assert_no_leftovers()
    assert cell(tricky.report())["status"] == "cancelled"
    tricky.assert_recycled()


@pytest.mark.slow
def test_cells_that_wait_are_cancelled(grove):
    tricky = Tricky(grove, more='[suites.second]\ncommand = "pytest tests/test_none.py"\n')
    run = tricky.start("-j", "1")
    interrupt(run)
    interrupt(run)
    out, err = run.communicate(timeout=30)
    assert (run.returncode, err) == (130, ""), out + err
    report = tricky.report()
    assert {found["key"]: found["status"] for found in report["cells"]} == {"tests": "cancelled", "second": "cancelled"}
    assert set(tricky.grove.worktrees()) == {"test-tests-tree"}
    tricky.grove.auditor().assert_no_leftovers()


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.6])
def test_a_run_that_is_interrupted_early_leaves_nothing(tricky, delay):
    tricky.calm()
    run = tricky.grove.start("test")
    wait_for_main(run)
    time.sleep(delay)
    interrupt(run)
    out, err = run.communicate(timeout=30)
    assert run.returncode in (0, *INTERRUPTED), out + err
    assert "Traceback" not in out + err
    tricky.grove.auditor().assert_no_leftovers()
    for folder in tricky.grove.runs():
        assert (folder / "report.json").exists(), f"{folder} after {delay} s: {out}{err}"
    assert {entry["status"] for entry in tricky.grove.worktrees().values()} <= {"parked"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
@pytest.mark.parametrize("delay", [0.0, 0.06, 0.12])
def test_a_create_that_is_interrupted_undoes_itself(grove, number, delay):
    site = grove()
    site.create("test-unit", "there")
    words = ("--purpose", "test-unit", "--identifier", "x", "--branch", "fresh", "--new-branch", "--ports", "--no-env")
    create = site.start("create", *words)
    wait_for_main(create)
    time.sleep(delay)
    interrupt(create, number)
    out, err = create.communicate(timeout=30)
    assert create.returncode in (0, *INTERRUPTED), out + err
    assert "Traceback" not in out + err
    if create.returncode:
        site.auditor().assert_no_leftovers()
    there = site.worktrees()
    site.auditor().assert_no_leftovers()
    assert ("fresh" in site.git("branch")) == ("test-unit-x" in there)


@pytest.mark.slow
def test_a_suite_that_hangs_is_ended_at_its_timeout(grove):
    tricky = Tricky(grove, timeout=8.0)
    began = time.monotonic()
    done = tricky.grove.run("test", check=False)
    assert time.monotonic() - began < 60
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(list(tricky.hang.iterdir())) == len(KINDS)
    assert tricky.children() == []
    tricky.grove.auditor().assert_no_leftovers()
    report = tricky.report()
    assert (report["complete"], cell(report)["status"]) == (True, "error")
    assert "8 s" in cell(report)["reason"]
    assert "test_that_hangs" in cell(report)["reason"], "the hanging test is named"
    assert "test_that_hangs" in done.stdout
    (attempt,) = cell(report)["attempts"]
    assert "the output so far" in attempt["tail"]
    folder = tricky.grove.runs()[-1]
    assert "the output so far" in (folder / "report.html").read_text()
    assert "test_that_hangs" in (folder / "junit.xml").read_text()
    tricky.assert_recycled()
