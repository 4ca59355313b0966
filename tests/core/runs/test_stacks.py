"""Stacks as faulthandler writes them: where the project's code was, and which of them are a test's."""

from __future__ import annotations

from testgrove.core.runs.stacks import innermost, of_test, without_runner

RUNNER = '  File "/w/t/.venv/lib/python3.12/site-packages/_pytest/python.py", line 187 in pytest_pyfunc_call\n'
MAIN = f"""Thread 0x00007f01 (most recent call first):
  File "/w/t/pool.py", line 3 in work

Current thread 0x00007f02 (most recent call first):
  File "/usr/lib/python3.12/threading.py", line 355 in wait
  File "/w/t/src/lock.py", line 4 in wait_for_ever
  File "/w/t/tests/test_it.py", line 9 in test_hangs
{RUNNER}"""
CHILD = """Current thread 0x00007f03 (most recent call first):
  File "/w/t/tests/test_it.py", line 20 in in_a_child
"""


def test_the_main_thread_of_the_first_process_tells_where_the_projects_code_was():
    assert innermost(MAIN + CHILD, "/w/t") == "src/lock.py:4 in wait_for_ever"


def test_another_thread_tells_where_the_main_thread_runs_none():
    controller = f"Current thread 0x00007f04 (most recent call first):\n{RUNNER}\n{MAIN.partition('Current')[0]}"
    assert innermost(controller, "/w/t") == "pool.py:3 in work"


def test_nothing_is_told_where_no_code_of_the_project_ran():
    assert innermost("", "/w/t") == ""
    assert innermost(MAIN, "/w/other") == ""
    assert innermost(RUNNER, "/w/t") == ""


def test_a_test_has_the_stacks_of_its_own_process():
    other = MAIN.replace("test_hangs", "test_other")
    assert of_test([other, MAIN], "tests/test_it.py::test_hangs[1-a]") == MAIN
    assert of_test([other], "tests/test_it.py::test_hangs") == other


def test_frames_of_the_runner_are_left_out():
    assert without_runner(MAIN) == MAIN.replace(RUNNER, "")
