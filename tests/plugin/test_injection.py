"""The plugin comes from a folder of its own, into any environment, and nobody notices but the one who asked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from plugin.conftest import UNUSED
from testgrove.system.plugin import injected_environment, place_plugin

STRICT = {"pytest.ini": "[pytest]\nfilterwarnings = error\naddopts = --strict-markers --strict-config\n"}
ENVIRON = """
import os, sys

def test_environment():
    assert "PYTHONPATH" not in os.environ
    assert "PYTEST_PLUGINS" not in os.environ
"""


def strict(suite):
    (suite.tree / "pytest.ini").write_text(STRICT["pytest.ini"])
    return suite


@pytest.fixture(params=["installed too", "injected only"])
def any_suite(request, suite):
    if request.param == "injected only":
        suite.python = request.getfixturevalue("bare_python")
    return strict(suite)


@pytest.mark.parametrize("arguments", [(), ("-n2",), ("-p", "pytest_testgrove")], ids=["alone", "xdist", "twice"])
def test_it_reports_without_a_warning(any_suite, arguments):
    result = any_suite.run(*arguments, test_a="def test_a(): ...\n")
    assert result.status == 0, result.output
    assert result.outcomes() == {"test_a": "passed"}
    assert "warning" not in result.output
    assert "already registered" not in result.output


@pytest.mark.parametrize("arguments", [(), ("-n1", "-p", "xdist.plugin")], ids=["alone", "xdist"])
def test_it_reports_where_plugins_are_not_loaded_by_themselves(any_suite, arguments):
    any_suite.env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    result = any_suite.run(*arguments, test_a="def test_a(): ...\n")
    assert result.status == 0, result.output
    assert result.outcomes() == {"test_a": "passed"}


def test_an_installed_plugin_alone_reports_too(suite):
    session = suite.session()
    suite.inject = False
    suite.env = {"TESTGROVE_SESSION": str(session)}
    suite.run(test_a="def test_a(): ...\n")
    assert "test_a.py::test_a" in (session / "tests.jsonl").read_text()


@pytest.mark.parametrize("arguments", [(), ("-n1",)], ids=["alone", "xdist"])
def test_tests_see_the_environment_of_a_plain_run(bare_suite, arguments):
    source = ENVIRON
    if arguments:  # xdist's workers set a PYTHONPATH of their own in some versions; ours is not in it
        source = source.replace('"PYTHONPATH" not in os.environ', f'{str(bare_suite.plugin)!r} not in '
                                                                  'os.environ.get("PYTHONPATH", "")')  # fmt: skip
    result = bare_suite.run(*arguments, test_a=source)
    assert result.status == 0, result.output


def test_what_the_suite_configured_stays(bare_suite):
    bare_suite.write(bare_suite.base / "more", mine="")
    bare_suite.env = {"PYTHONPATH": str(bare_suite.base / "more"), "PYTEST_PLUGINS": "mine"}
    source = f"""
import os, sys
def test_a():
    assert "mine" in sys.modules
    assert os.environ["PYTHONPATH"] == {str(bare_suite.base / "more")!r}
    assert os.environ["PYTEST_PLUGINS"] == "mine"
"""
    result = bare_suite.run(test_a=source)
    assert result.status == 0, result.output
    assert len(result.of("test")) == 1


NESTED = """
import os, subprocess, sys
import pytest

pytest_plugins = "pytester"
FAILS = "def test_inner(): assert 0"

def test_in_process(pytester):
    pytester.makepyfile(FAILS)
    pytester.runpytest_inprocess().assert_outcomes(failed=1)

def test_subprocess(pytester):
    pytester.makepyfile(FAILS)
    pytester.runpytest_subprocess().assert_outcomes(failed=1)

def test_main(tmp_path):
    (tmp_path / "test_x.py").write_text(FAILS)
    assert pytest.main([str(tmp_path), "--rootdir", str(tmp_path)]) == 1

def test_shell(tmp_path):
    (tmp_path / "test_x.py").write_text(FAILS)
    assert subprocess.run([sys.executable, "-m", "pytest", str(tmp_path)]).returncode == 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("-n2",)], ids=["alone", "xdist"])
@pytest.mark.parametrize("kind", ["installed too", "injected only"])
def test_nested_pytest_processes_stay_silent(suite, request, kind, arguments):
    if kind == "injected only":
        suite.python = request.getfixturevalue("bare_python")
    result = suite.run(*arguments, conftest="pytest_plugins = 'pytester'\n", test_a=NESTED)
    assert result.status == 0, result.output
    assert result.outcomes() == dict.fromkeys(
        ("test_in_process", "test_subprocess", "test_main", "test_shell"), "passed"
    )
    assert len(result.of("session")) == len(result.of("finish")) == 1


