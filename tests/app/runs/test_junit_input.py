"""The JUnit file of a suite that is not pytest."""

from __future__ import annotations

import pytest

from testgrove.app.runs.junit_input import read_junit


@pytest.mark.parametrize("text", ["NaN", "nan", "inf", "-inf", "Infinity", "1e999", "soon", ""])
def test_a_duration_that_is_no_number_of_seconds_counts_as_none(tmp_path, text):
    file = tmp_path / "junit.xml"
    file.write_text(f'<testsuite><testcase name="a" time="{text}"/><testcase name="b" time="1.5"/></testsuite>')
    assert [event.duration for event in read_junit(file, "cell", 1)] == [0.0, 1.5]
