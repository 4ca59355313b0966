"""The line of a failed command's output that names the cause."""

from __future__ import annotations

import pytest

from testgrove.core.runs.cause import cause_of, missing_module, start_failure

CONFTEST = """\
ImportError while loading conftest '/t/tests/conftest.py'.
tests/conftest.py:1: in <module>
    import nope
E   ModuleNotFoundError: No module named 'nope'
"""
USAGE = """\
ERROR: usage: pytest [options] [file_or_dir] [file_or_dir] [...]
pytest: error: unrecognized arguments: --cov
  inifile: /t/pytest.ini
  rootdir: /t
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "manage.py", line 22, in <module>
    main()
django.core.exceptions.ImproperlyConfigured: Requested setting INSTALLED_APPS, but settings are not configured.
"""


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (CONFTEST, "ModuleNotFoundError: No module named 'nope'"),
        (USAGE, "unrecognized arguments: --cov"),
        ("ERROR: file or directory not found: tests/x\n\n", "file or directory not found: tests/x"),
        (TRACEBACK, TRACEBACK.splitlines()[-1]),
        ("1 failed\nE       assert 1 == 2\n", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_cause_is_the_line_that_names_the_error(output, cause):
    assert cause_of(output) == cause


def test_a_pytest_that_ran_tests_did_start():
    assert start_failure(CONFTEST) == cause_of(CONFTEST)
    assert start_failure('ERROR: Error importing plugin "pytest_testgrove": No module named ...') == ""
    assert start_failure("==== test session starts ====\nE   ValueError: x\n") == ""
    assert start_failure("E   ValueError: x\n1 failed, 2 passed in 0.1s\n") == ""


def test_a_missing_module_is_named_by_its_top():
    assert missing_module(CONFTEST) == "nope"
    assert missing_module("No module named 'a.b'") == "a"
    assert missing_module("all is well") == ""
