"""Where commands get their project: the application, with the reports as their renderer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.app.project import Project, open_project

if TYPE_CHECKING:
    from testgrove.core.events import RunResult


def project_in(directory: Path) -> Project:
    """The project that a folder is in. Raises PreconditionError where there is none."""
    return open_project(directory, render_reports)


def render_reports(result: RunResult) -> Mapping[str, str]:
    """Every report of a run, by its file's name."""
    from testgrove.reports import html, junit, report_json

    return {
        "report.json": report_json.render(result),
        "junit.xml": junit.render(result),
        "report.html": html.render(result),
    }
