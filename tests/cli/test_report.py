"""`testgrove report`: a run shown again, computed from its log."""

from __future__ import annotations

import json

import pytest

import local_packages
from grove import Grove, said

FILES = {
    "tests/test_it.py": "import time\n\ndef test_quick(): pass\n\ndef test_slow(): time.sleep(0.3)\n\n"
    "def test_bad(): assert 1 == 2\n"
}


@pytest.fixture
def project(grove) -> Grove:
    """A project with a run that failed."""
    planted: Grove = grove(files=FILES, variables=local_packages.settings())
    planted.run("test", "--quiet", check=False)
    return planted


def test_reports_of_runs(project):
    """Together, because a run costs seconds."""
    (run,) = project.runs()
    done = project.run("report", "show")
    assert "tests: failed: 1 of 3 tests" in done.stdout
    assert f"reports: {run}\n" in done.stdout
    assert (
        project.run("report", "show", run.name).stdout
        == done.stdout
        == project.run("report", "show", run.name[:8]).stdout
    )
    lines = project.run("report", "show", "--slowest", "2").stdout.splitlines()
    assert lines[-2].split()[-1] == "tests/test_it.py::test_slow"
    assert len(lines) == len(done.stdout.splitlines()) + 2

    document = project.json("report", "show", "--slowest", "1")
    assert document["folder"] == str(run)
    assert document["status"] == "failed"
    assert [test["nodeid"] for test in document["slowest"]] == ["tests/test_it.py::test_slow"]
    stored = json.loads((run / "report.json").read_text())
    assert {key: document[key] for key in stored} == stored

    # open
    log = project.base / "opened"
    browser = project.base / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {log}\n')
    browser.chmod(0o755)
    without = {"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    assert project.run("report", "open", env=without).stdout == f"{run}/report.html\n"
    assert not log.exists()
    assert project.run("report", "open", env={"BROWSER": str(browser)}).stdout == f"{run}/report.html\n"
    assert log.read_text() == f"file://{run}/report.html\n"
    assert project.json("report", "open", env=without)["path"] == f"{run}/report.html"

    # a log that is cut short, as of a run that was killed
    (run / "events.jsonl").write_bytes((run / "events.jsonl").read_bytes()[:-200])
    assert "interrupted: the run was killed" in project.run("report", "show").stdout
    (run / "report.html").unlink()
    assert project.run("report", "open", check=False, env=without).returncode == 3


def test_runs_that_are_not_there(grove):
    project: Grove = grove()
    done = project.run("report", "show", check=False)
    assert (done.returncode, "no runs yet" in done.stderr) == (3, True), said(done)
    for name in ("20260101-000000-aaaa", "20260101-000000-bbbb"):
        (project.artifacts / name).mkdir(parents=True)
        (project.artifacts / name / "events.jsonl").touch()
    assert "matches 2 runs" in project.run("report", "show", "2026", check=False).stderr
    for name in ("../x", ""):
        assert f"run '{name}' not found" in project.run("report", "open", name, check=False).stderr
    done = project.run("report", "show", "latest", check=False)
    assert done.returncode == 0, said(done)
    assert "nothing ran" in done.stdout


@pytest.mark.parametrize("name", ["show", "open"])
def test_every_subcommand_has_a_help_with_an_example(grove, name):
    assert f"testgrove report {name}" in grove().run("report", name, "--help").stdout.split("Example")[1]


def test_the_output_of_suites_as_it_comes(project):
    """On standard output, or beside the one document."""
    done = project.run("test", "--verbose", "--json", check=False)
    assert json.loads(done.stdout)["status"] == "failed"
    (log,) = (project.runs()[-1]).glob("*/output.log")
    there = [line.removeprefix("tests |").strip() for line in done.stderr.splitlines() if line.startswith("tests |")]
    assert there == [line.strip() for line in log.read_text().splitlines()]
    assert any("1 failed, 2 passed" in line for line in there)
