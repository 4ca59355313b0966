"""The JSON documents: each says its version, and what is really written fits the published JSON Schema."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

import testgrove
from grove import FILES, MAKE_A_TABLE, Grove, new_base, plant, said, uproot
from reports.events_builder import Log
from testgrove.cli.main import cli
from testgrove.core.documents.schema_files import TYPES
from testgrove.core.runs.events import Interrupted, ProcessFinished, ProcessStarted
from testgrove.reports import coordinator_json, report_json

pytestmark = pytest.mark.xdist_group("documents")

CONFIG = f"""
[services.sqlite]
migrate = "{MAKE_A_TABLE}"
[suites.unit]
command = "cp given.xml junit.xml"
junit = "junit.xml"
"""
JUNIT = """<testsuite name="s" tests="2">
<testcase classname="c" name="good" time="0.1"/>
<testcase classname="c" name="bad" file="t.py" line="3"><failure message="m">text</failure></testcase>
</testsuite>
"""
SCENARIOS = {
    "scenarios": [
        {"name": "good", "worktree": "test-unit-a", "command": "true", "description": "Good", "tags": ["x"]},
        {"name": "bad", "worktree": "test-unit-a", "command": "touch left; echo no; exit 1", "retries": 1},
        {"name": "after", "worktree": "test-unit-a", "command": "true", "dependencies": ["bad"]},
    ]
}
THEIRS = {"exec", "shell", "db shell"}  # stdout is that of the command they run
# Every other command with --json, as it is typed, and the key that its document has; in an order in which they work.
# `error`: what it needs would take long to make, so its other document is not looked at here.
COMMANDS = {
    "create": ("--purpose=test-unit --identifier=a --branch=main --ports --no-env", "worktree"),
    "db create": ("a", "engines"),
    "list": ("", "worktrees"),
    "show": ("a", "worktree"),
    "path": ("a", "path"),
    "env": ("a", "variables"),
    "ports list": ("", "ports"),
    "ports check": ("", "ports"),
    "ports reassign": ("a", "ports"),
    "db list": ("", "databases"),
    "db url": ("a", "url"),
    "db reset": ("a", "engines"),
    "db drop": ("a", "engines"),
    "db migrate": ("a", "error"),
    "db check": ("a", "error"),
    "services list": ("", "services"),
    "services start": ("", "error"),
    "services stop": ("", "services"),
    "services logs": ("postgres", "error"),
    "test": ("--here", "cells"),
    "coordinate": ("", "cells"),
    "report show": ("", "cells"),
    "report merge": ("latest", "cells"),
    "report open": ("", "path"),
    "history": ("", "entries"),
    "doctor": ("", "findings"),
    "artifacts collect": ("a", "collected"),
    "sync": ("a", "done"),
    "ports release": ("a", "released"),
    "cleanup": ("", "skipped"),
    "remove": ("a --force", "removed"),
    "broker": ("", "socket"),
    "init": ("", "added"),
    "uninstall": ("--yes", "removed"),
}


def with_json(group: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The words of every command that has --json."""
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command
            yield from with_json(command, (*path, name))
    elif any("--json" in option.opts for option in group.params):
        yield " ".join(path)


def published(name: str) -> dict[str, Any]:
    text = resources.files("testgrove").joinpath("schemas", f"{name}.schema.json").read_text()
    schema: dict[str, Any] = json.loads(text)
    return schema


