"""A green result must mean that this tree's tests ran and passed."""

from __future__ import annotations

from collections import Counter

import pytest

from testgrove.core.runs.outcome import (
    Ending,
    SessionFacts,
    is_pytest,
    judge,
    judge_connections,
    judge_junit,
    judge_processes,
    judge_unittest,
)


def session(**outcomes: int) -> SessionFacts:
    return SessionFacts(sessions=1, finishes=1, outcomes=Counter(outcomes))


def status(ending: Ending, facts: SessionFacts, *, pytest: bool = True) -> str:
    return judge(ending, facts, pytest=pytest)[0]


def test_passing_tests_pass():
    assert judge(Ending(0), session(passed=3, skipped=1), pytest=True) == ("passed", "")


@pytest.mark.parametrize(
    ("ending", "facts", "expected", "word"),
    [
        (Ending(1), session(passed=3, failed=1), "failed", ""),
        (Ending(0), session(failed=1), "failed", "exit status was 0"),
        (Ending(1), session(passed=1), "failed", "no test failed"),
        (Ending(5), session(), "error", "no tests selected"),
        (Ending(0), session(), "error", "no tests selected"),
        (Ending(0), session(skipped=4), "skipped", "all 4 tests were skipped"),
        (Ending(0), SessionFacts(), "error", "not verified"),
        (Ending(2), SessionFacts(), "error", "before testgrove's plugin"),
        (
            Ending(0),
            SessionFacts(sessions=1, unfinished={"t.py::test_exit": 0.0}),
            "error",
            "it left in t.py::test_exit",
        ),
        (Ending(0), SessionFacts(1, 1, selected=3, ran=1, outcomes=Counter(passed=1)), "error", "1 of 3 selected"),
        (Ending(0), SessionFacts(1, 1, outcomes=Counter(passed=1), elsewhere=["/usr"]), "error", "ran in /usr"),
        (Ending(0), SessionFacts(sessions=1, outcomes=Counter(passed=1)), "error", "without finishing"),
        (Ending(3), session(passed=1), "error", "internal error"),
        (Ending(127), SessionFacts(), "error", "command not found"),
        (Ending(126), session(passed=1), "error", "cannot execute a command"),
        (Ending(127), session(failed=1), "failed", ""),
        (Ending(4), SessionFacts(sessions=1), "error", "invalid pytest arguments"),
        (Ending(4), session(error=1), "failed", "could not collect"),
        (Ending(2), session(error=1), "failed", "interrupted"),
        (Ending(2), session(passed=1), "error", "interrupted"),
        (Ending(None, signal=9), session(passed=1), "error", "signal 9"),
        (Ending(None, timed_out=True, timeout=5), session(passed=1), "error", "timed out after 5 s"),
        (Ending(None, lost=True), session(passed=1), "error", "its supervisor process was killed"),
        (Ending(0, cancelled=True), session(passed=1), "cancelled", "interrupted"),
    ],
)
def test_everything_else_says_what_it_was(ending, facts, expected, word):
    found, reason = judge(ending, facts, pytest=True)
    assert found == expected
    assert word in reason


def test_foreign_code_makes_a_pass_an_error():
    facts = session(passed=9)
    facts.foreign = ["shop from /main"]
    found, reason = judge(Ending(0), facts, pytest=True)
    assert (found, "shop from /main" in reason) == ("error", True)


def test_a_hanging_test_is_named():
    facts = SessionFacts(sessions=1, unfinished={"tests/test_a.py::test_hang": 0.0})
    assert "test_hang" in judge(Ending(None, timed_out=True, timeout=1), facts, pytest=True)[1]


