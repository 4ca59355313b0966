"""A run that skips tests which ran before says so."""

from __future__ import annotations

import sys

TESTS = "import os, pytest\n\n@pytest.mark.skipif('SKIP' in os.environ, reason='asked')\ndef test_a(): pass\n\n"
TESTS += "def test_b(): pass\n\n@pytest.mark.skip\ndef test_c(): pass\n"


def test_tests_that_ran_before_and_were_skipped_now_are_named(grove):
    project = grove(files={"tests/test_it.py": TESTS})

    def said(**env):
        return project.run("test", "--here", env={"VIRTUAL_ENV": sys.prefix, **env}).stderr

    assert "skipped" not in said()
    (before,) = (folder.name for folder in project.runs())
    assert f"note: tests: 1 test was skipped that ran in run {before}: tests/test_it.py::test_a\n" in said(SKIP="1")
    assert "skipped" not in said(SKIP="1")  # the newest earlier run skipped it, too
