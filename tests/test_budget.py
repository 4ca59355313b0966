"""The gate's budget: what comes first, what is left out, and that nothing is started that would end too late."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import budget
from budget import Budget, in_order, left_out_lines, third, touch

FILES = {f"tests/app/test_{name}.py": "" for name in "abc"}
A, B, C = FILES


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_nothing_is_started_that_would_end_after_the_deadline():
    clock = Clock()
    plan = Budget(2000.0, {A: 100.0, B: 500.0}, clock)
    assert plan.has_time_for(A)
    assert plan.has_time_for(B), "750 of 850 s"
    assert plan.has_time_for(C), "it counts as a minute"
    clock.now = 1200.0
    assert plan.has_time_for(A)
    assert not plan.has_time_for(B)
    clock.now = 1999.0
    assert not any(map(plan.has_time_for, FILES))


def test_a_slow_machine_stops_sooner():
    plan = Budget(2000.0, {A: 100.0, B: 250.0}, Clock())
    assert plan.has_time_for(B)
    plan.note(A, 250.0)
    assert plan.slowness == 2.5
    assert not plan.has_time_for(B), "it would take 625 s, and half as much for safety"
    plan.note(A, 1.0)
    assert plan.slowness == 2.5, "a short test of the file says nothing"


def test_a_fast_machine_is_not_trusted():
    plan = Budget(2000.0, {A: 100.0}, Clock())
    plan.note(A, 60.0)
    assert plan.slowness == 1.0


def test_a_long_test_is_left_out_where_a_short_one_still_fits():
    clock = Clock()
    plan = Budget(2000.0, {A: 2.0, B: 200.0}, clock)
    clock.now = 1600.0
    assert plan.has_time_for(A)
    assert not plan.has_time_for(B)
    assert plan.has_time_for(C), "nothing is known of it"
    assert not plan.has_time_for(C, 900.0), "its own timeout tells that it is long"


def test_the_durations_of_a_fresh_clone_are_those_of_files_that_exist():
    durations = json.loads(budget.DURATIONS.read_text())
    root = budget.DURATIONS.parents[1]
    assert not [file for file in durations if not (root / file).is_file()]
    assert all(0 < seconds <= 300 for seconds in durations.values())
    assert len(durations) > 30, "where they are missing, every slow test counts as a minute"


def test_touched_files_come_first_then_those_that_ran_longest_ago():
    assert in_order(FILES, {C: 3, B: 1}, {}, "x") == [C, B, A]
    assert in_order(FILES, {}, {A: 30.0, B: 10.0, C: 20.0}, "x") == [B, C, A]
    assert in_order(FILES, {}, {A: 30.0, B: 10.0}, "x")[0] == C, "one that never ran"


def test_without_a_record_another_file_is_first_each_time():
    assert len({in_order(FILES, {}, {}, str(turn))[0] for turn in range(20)}) == len(FILES)


def test_what_a_change_touches():
    tests = {
        "tests/app/runs/test_run.py": "",
        "tests/app/test_leaks.py": "from testgrove.app.runs import leaks, run\n",
        "tests/app/test_here.py": "",
        "tests/cli/test_shell.py": "import testgrove.system.files\n",
    }
    scores = touch(["src/testgrove/app/runs/run.py", "README.md"], tests)
    assert scores == dict(zip(tests, (2, 2, 1, 0), strict=True))
    assert touch(["src/testgrove/system/files.py"], tests)["tests/cli/test_shell.py"] == 2
    assert touch(["tests/app/test_here.py"], tests) == dict(zip(tests, (0, 0, 3, 0), strict=True))


def test_three_turns_are_all_files():
    turns = [third(FILES, turn) for turn in range(3)]
    assert sorted(file for turn in turns for file in turn) == sorted(FILES)


def test_what_was_left_out_is_named_up_to_a_bound():
    assert left_out_lines({}) == ["everything has run: no slow test was left out"]
    lines = left_out_lines({f"tests/test_{number}.py": 2 for number in range(30)})
    assert lines[0].startswith("left out: 60 slow tests in 30 files")
    assert len(lines) == 1 + budget.NAMED + 1
    assert lines[-1] == "and 10 more files"


PLUGIN = """
import budget
from budget import pytest_addoption, pytest_configure
budget.UNKNOWN = 0
"""
SUITE = """
import pytest
@pytest.mark.slow
def test_slow(): pass
def test_fast(): pass
@pytest.mark.slow
def test_other(): pass
"""


def session(folder: Path, *words: str, started: float) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(Path(budget.__file__).parent), budget.STARTED: str(started)}
    argv = [sys.executable, "-m", "pytest", "-v", "-p", "no:hypothesispytest", *words]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_session_runs_the_fast_tests_first_and_says_what_it_leaves_out(tmp_path):
    (tmp_path / "conftest.py").write_text(PLUGIN)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    (tmp_path / "test_a.py").write_text(SUITE)
    late = session(tmp_path, "--budget=10", started=0).stdout
    assert "1 passed, 2 skipped in " in late.splitlines()[-1]
    assert "left out: 2 slow tests in 1 files" in late
    assert "  test_a.py (2)" in late
    early = session(tmp_path, "--budget=10", "-n2", started=budget.time.time()).stdout
    assert "3 passed in " in early.splitlines()[-1]
    assert "no slow test was left out" in early
    record = json.loads((tmp_path / ".pytest_cache/v" / budget.RECORD).read_text())
    assert list(record) == ["test_a.py"]


def test_a_third_of_the_files_runs_its_fast_tests_until_the_time_is_used(tmp_path):
    (tmp_path / "conftest.py").write_text(PLUGIN)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    for name in "abc":
        (tmp_path / f"test_{name}.py").write_text(SUITE)
    done = session(tmp_path, "--third=8", started=budget.time.time()).stdout
    assert "1 passed, 2 deselected in " in done.splitlines()[-1]
    late = session(tmp_path, "--third=8", "-n2", started=budget.time.time() - 481).stdout
    assert "1 skipped in " in late.splitlines()[-1]
    assert f"{budget.LEFT_OUT}: test_" in late
