"""The line of a failed command's output that names the cause."""

from __future__ import annotations

import pytest

from testgrove.core.runs.cause import cause_of, start_failure
from testgrove.core.runs.lacking import missing_file, missing_module, missing_plugin, unset_variable

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
        (CONFTEST, "ModuleNotFoundError: No module named 'nope' (/t/tests/conftest.py)"),
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


@pytest.mark.parametrize(
    ("output", "module"),
    [
        (CONFTEST, "nope"),
        ("/env/bin/python: No module named pytest\n", "pytest"),
        ("E   ModuleNotFoundError: No module named 'shop._speedups'", ""),  # shop itself was found
        ("SKIPPED [1] tests/test_a.py:3: could not import 'numpy': No module named 'numpy'", ""),
        ("tests/test_a.py::test_a SKIPPED (could not import 'numpy': No module named 'numpy')", ""),
        ("all is well", ""),
    ],
)
def test_a_missing_module_is_one_that_was_needed(output, module):
    assert missing_module(output) == module


@pytest.mark.parametrize(
    ("output", "plugin"),
    [
        ("pytest: error: unrecognized arguments: -n", "pytest-xdist"),
        ("pytest: error: unrecognized arguments: -n4 --dist=loadfile", "pytest-xdist"),
        ("pytest: error: unrecognized arguments: --cov=src --cov-report=xml", "pytest-cov"),
        ("pytest: error: unrecognized arguments: --cov-report=xml", "pytest-cov"),
        ("pytest: error: unrecognized arguments: --timeout=3", "pytest-timeout"),
        ("pytest: error: unrecognized arguments: --nope", ""),
        ("ERROR: Unknown config option: asyncio_mode", "pytest-asyncio"),
        ("PytestConfigWarning: Unknown config option: timeout", ""),
        ("PytestConfigWarning: Unknown config option: nope\nE       fixture 'mocker' not found", "pytest-mock"),
        ("E       fixture 'mocker' not found", "pytest-mock"),
        ("E       fixture 'event_loop' not found", ""),  # newer versions of pytest-asyncio have none
        ("E       fixture 'shop' not found", ""),
        ("async def functions are not natively supported.", "pytest-asyncio"),
    ],
)
def test_a_missing_plugin_is_known_by_what_it_brings(output, plugin):
    assert missing_plugin(output) == plugin


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("    os.environ['SECRET_KEY']\n<frozen os>:679: KeyError\nE   KeyError: 'SECRET_KEY'", "SECRET_KEY"),
        ("    cache['SECRET_KEY']\nE   KeyError: 'SECRET_KEY'", ""),
        ("django.core.exceptions.ImproperlyConfigured: Set the DATABASE_URL environment variable", "DATABASE_URL"),
        ("decouple.UndefinedValueError: API_KEY not found. Declare it as envvar or define a default", "API_KEY"),
        ('environs.EnvError: Environment variable "API_KEY" not set', "API_KEY"),
        (
            "E   pydantic: 1 validation error for Settings\nE   secret_key\nE     Field required [type=missing]",
            "SECRET_KEY",
        ),
    ],
)
def test_a_variable_that_is_not_set_is_named(output, name):
    assert unset_variable(output) == name


def test_what_else_was_lacking():
    assert (
        missing_file("FileNotFoundError: [Errno 2] No such file or directory: 'conf/local.json'") == "conf/local.json"
    )


def test_an_error_that_names_no_file_gets_the_one_that_it_is_about():
    syntax = """E     File "tests/conftest.py", line 3\nE       def f(:\nE   SyntaxError: invalid syntax\n"""
    assert cause_of(syntax) == "SyntaxError: invalid syntax (tests/conftest.py, line 3)"
    assert cause_of("Exit: start the database first\n") == "start the database first"
    assert cause_of("INTERNALERROR> RuntimeError: no licence\n") == "RuntimeError: no licence"
    assert cause_of("!!!!!! _pytest.outcomes.Exit: no database !!!!!!\n") == "no database"
