"""The commands' way to their project: the application, with the reports as their renderer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testgrove.app.composition import open_project
from testgrove.app.project import Project
from testgrove.cli.output import FRESH_TEMPLATES, OFFLINE, warn

if TYPE_CHECKING:
    from testgrove.core.runs.result import RunResult


def project_in(directory: Path) -> Project:
    """The project that a folder is in. Raises PreconditionError where there is none."""

    def render(result: RunResult) -> Iterator[tuple[str, str]]:
        compiled = project.locations.cache / "reports"
        compiled.mkdir(exist_ok=True, mode=0o700)
        return render_reports(result, compiled)

    context = click.get_current_context(silent=True)
    asked = context.meta if context is not None else {}
    project = open_project(directory, render, offline=asked.get(OFFLINE, False), on_damage=warn)
    project.fresh_templates = asked.get(FRESH_TEMPLATES, False)
    return project


def render_reports(result: RunResult, compiled: Path) -> Iterator[tuple[str, str]]:
    """Every report of a run, with its file's name, one after another. compiled: see reports.html.render()."""
    from testgrove.reports import coordinator_json, html, junit, report_json

    if result.source:
        yield "integration_report.json", coordinator_json.render(result)
    yield "report.json", report_json.render(result)
    yield "junit.xml", junit.render(result)
    yield "report.html", html.render(result, compiled=compiled)
