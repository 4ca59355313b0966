"""What a run writes, apart from the run."""

from __future__ import annotations

from testgrove.app.runs.log_and_reports import load_reports
from testgrove.cli.context import render_reports


def test_reports_are_loaded_by_rendering_a_run_in_which_nothing_has_happened(tmp_path):
    made = []
    load_reports(lambda result: made.extend(render_reports(result, tmp_path)) or ())
    assert [name for name, _ in made] == ["report.json", "junit.xml", "report.html"]


def test_loading_the_reports_never_fails():
    def render(_result):
        raise RuntimeError("a bug")

    load_reports(render)
