"""One project: by its own CI's commands, then twice by testgrove."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from real_projects import outcomes
from real_projects.commands import IDENTITY, Done, clean_environment, must, run
from real_projects.project import Project
from real_projects.servers import running
from real_projects.sources import checkout

BIN = Path(sys.executable).parent
UV = str(BIN / "uv")
_SHORT = 10  # seconds


@dataclass(frozen=True)
class Measured:
    """plain, ours: counts. differences: node ids that are not the same. failure: why there is no result."""

    kinds: list[str]
    source: str
    configuration: str
    plain: str = ""
    ours: str = ""
    differences: list[str] = field(default_factory=list)
    plain_seconds: float = 0
    first_seconds: float = 0
    second_seconds: float = 0
    failure: str = ""
    note: str = ""

    @property
    def same(self) -> bool:
        return not self.failure and not self.differences


def measure(project: Project, sources: Path | None, work: Path) -> Measured:
    """Run it. What goes wrong is the result's `failure`."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    source = project.sdist or f"git {project.ref}".strip()
    configuration = "`testgrove init`" if project.init else "none"
    head = {"kinds": list(project.kinds), "source": source, "configuration": configuration, "note": project.note}
    try:
        for name in ("plain", "ours"):
            checkout(project, sources, work / name)
        plain, plain_seconds = _plain(project, work)
        ours, first, second = _ours(project, work)
        if not ours:  # the output of `manage.py test` has no names
            plain, ours = (outcomes.of_totals((work / f"{name}.log").read_text()) for name in ("plain", "suite"))
    except RuntimeError as error:
        return Measured(**head, failure=str(error))
    if "pytest" not in project.test:
        ours = outcomes.dotted(ours)
    if "passed" not in plain.values():
        return Measured(**head, failure="no test passes in the plain run, so there is nothing to compare")
    return Measured(
        **head,
        plain=outcomes.counts(plain),
        ours=outcomes.counts(ours),
        differences=outcomes.differences(plain, ours),
        plain_seconds=round(plain_seconds, 1),
        first_seconds=round(first, 1),
        second_seconds=round(second, 1),
    )


def _plain(project: Project, work: Path) -> tuple[outcomes.Outcomes, float]:
    """Its own environment and command. A short one runs twice: the first run writes byte code."""
    place = work / "plain" / project.directory
    venv = place / ".venv"
    path = f"{venv}/bin:{BIN}:{clean_environment()['PATH']}"
    environment = clean_environment(VIRTUAL_ENV=str(venv), UV_PROJECT_ENVIRONMENT=str(venv), PATH=path)
    must((UV, "venv", "--quiet", "--python", project.python, str(venv)), place, environment)
    for command in project.install:
        must(command, place, environment)
    record = work / "plain.json"
    plugin = work / "recorder" / "real_projects_recorder.py"
    plugin.parent.mkdir()
    shutil.copy(outcomes.RECORDER, plugin)
    environment |= {"REAL_PROJECTS_OUTCOMES": str(record), "PYTHONPATH": str(plugin.parent)}
    with running(project.services, work / "servers") as values:
        environment |= {name: value.format_map(values) for name, value in project.environment.items()}
        by_pytest = "pytest" in project.test
        command = f"{project.test} -p real_projects_recorder" if by_pytest else project.test
        done = run(command, place, environment)
        if done.seconds < _SHORT:
            done = run(command, place, environment)
    (work / "plain.log").write_text(done.output)
    found = outcomes.recorded(record) if by_pytest else outcomes.of_unittest(done.output)
    if not found:
        raise RuntimeError(f"plain `{project.test}` ran no test:\n{_end(done)}")
    return found, done.seconds


def _ours(project: Project, work: Path) -> tuple[outcomes.Outcomes, float, float]:
    """`testgrove test`, twice: outcomes, and how long both took. Settings are those of `testgrove init`, or none."""
    place = work / "ours" / project.directory
    folders = {name: str(work / "grove" / name.lower()) for name in ("STATE", "CACHE", "SCRATCH")}
    environment = clean_environment(**{f"TESTGROVE_{name}_DIR": folder for name, folder in folders.items()})
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    program = str(BIN / "testgrove")
    try:
        if project.init:
            must((program, "init"), place, environment)
            must(("git", "add", "--all"), place, environment)
            must(("git", *IDENTITY, "commit", "--quiet", "--message", "init"), place, environment)
        runs = [run((program, "test", "--python", project.python), place, environment) for _ in range(2)]
    finally:
        run((program, "uninstall", "--yes"), place, environment)
    (work / "ours.log").write_text("\n".join(done.output for done in runs))
    reports = sorted((work / "ours").glob("**/test-artifacts/latest/report.json"))
    if not reports:
        raise RuntimeError(f"testgrove wrote no report:\n{_end(runs[-1])}")
    report = json.loads(reports[0].read_text())
    found = outcomes.of_report(report)
    logs = "\n".join(path.read_text() for path in sorted(reports[0].parent.glob("*/output.log")))
    (work / "suite.log").write_text(logs)
    if not found and not outcomes.of_totals(logs):
        raise RuntimeError(f"testgrove ran no test:\n{_end(runs[-1])}")
    return found, runs[0].seconds, runs[1].seconds


def _end(done: Done) -> str:
    return "\n".join(done.output.splitlines()[-12:])


def as_document(measured: Measured) -> dict[str, object]:
    """For the file of results."""
    return asdict(measured)