def closed(node: Any) -> Any:
    """A schema that allows no key but the described ones: programs must, this version writes none."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    more = {"unevaluatedProperties": False} if "properties" in node and "type" in node else {}
    return more | {key: closed(value) for key, value in node.items()}


def check(name: str, document: Any) -> None:
    jsonschema.validate(document, closed(published(name)))


@pytest.fixture(scope="module")
def project():
    base = new_base()
    yield plant(base, files=FILES | {"given.xml": JUNIT, "scenarios.json": json.dumps(SCENARIOS)}, config=CONFIG)
    uproot(base)


@pytest.fixture(scope="module")
def files() -> dict[str, Any]:
    """The documents in files, filled while the commands run."""
    return {}


@pytest.fixture(scope="module")
def printed(project, files) -> dict[str, Any]:
    """What each command prints, by its words."""
    found = {}
    for words, (more, _) in COMMANDS.items():
        if words == "init":
            (project.repo / "testgrove.toml").unlink()
        found[words] = broker(project) if words == "broker" else document_of(project, *words.split(), *more.split())
        if words == "show":
            tree = Path(found[words]["worktree"]["path"])
            files["worktree-metadata"] = json.loads((tree / ".worktree-metadata.json").read_text())
            files["worktrees_registry"] = project.registry()
        if words == "coordinate":
            latest = project.artifacts / "latest"
            files |= {
                name: json.loads((latest / f"{name}.json").read_text()) for name in ("report", "integration_report")
            }
    return found


def document_of(project: Grove, *words: str) -> Any:
    done = project.run(*words, "--json", check=False, env={"VIRTUAL_ENV": sys.prefix})
    assert done.stdout.startswith("{"), said(done)
    return json.loads(done.stdout)


def broker(project: Grove) -> Any:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as session:
        process = project.start("broker", "--session", str(session.pid), "--json")
        assert process.stdout
        line = process.stdout.readline()
        session.communicate()
        process.communicate(timeout=60)
    return json.loads(line)


def test_every_command_with_json_is_looked_at():
    assert sorted(with_json()) == sorted(THEIRS | COMMANDS.keys())


@pytest.mark.slow
def test_every_printed_document_says_its_version(printed):
    for words, document in printed.items():
        assert next(iter(document)) == "schema_version", words
        assert COMMANDS[words][1] in document, (words, document)


def test_nothing_else_in_the_commands_writes_documents():
    folder = Path(testgrove.__file__).parent / "cli"
    writers = {path.name for path in folder.glob("*.py") if "json.dumps" in path.read_text()}
    assert writers == {"output.py", "broker.py", "worktrees.py"}  # the last: `env --format json`, variables and no more


@pytest.mark.slow
def test_what_is_printed_fits_its_schema(printed):
    check("list", printed["list"])
    for words in ("create", "show"):
        check("show", printed[words])
    assert printed["show"]["worktree"]["databases"]
    for document in printed.values():
        if "error" in document:
            check("error", document)
    for words in ("test", "coordinate", "report show", "report merge"):
        document = printed[words]
        check("report", {key: value for key, value in document.items() if key != "folder"})
        jsonschema.validate(document, published("report"))


@pytest.mark.slow
def test_what_is_written_fits_its_schema(printed, files):
    assert files["worktree-metadata"]["databases"]
    assert files["integration_report"]["failures"]
    assert files["integration_report"]["resource_leaks"]
    assert files["report"]["cells"]
    for name, document in files.items():
        assert document["schema_version"] == 1
        check(name, document)
    assert printed["test"]["cells"][0]["attempts"][0]["tests"][1]["message"] == "m"


def test_reports_of_every_kind_fit_their_schemas():
    log = Log("unit", "api").phase("unit", "waiting", "a slot", took=1).attempt("unit", 1)
    for outcome in ("passed", "failed", "error", "skipped", "xfailed", "xpassed"):
        log.test("unit", f"t.py::{outcome}", outcome, message="m", text="t", output="o")
    log.add(ProcessStarted(t=log.now, cell="unit", attempt=1, process="api", command="serve", log="l"))
    check("report", report_json.report(log.killed()))
    log.add(ProcessFinished(t=log.now, cell="unit", attempt=1, process="api", ready=0.5, reason="gone", tail="t"))
    log.attempt_ends("unit", "failed", exit_code=1).cell_ends("unit", "failed").cell_ends("api", "cancelled")
    log.add(Interrupted(t=log.now, reason="Ctrl-C"))
    for result in (log.killed(), log.finished(), Log().killed()):
        check("report", json.loads(report_json.render(result)))
        check("integration_report", json.loads(coordinator_json.render(result)))


@pytest.mark.slow
def test_a_missing_key_and_a_wrong_type_do_not_fit(printed, files):
    documents = {**files, "list": printed["list"], "show": printed["show"], "error": printed["db migrate"]}
    assert documents.keys() == TYPES.keys() - {"settings", "scenarios"}
    for name, document in documents.items():
        schema = published(name)
        validator = jsonschema.Draft202012Validator(schema)
        required = schema["$defs"][schema["$ref"].rpartition("/")[2]]["required"]
        for key in document:
            less = {other: value for other, value in document.items() if other != key}
            assert validator.is_valid(less) == (key not in required), (name, key)
            assert not validator.is_valid(document | {key: [[0]]}), (name, key)