@pytest.mark.parametrize(
    ("command", "output", "expected"),
    [
        ("python manage.py test", "Ran 0 tests in 0.000s\n\nOK\n", ("error", "no tests selected: no test ran")),
        ("python -m unittest", "", ("error", "no tests selected: no test ran")),
        (
            "python manage.py test",
            "Ran 3 tests in 0.1s\n\nOK\n",
            ("passed", "3 tests ran; not verified: not a pytest suite"),
        ),
        ("npm test", "Ran 0 tests in 0.000s", ("passed", "not verified")),
    ],
)  # fmt: skip
def test_a_command_of_unittest_or_django_that_ran_no_test_has_not_passed(command, output, expected):
    assert judge_unittest(command, output, "passed", "not verified") == expected
    assert judge_unittest(command, output, "failed", "exit status 1") == ("failed", "exit status 1")


def test_pytests_own_error_is_the_reason():
    cause = "ModuleNotFoundError: No module named 'nope'"
    unreported = judge(Ending(4), SessionFacts(), pytest=True, cause=cause)
    assert unreported == ("error", f"pytest could not start (exit status 4): {cause}")
    claimed = judge(
        Ending(4), SessionFacts(sessions=1, finishes=1), pytest=True, cause="file or directory not found: x"
    )
    assert claimed == ("error", "invalid pytest arguments: file or directory not found: x")
    assert judge(Ending(1), SessionFacts(), pytest=False, cause=cause) == ("failed", f"exit status 1: {cause}")


def test_a_suite_without_a_test_of_the_chosen_keyword_is_skipped():
    facts = SessionFacts(sessions=1, finishes=1, deselected=4)
    assert judge(Ending(5), facts, pytest=True, chosen=True) == ("skipped", "none of 4 tests was selected")
    assert judge(Ending(5), facts, pytest=True)[0] == "error"


def test_a_command_that_is_not_pytest_is_judged_by_its_status():
    assert judge(Ending(0), SessionFacts(), pytest=False) == ("passed", "not verified: not a pytest suite")
    assert status(Ending(3), SessionFacts(), pytest=False) == "failed"
    assert status(Ending(127), SessionFacts(), pytest=False) == "error"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("pytest tests", True),
        ("python -m pytest", True),
        ("coverage run -m pytest -x", True),
        (".venv/bin/pytest", True),
        ("cd x && pytest", True),
        ("py.test", True),
        ("npm test", False),
        ("python run_pytests.py", False),
        ("mypytest", False),
        ("make pytest-ish", False),
    ],
)
def test_pytest_commands_are_recognised(command, expected):
    assert is_pytest(command) is expected


@pytest.mark.parametrize(
    ("counts", "status", "expected"),
    [
        ({"passed": 2}, "passed", "passed"),
        ({"passed": 2, "failed": 1}, "passed", "failed"),
        ({}, "passed", "error"),
        ({"skipped": 2}, "passed", "skipped"),
        ({"passed": 2}, "failed", "failed"),
        ({}, "error", "error"),
    ],
)
def test_a_junit_file_never_makes_a_status_better(counts, status, expected):
    assert judge_junit(Counter(counts), status, "")[0] == expected


@pytest.mark.parametrize(
    ("ended", "status", "reason", "expected"),
    [
        ([], "passed", "", ("passed", "")),
        (["process api died"], "passed", "", ("error", "process api died while the suite ran")),
        (
            ["process api died"],
            "failed",
            "exit status 1",
            ("error", "process api died while the suite ran; exit status 1"),
        ),
        (["process api died"], "cancelled", "the run was interrupted", ("cancelled", "the run was interrupted")),
    ],
)
def test_a_process_that_ended_makes_any_outcome_an_error_but_a_cancelled_one(ended, status, reason, expected):
    assert judge_processes(ended, status, reason) == expected


def test_a_connection_to_what_was_not_given_is_an_error_whatever_else_was_seen():
    assert judge_connections([], "passed", "x") == ("passed", "x")
    assert judge_connections(["a leads to b"], "passed", "not verified") == ("error", "a leads to b")
    assert judge_connections(["a leads to b"], "cancelled", "the run was interrupted") == ("error", "a leads to b")
    assert judge_connections(["a"], "error", "killed by signal 9") == ("error", "a; killed by signal 9")
