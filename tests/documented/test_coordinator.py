"""The documents' integration coordinator: its script with every option, its library with every call."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from documented.conftest import Shell
from grove import new_base, plant, said, uproot
from testgrove.core.scenarios.file import parse

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("coordinator")]  # six environments, made once

EXAMPLE = Path(__file__).with_name("scenarios.json")
RUN = "python tests/integration/run_coordinator.py"
LIBRARY = """
import json, sys
from pathlib import Path
from tests.integration.coordinator import IntegrationCoordinator, TestScenario
"""


def example() -> list[dict[str, Any]]:
    return [
        {"name": each.scenario.name, "worktree": each.scenario.worktree, "test_file": each.scenario.test_file}
        for each in parse(EXAMPLE.read_text(), EXAMPLE)
    ]


def stand_ins() -> dict[str, str]:
    """A test file for each that the example names, with a test for each of its scenarios."""
    files: dict[str, str] = {}
    for each in example():
        path, _, test = each["test_file"].partition("::")
        files[path] = files.get(path, "") + f"def {test}():\n    pass\n\n\n"
    return files


@pytest.fixture(scope="module")
def module_grove():
    base = new_base()
    yield plant(base, "project", files={".gitignore": "__pycache__/\n", "README.md": "x\n", **stand_ins()})
    uproot(base)


@pytest.fixture(scope="module")
def made(module_grove, python39, testgrove_folder):
    """The example's repository, its coordinator and, by the first test, its six worktrees."""
    project = module_grove
    project.run("init", "--scripts")
    project.write({"scenarios.json": EXAMPLE.read_text()}, commit="Scripts and scenarios")
    path = os.pathsep.join([str(python39 / "bin"), str(testgrove_folder), "/usr/local/bin:/usr/bin:/bin"])
    shell = Shell(project, project.env | {"PATH": path, "VIRTUAL_ENV": str(python39)})
    done = shell.type(f"{RUN} --setup-worktrees --pull-coordinator --workers 3", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return shell


def report(shell: Any, name: str = "integration_report.json") -> dict[str, Any]:
    document: dict[str, Any] = json.loads((shell.project.repo / name).read_text())
    return document


def order(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"^ +\d+\. (\S+)", done.stdout, re.MULTILINE)


def test_the_example_of_19_scenarios_in_6_worktrees(made):
    found = report(made)
    summary = found["summary"]
    assert (summary["total"], summary["passed"], summary["success_rate"]) == (19, 19, 100.0)
    assert {name: at["total"] for name, at in found["by_worktree"].items()} == {
        "parallel-errors": 4,
        "config-reload": 3,
        "plugin-loading": 3,
        "cache-consistency": 3,
        "export-formats": 3,
        "performance-baseline": 3,
    }
    assert (found["failures"], found["resource_leaks"]) == ([], [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", found["timestamp"])
    root = made.project.repo / "worktrees"
    assert {path.name for path in root.iterdir() if not path.name.startswith(".")} >= set(found["by_worktree"])
    events = [json.loads(line) for line in (made.project.artifacts / "latest/events.jsonl").read_text().splitlines()]
    ends = {event["cell"]: event["t"] for event in events if event["type"] == "attempt_finished"}
    starts = {event["cell"]: event["t"] for event in events if event["type"] == "attempt_started"}
    for each in parse(EXAMPLE.read_text(), EXAMPLE):
        for need in each.scenario.dependencies:
            assert ends[need] <= starts[each.scenario.name]


def test_filters_and_dry_runs(made):
    tags = made.type(f"{RUN} --filter-tag critical --filter-tag parallel --dry-run")
    chosen = {"parallel-worker-failure", "config-change", "cache-concurrent", "full-pipeline", "baseline-parallel"}
    assert chosen < set(order(tags))
    assert "plugin-reload" not in order(tags)
    worktree = made.type(f"{RUN} --filter-worktree parallel-errors --dry-run --report elsewhere.json")
    assert len(order(worktree)) == 4
    assert not (made.project.repo / "elsewhere.json").exists()
    assert "critical path" in worktree.stdout


def test_sequential_runs_a_report_elsewhere_and_a_status_that_is_true(made):
    made.type(f"{RUN} --no-parallel --filter-worktree export-formats --report out.json --cleanup")
    found = report(made, "out.json")
    assert found["summary"]["total"] == 3
    assert (made.project.repo / "worktrees/export-formats").exists(), "an earlier run has created it"
    scenarios = [{"name": "bad", "worktree": "export-formats", "command": "false"}]
    (made.project.repo / "bad.json").write_text(json.dumps({"scenarios": scenarios}))
    done = made.type(f"{RUN} --scenarios bad.json --workers 2 --parallel --report out.json", check=False)
    assert done.returncode == 1, said(done)
    assert report(made, "out.json")["summary"]["failed"] == 1


def test_other_places_and_what_is_not_there(made, tmp_path):
    repo = made.project.repo
    done = made.type(f"{RUN} --base-path {tmp_path} --main-repo {repo} --scenarios scenarios.json --dry-run")
    assert "parallel-errors (" in done.stdout
    missing = made.type(f"{RUN} --base-path {tmp_path}", check=False)
    assert missing.returncode == 3
    assert "--setup-worktrees" in missing.stderr
    gone = made.type(f"{RUN} --scenarios nothing.json", check=False)
    assert gone.returncode in (2, 3)
    assert "nothing.json" in gone.stderr


def test_the_library(made):
    script = (
        LIBRARY
        + """
coordinator = IntegrationCoordinator(main_repo_path=Path("."))
scenario = TestScenario(
    name="my_test",
    description="Test description",
    worktree="test-worktree",
    test_file="tests/test_export_formats.py",
)
coordinator.register_scenario(scenario)
assert not coordinator.verify_worktree_setup("test-worktree")
assert coordinator.setup_worktree("test-worktree", "feature/test-branch")
assert coordinator.verify_worktree_setup("test-worktree")
for number in range(2):
    assert coordinator.run_all_scenarios(parallel=True, max_workers=4) == {"my_test": "passed"}
    report = coordinator.generate_report()
    print(f"Passed: {report['summary']['passed']}/{report['summary']['total']}")
assert len(coordinator.register_scenarios_from_config("scenarios.json")) == 19
results = coordinator.run_all_scenarios(parallel=False, filter_worktrees=["test-worktree", "export-formats"])
assert len(results) == 4 and set(results.values()) == {"passed"}, results
assert coordinator.generate_report("library.json")["resource_leaks"] == []
coordinator.register_scenario(TestScenario(name="lost", worktree="nowhere", command="true", dependencies=["gone"]))
try:
    coordinator.run_all_scenarios()
except Exception as error:
    assert error.status == 2 and "dependency 'gone' not found" in str(error)
else:
    raise SystemExit("an error was expected")
assert coordinator.generate_report()["summary"]["total"] == 0
"""
    )
    (made.project.repo / "library.py").write_text(script)
    done = made.type("PYTHONPATH=. python library.py")
    assert done.stdout == "Passed: 1/1\nPassed: 1/1\n"
    assert report(made, "library.json")["summary"]["total"] == 4
    tree = made.project.repo / "worktrees/test-worktree"
    assert (tree / ".git").exists()
    made.type(f"git -C {tree} symbolic-ref HEAD | grep -x refs/heads/feature/test-branch")


def test_pytest_collects_none_of_it_and_its_types_hold(made):
    repo = made.project.repo
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/integration"],
        cwd=repo, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert collected.returncode == 5, collected.stdout
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--disable-error-code=import-not-found",
         "--disable-error-code=import-untyped", "--follow-imports=silent", "tests/integration/coordinator.py"],
        cwd=repo, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
