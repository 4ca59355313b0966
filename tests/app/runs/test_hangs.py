"""A suite that its timeout ends: the test that hung is named, counted, and shown with its stack."""

from __future__ import annotations

import json
import sys

import pytest

from grove import said

TESTS = """
import multiprocessing, threading, time
from lock import wait_for_ever

def test_passes():
    pass

def test_hangs():
    threading.Thread(target=time.sleep, args=(60,), name="second", daemon=True).start()
    multiprocessing.get_context("fork").Process(target=in_a_child, daemon=True).start()
    wait_for_ever()

def in_a_child():
    time.sleep(60)

def test_never_begins():
    pass
"""
SETTINGS = """
[suites.unit]
command = "pytest -p no:cacheprovider tests/test_it.py"
timeout = 6
[suites.workers]
command = "pytest -p no:cacheprovider -n2 tests/test_it.py"
timeout = 12
[suites.script]
command = "sh -c 'sleep 60'"
timeout = 0.5
"""
FILES = {
    "pytest.ini": "[pytest]\npythonpath = .\n",
    "lock.py": "import time\n\ndef wait_for_ever():\n    time.sleep(60)\n",
    "tests/test_it.py": TESTS,
}


@pytest.mark.slow
def test_a_test_that_hangs_is_an_error_with_its_stack(grove):
    project = grove(config=SETTINGS, files=FILES)
    done = project.run("test", "--here", env={"VIRTUAL_ENV": sys.prefix}, check=False)
    report = json.loads((project.runs()[0] / "report.json").read_text())
    cells = {cell["key"].partition("@")[0]: cell for cell in report["cells"]}

    alone = cells["unit"]
    where = "in tests/test_it.py::test_hangs (lock.py:4 in wait_for_ever)"
    assert alone["reason"].startswith(f"timed out after 6 s {where}"), said(done)
    tests = {test["nodeid"].partition("::")[2]: test for test in alone["attempts"][0]["tests"]}
    assert {name: test["outcome"] for name, test in tests.items()} == {"test_passes": "passed", "test_hangs": "error"}
    assert tests["test_hangs"]["message"] == "timed out after 6 s (lock.py:4 in wait_for_ever)"
    text = tests["test_hangs"]["text"]
    assert 'lock.py", line 4 in wait_for_ever' in text
    assert "in in_a_child" in text  # of the process that the test forked
    assert text.count("hread 0x") >= 3  # the second thread's as well
    assert "_pytest/runner.py" not in text
    assert "test, tests/test_it.py::test_hangs for " in done.stdout.replace("tests, ", "test, ")  # while it runs

    both = {test["nodeid"].partition("::")[2]: test for test in cells["workers"]["attempts"][0]["tests"]}
    assert both["test_hangs"]["outcome"] == "error"
    assert 'lock.py", line 4 in wait_for_ever' in both["test_hangs"]["text"]

    assert cells["script"]["reason"].startswith("timed out after 0.5 s")
    shown = (project.runs()[0] / "test-script-here/stacks.log").read_text()
    assert "sleep 60 (sleeping)" in shown
    assert report["summary"]["tests"]["error"] == 2
