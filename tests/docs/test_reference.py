"""Everything that the program has stands in the reference: commands, options, settings, events, report.json."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import pytest

from testgrove.cli.main import COMMANDS, cli
from testgrove.core.runs import events
from testgrove.core.runs.result import fold
from testgrove.core.scenarios.file import Scenario
from testgrove.core.settings.types import json_schema
from testgrove.reports import report_json

DOCS = Path(__file__).resolve().parents[2] / "docs"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and subcommand, with the words that call it."""
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command
        yield f"testgrove {name}", command
        if isinstance(command, click.Group):
            yield from ((f"testgrove {name} {inner}", each) for inner, each in command.commands.items())


@pytest.mark.parametrize(("words", "command"), [pytest.param(*each, id=each[0]) for each in commands()])
def test_every_command_has_help_with_an_example_and_a_place(words, command, pages):
    assert re.search(rf"Examples?:\n(  .*\n)*  .*{words}", command.help or ""), "its help has no example of it"
    section = pages["reference/commands.md"].partition(f"# {words}\n")[2].partition("\n#")[0]
    assert section, "it is not in the reference"
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{option.name} has no help"
            place = pages["reference/commands.md"].partition("\n## ")[0] + section
            assert re.search(rf"{option.opts[-1]}\b", place), f"{option.opts[-1]} is not in the reference"


def test_every_exit_status_has_a_place(pages):
    table = pages["reference/commands.md"].partition("## Exit statuses")[2]
    assert re.findall(r"^\| (\d+) ", table, re.MULTILINE) == ["0", "1", "2", "3", "4", "5", "6", "70", "130"]


def test_every_setting_has_a_place(pages):
    tables = {name: list(table["properties"]) for name, table in json_schema()["$defs"].items() if name != "Services"}
    there = re.findall(r"^\| `(\w+)` \|", pages["reference/settings.md"], re.MULTILINE)
    headings = re.findall(r"^## `(\w+)", pages["reference/settings.md"], re.MULTILINE)
    assert sorted([*there, *set(headings)]) == sorted(key for keys in tables.values() for key in keys)


def test_every_field_of_a_scenario_has_a_place(pages):
    there = re.findall(r"^\| `(\w+)` \|", pages["reference/scenarios.md"], re.MULTILINE)
    assert there == [field.name for field in msgspec.structs.fields(Scenario)]


def test_every_event_has_a_place(pages):
    for event in get_args(events.AnyEvent):
        section = pages["reference/events.md"].partition(f"## `{event.__struct_config__.tag}`")[2].partition("\n## ")[0]
        assert all(f"| `{name}` |" in section for name in event.__struct_fields__ if name != "t"), section


def test_every_key_of_the_report_has_a_place():
    page = (DOCS / "reports.md").read_text()
    assert [key for key in keys(report_json.report(fold(a_run()))) if f"`{key}`" not in page] == []


def keys(document: Any) -> set[str]:
    """All keys of a document but those that count statuses, outcomes and versions by name."""
    if isinstance(document, list):
        return set().union(*map(keys, document))
    if not isinstance(document, dict):
        return set()
    named = {*get_args(events.Status), *get_args(events.TestOutcome)}
    return (set(document) - named).union(*map(keys, document.values()))


def a_run() -> list[events.AnyEvent]:
    """A run in which everything happens."""
    scenario = events.ScenarioInfo(worktree="w")
    cell = events.CellInfo(
        key="unit", suite="unit", ref="", python="3.12", worktree="test-unit-tree", command="pytest", scenario=scenario
    )
    same = {"cell": "unit", "attempt": 1}
    test = {"message": "m", "text": "t", "output": "o", "file": "f", "line": 1}
    run = {"run": "r", "project": "p", "header": "h", "jobs": 1, "cells": (cell,)}
    where = {"command": "pytest", "worktree": "w", "python": "3.12", "log": "l"}
    return [
        events.RunStarted(t=1, **run),
        events.CellPhase(t=2, cell="unit", phase="running"),
        events.AttemptStarted(t=3, **same, **where),
        events.ProcessStarted(t=4, **same, process="api", command="serve", log="l"),
        events.TestFinished(t=5, **same, nodeid="n", outcome="failed", duration=1, **test),
        events.AttemptFinished(t=6, **same, status="failed"),
        events.CellFinished(t=7, cell="unit", status="failed"),
        events.WorktreeChanged(t=7, worktree="w", action="created", path="/w"),
        events.RunFinished(t=8, duration=7),
    ]


def test_the_glossary_is_the_designs(pages):
    assert pages["glossary.md"].count("\n| ") > 20


def test_no_type_is_shown_raw(pages):
    assert "typing." not in pages["reference/events.md"] + pages["reference/settings.md"]
    assert msgspec.__name__ not in pages["reference/settings.md"]


def test_decisions_are_numbered_without_gaps():
    records = sorted((DOCS / "decisions").glob("*.md"))
    assert [path.name[:4] for path in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for path in records:
        assert path.read_text().startswith(f"# {int(path.name[:4])}. ")
