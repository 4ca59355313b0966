"""Projects that nobody here wrote: `testgrove test` with no configuration finds and reports what plain pytest does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from uv import find_uv_bin

from auditor import git
from grove import TESTGROVE, Grove, new_base, said, uproot
from testgrove.system.environment import interpreters
from testgrove.system.processes.process import run

TRIES = 3  # some of these projects' tests measure time, and fail now and then on a busy machine: in both alike
# testgrove, with byte code as everybody has it
PROGRAM = ("env", "-u", "PYTHONDONTWRITEBYTECODE", *TESTGROVE)
# Says which tests there were and how each ended, with nothing of testgrove's.
OUTCOMES = ["passed", "xpassed", "skipped", "xfailed", "failed", "error"]
RECORDER = f"""
import os
worst = {{}}
order = {OUTCOMES}
"""
RECORDER += """
def note(nodeid, outcome):
    worst[nodeid] = max(worst.get(nodeid, "passed"), outcome, key=order.index)

def pytest_runtest_logreport(report):
    expected = hasattr(report, "wasxfail")
    if report.failed:
        note(report.nodeid, "failed" if report.when == "call" else "error")
    elif report.skipped:
        note(report.nodeid, "xfailed" if expected else "skipped")
    else:
        note(report.nodeid, "xpassed" if expected and report.when == "call" else "passed")

def pytest_collectreport(report):
    if not report.passed:
        note(report.nodeid, "error" if report.failed else "skipped")

def pytest_unconfigure():
    with open(os.environ["RECORDER_FILE"], "w", encoding="utf-8") as file:
        file.write("".join(f"{outcome} {nodeid!r}\\n" for nodeid, outcome in sorted(worst.items())))
"""


@dataclass(frozen=True)
class RealProject:
    """install: what its contributors type, after `uv venv`."""

    requirement: str
    install: tuple[str, ...]
    least: int

    @property
    def name(self) -> str:
        return self.requirement.partition("==")[0]


PROJECTS = (
    RealProject("attrs==26.1.0", ("sync", "--frozen"), 1300),
    RealProject("sqlparse==0.6.1", ("sync", "--frozen"), 500),
    RealProject("markupsafe==3.0.4", ("sync", "--frozen"), 70),
    RealProject("jaraco.functools==4.6.0", ("pip", "install", "-e", ".[test,check,cover,enabler,type]"), 35),
)


def environ() -> dict[str, str]:
    dropped = re.compile(r"GIT_|TESTGROVE_|PYTEST_|COV_|COVERAGE_|VIRTUAL_ENV|PYTHON(PATH|HOME|DONTWRITEBYTECODE)")
    return {name: value for name, value in os.environ.items() if not dropped.match(name)}


def execute(*command: str | Path, cwd: Path, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        list(map(str, command)), check=False, cwd=cwd, env=environ() | more, text=True, capture_output=True, timeout=240
    )
    assert not check or done.returncode == 0, said(done)
    return done


@pytest.fixture
def base():
    folder = new_base()
    yield folder
    uproot(folder)


@pytest.fixture(scope="session")
def pip(tmp_path_factory):
    """pip, which can download a source distribution (uv cannot)."""
    folder = tmp_path_factory.mktemp("pip")
    execute(find_uv_bin(), "venv", "--quiet", "--seed", "--python", sys.executable, folder / "venv", cwd=folder)
    return folder / "venv/bin/pip"


@pytest.fixture
def repository(request, base, pip):
    """The source distribution, as a repository whose one commit holds everything that the project does not ignore."""
    words = ("download", "--quiet", "--no-deps", "--no-binary", request.param.name, request.param.requirement)
    execute(pip, *words, cwd=base)
    (archive,) = base.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(base / "unpacked", filter="data")
    (unpacked,) = (base / "unpacked").iterdir()
    repo = unpacked.rename(base / request.param.name)
    git(repo, "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "A Tester"), ("user.email", "tester@example.invalid")):
        git(repo, "config", key, value)
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "As released")
    return repo


Outcomes = dict[str, str]  # by node id, as Python writes it


def plain_copy(project: RealProject, repo: Path, base: Path, python: str) -> Path:
    """A copy with an environment made by hand."""
    copy = base / f"plain-{python}"
    git(base, "clone", "--quiet", str(repo), str(copy))
    interpreter = interpreters.find(python, requires=None, pinned=None, run=run).path
    execute(find_uv_bin(), "venv", "--quiet", "--python", interpreter, ".venv", cwd=copy)
    execute(find_uv_bin(), *project.install, "--quiet", "--python", copy / ".venv/bin/python", cwd=copy)
    return copy


def plain_outcomes(copy: Path, base: Path) -> Outcomes:
    """What plain pytest says in a copy."""
    recorder = base / "recorder"
    recorder.mkdir(exist_ok=True)
    (recorder / "plain_recorder.py").write_text(RECORDER)
    record = base / f"outcomes-of-{copy.name}"
    path = f"{copy / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    words = (copy / ".venv/bin/pytest", "-p", "plain_recorder")
    done = execute(*words, cwd=copy, check=False, PYTHONPATH=str(recorder), RECORDER_FILE=str(record), PATH=path)
    assert done.returncode in (0, 1), said(done)
    lines = record.read_text(encoding="utf-8").splitlines()
    return {nodeid: outcome for outcome, _, nodeid in (line.partition(" ") for line in lines)}


def our_outcomes(grove: Grove, pythons: tuple[str, ...]) -> dict[str, Outcomes]:
    """What `testgrove test` says, by interpreter."""
    words = ("test", *(word for python in pythons for word in ("--python", python)), "--json")
    done = grove.run(*words, check=False, timeout=280, program=PROGRAM)
    assert done.stdout, said(done)
    found: dict[str, Outcomes] = {}
    for cell in json.loads(done.stdout)["cells"]:
        (attempt,) = cell["attempts"]
        worst: Outcomes = {}
        for test in attempt["tests"]:  # a plugin may use one node id twice
            known = worst.get(repr(test["nodeid"]), "passed")
            worst[repr(test["nodeid"])] = max(known, test["outcome"], key=OUTCOMES.index)
        found[cell["python"]] = worst
    bad = {"failed", "error"} & {outcome for outcomes in found.values() for outcome in outcomes.values()}
    assert done.returncode == (1 if bad else 0), said(done)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)  # their suites, up to TRIES times
@pytest.mark.parametrize(
    ("project", "repository"),
    [pytest.param(each, each, id=each.name) for each in PROJECTS],
    indirect=["repository"],
)
def test_the_same_tests_end_in_the_same_way_as_in_plain_pytest(project, repository, base, pythons):
    grove = Grove(base, repository, range(8001, 9000), range(15001, 16000))
    before = git(repository, "status", "--porcelain")

    copies = {python: plain_copy(project, repository, base, python) for python in pythons}
    for _ in range(TRIES):
        expected = {python: plain_outcomes(copy, base) for python, copy in copies.items()}
        found = our_outcomes(grove, pythons)
        assert {python: set(outcomes) for python, outcomes in found.items()} == {
            python: set(outcomes) for python, outcomes in expected.items()
        }
        if found == expected:
            break

    assert found == expected
    assert all(len(outcomes) >= project.least for outcomes in found.values())
    assert git(repository, "status", "--porcelain") == before
    grove.auditor().assert_no_leftovers()
