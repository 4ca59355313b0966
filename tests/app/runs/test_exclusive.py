"""Exclusive suites: nothing else of ours runs meanwhile, measured by what the suites themselves write."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from grove import Grove, said

INTERVAL = """
import os, sys, time
from pathlib import Path
began = time.time()
time.sleep(float(sys.argv[2]))
place = Path(os.environ["INTERVALS"], f"{os.environ['WORKTREE_ID']}-{sys.argv[1]}-{os.getpid()}")
place.write_text(f"{began} {time.time()}")
"""
HANG = """
import os, signal
from pathlib import Path
Path(os.environ["INTERVALS"], "hangs").touch()
signal.pause()
"""
FILES = {"README.md": "A project.\n", "interval.py": INTERVAL, "hang.py": HANG}


def config(intervals: Path, **suites: str) -> str:
    """suites: a command for each, with `!` before that of an exclusive one."""
    text = f'[env]\nINTERVALS = "{intervals}"\n'
    for name, command in suites.items():
        text += f'[suites.{name}]\ncommand = "python {command.lstrip("!")}"\n'
        text += f"exclusive = {str(command.startswith('!')).lower()}\n"
    return text


@pytest.fixture
def intervals(tmp_path) -> Path:
    folder = tmp_path / "intervals"
    folder.mkdir()
    return folder


def read(intervals: Path) -> dict[str, tuple[float, float]]:
    """When each suite ran, by its worktree and label."""
    found = {}
    for path in intervals.iterdir():
        began, ended = map(float, path.read_text().split())
        found[path.name.rpartition("-")[0]] = (began, ended)
    return found


def overlaps(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def wait_for(path: Path, run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_in_two_projects_at_once_an_exclusive_suite_runs_alone(grove, intervals):
    def suites(label: str) -> dict[str, str]:
        return dict.fromkeys("ab", f"interval.py {label} 0.5") | {"quiet": f"!interval.py {label} 0.5"}

    here = grove(files=FILES, config=config(intervals, **suites("A")))
    there = here.sibling("other", files=FILES, config=config(intervals, **suites("B")))
    runs = [project.start("test", "-j", "2") for project in (here, there)]
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, out + err
    found = read(intervals)
    assert len(found) == 6, sorted(found)
    alone = {name: interval for name, interval in found.items() if "quiet" in name}
    assert len(alone) == 2
    for name, interval in alone.items():
        others = [other for other in found if other != name and overlaps(found[other], interval)]
        assert others == [], f"{name} did not run alone: {found}"
    here.auditor(there).assert_no_leftovers()


@pytest.mark.slow
def test_cells_that_are_not_exclusive_run_side_by_side(grove, intervals):
    project = grove(files=FILES, config=config(intervals, a="interval.py A 1.5", b="interval.py A 1.5"))
    project.run("test", "-j", "2")
    one, other = read(intervals).values()
    assert overlaps(one, other)


@pytest.fixture
def hanging(grove, intervals):
    """A run whose only suite hangs; its project has an exclusive suite, too."""
    project = grove(files=FILES, config=config(intervals, hangs="hang.py", quiet="!interval.py A 0"))
    run = project.start("test", "hangs")
    wait_for(intervals / "hangs", run)
    yield project, run
    run.kill()
    run.communicate()


def log_of(project: Grove, suite: str) -> str:
    return next(
        (text for folder in project.runs() if f'"{suite}"' in (text := (folder / "events.jsonl").read_text())), ""
    )


@pytest.mark.slow
def test_the_wait_says_who_is_waited_for_and_ctrl_c_ends_it(hanging):
    project, run = hanging
    waiting = project.start("test", "quiet")
    who = f"to run alone, for test-hangs-tree of project (pid {run.pid})"
    deadline = time.monotonic() + 60
    while who not in log_of(project, "quiet"):
        assert waiting.poll() is None, waiting.communicate()
        assert time.monotonic() < deadline, log_of(project, "quiet")
        time.sleep(0.02)
    late = project.start("test", "hangs")
    why = f"for an exclusive suite: test-hangs-tree of project (pid {run.pid}), test-quiet-tree of project"
    while why not in "".join((folder / "events.jsonl").read_text() for folder in project.runs()):
        assert late.poll() is None, late.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for command in (late, waiting):
        os.killpg(command.pid, signal.SIGINT)
        out, err = command.communicate(timeout=30)
        assert "cancelled" in out, out + err
    assert f"quiet: waiting: {who}" in out


@pytest.mark.slow
def test_a_holder_that_is_killed_lets_the_next_one_run(hanging, intervals):
    project, run = hanging
    waiting = project.start("test", "quiet")
    deadline = time.monotonic() + 60
    while "to run alone" not in log_of(project, "quiet"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.kill()
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, out + err
    (intervals / "hangs").unlink()
    assert list(read(intervals)) == ["test-quiet-tree-A"]
    project.run("list")
    project.auditor().assert_no_leftovers()


@pytest.mark.slow
def test_a_create_waits_for_an_exclusive_suite(grove, intervals):
    project = grove(files=FILES, config=config(intervals, quiet="!hang.py"))
    run = project.start("test", "quiet")
    wait_for(intervals / "hangs", run)
    created = project.start("create", "--purpose", "review", "--identifier", "one", "--branch", "main", "--no-env")
    line = created.stderr.readline()
    assert "waiting: for an exclusive suite: test-quiet-tree of project" in line
    assert created.poll() is None
    run.kill()
    run.communicate()
    out, err = created.communicate(timeout=60)
    assert created.returncode == 0, out + err


@pytest.mark.slow
@pytest.mark.parametrize("exclusive", [True, False])
def test_what_a_suite_runs_of_testgrove_is_its_own_work(grove, intervals, exclusive):
    nested = "import sys, subprocess as s; sys.exit(s.call([sys.argv[1], '-m', 'testgrove', *sys.argv[2:]]))"
    words = f"{sys.executable} test --project {{}} quiet"
    project = grove(files=FILES | {"nested.py": nested})
    text = config(intervals, outer=f"{'!' * exclusive}nested.py {words.format(project.repo)}", quiet="!interval.py A 0")
    text = text.replace("[suites.outer]", "[suites.outer]\ntimeout = 30")
    table = (project.repo / "testgrove.toml").read_text()
    project.write({"testgrove.toml": text + table}, commit="Suites")
    project.run("test", "outer")
    assert list(read(intervals)) == ["test-quiet-tree-A"]


@pytest.mark.slow
def test_waiting_for_a_turn_is_not_a_cells_own_time(grove, intervals):
    config_text = config(intervals, long="interval.py A 1.5", quiet="!interval.py A 0")
    project = grove(files=FILES, config=config_text)
    done = project.run("test", "-j", "2")
    report = json.loads((project.runs()[-1] / "report.json").read_text())
    (cell,) = [cell for cell in report["cells"] if cell["key"] == "quiet"]
    waits = [phase["duration"] for phase in cell["phases"] if "to run alone" in phase["reason"]]
    assert waits, said(done)
    with closing(sqlite3.connect(project.state / "state.db")) as store:
        ((kept,),) = store.execute("SELECT seconds FROM durations WHERE cell = 'quiet'").fetchall()
    assert kept == pytest.approx(cell["duration"] - sum(waits), abs=0.1)