def test_a_nested_pytest_that_was_given_everything_stays_silent(suite):
    source = f"""
import os, subprocess, sys
def test_a(tmp_path):
    (tmp_path / "test_x.py").write_text("def test_inner(): assert 0")
    env = {{**os.environ, "PYTHONPATH": {str(suite.plugin)!r}, "PYTEST_PLUGINS": "pytest_testgrove"}}
    assert subprocess.run([sys.executable, "-m", "pytest", *{UNUSED}, str(tmp_path)], env=env).returncode == 1
"""
    assert suite.run(test_a=source).outcomes() == {"test_a": "passed"}


def test_pytest_processes_one_after_another_are_all_reported(suite):
    suite.write(test_a="def test_a(): ...\n", test_b="def test_b(): ...\n")
    pytest = " ".join((sys.executable, "-m", "pytest", *UNUSED))
    result = suite.command("sh", "-c", f"{pytest} test_a.py && {pytest} test_b.py")
    assert result.outcomes() == {"test_a": "passed", "test_b": "passed"}
    assert len(result.of("finish")) == 2


def test_sessions_one_after_another_in_one_process_are_all_reported(suite):
    suite.write(test_a="def test_a(): ...\n", test_b="def test_b(): ...\n")
    script = (
        f"import pytest; pytest.main([*{UNUSED}, 'test_a.py'])\n"
        f"pytest.main([*{UNUSED}, 'test_b.py', '-p', 'pytest_testgrove'])"
    )
    assert suite.command(sys.executable, "-c", script).outcomes() == {"test_a": "passed", "test_b": "passed"}


def test_a_session_folder_that_is_gone_changes_nothing(suite):
    suite.inject = False
    suite.env = {"TESTGROVE_SESSION": "/nowhere/at/all"}
    assert suite.run(test_a="def test_a(): ...\n").status == 0


def test_it_imports_little(bare_suite):
    bare_suite.write(test_a="def test_a(): ...\n")
    script = (
        "import faulthandler, sys, pytest\n"  # pytest imports the first one when it is configured
        "from _pytest import config, junitxml, terminal, assertion, logging, debugging\n"
        "before = set(sys.modules); import pytest_testgrove.recorder\n"
        "print('NEW', sorted(set(sys.modules) - before))"
    )
    new = bare_suite.command(bare_suite.python, "-c", script).output.partition("NEW ")[2]
    assert {name for name in eval(new) if not name.startswith("pytest_testgrove")} <= {"json", "json.decoder",
                                                       "json.encoder", "json.scanner", "_json"}  # fmt: skip


def test_the_folder_holds_nothing_but_the_plugin(tmp_path: Path):
    folder = place_plugin(tmp_path / "cache")
    assert [path.name for path in folder.iterdir()] == ["pytest_testgrove"]
    assert folder.parent.parent == tmp_path / "cache"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert place_plugin(tmp_path / "cache") == folder


def test_a_damaged_folder_is_mended(tmp_path: Path):
    folder = place_plugin(tmp_path)
    (folder / "pytest_testgrove/recorder.py").unlink()
    (folder / "pytest_testgrove/session.py").write_text("half")
    assert place_plugin(tmp_path) == folder
    assert "class Log" in (folder / "pytest_testgrove/session.py").read_text()
    assert (folder / "pytest_testgrove/recorder.py").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_many_may_place_it_at_once(tmp_path: Path):
    places: list[Path] = []
    threads = [threading.Thread(target=lambda: places.append(place_plugin(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 8
    assert len(set(places)) == 1
    assert len(list(places[0].parent.iterdir())) == 1


def test_placing_it_does_not_import_it(tmp_path: Path):
    script = (
        "import sys, pathlib; from testgrove.system.plugin import place_plugin\n"
        f"place_plugin(pathlib.Path({str(tmp_path)!r}))\nassert 'pytest_testgrove' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_injected_environment(tmp_path: Path):
    env = injected_environment({"A": "1"}, tmp_path, tmp_path / "s", tmp_path / "t", [tmp_path / "main"])
    assert env["A"] == "1"
    assert env["PYTHONPATH"] == str(tmp_path)
    assert env["PYTEST_PLUGINS"] == "pytest_testgrove"
    assert env["TESTGROVE_FOREIGN"] == f'["{tmp_path}/main"]'
    again = injected_environment({"PYTHONPATH": "src:lib", "PYTEST_PLUGINS": "a,pytest_testgrove"}, tmp_path,
                                 tmp_path, tmp_path, [])  # fmt: skip
    assert again["PYTHONPATH"] == f"{tmp_path}{os.pathsep}src:lib"
    assert again["PYTEST_PLUGINS"] == "a,pytest_testgrove"
