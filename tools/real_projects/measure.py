"""One project: by its own CI's commands and by testgrove, in turns."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from real_projects import outcomes
from real_projects.commands import IDENTITY, Done, clean_environment, must, run
from real_projects.project import Project
from real_projects.servers import running
from real_projects.sources import checkout

BIN = Path(sys.executable).parent
UV = str(BIN / "uv")
_PAIRS = 3  # at most, and no new one begins after so many seconds
_ENOUGH = 60.0


@dataclass(frozen=True)
class Measured:
    """plain, ours: counts. differences: node ids that are not the same. failure: why there is no result.

    The seconds are those of the first `testgrove test` and of the runs after it, which took turns with the plain ones:
    sums of so many pairs.
    """

    kinds: list[str]
    source: str
    configuration: str
    plain: str = ""
    ours: str = ""
    differences: list[str] = field(default_factory=list)
    first_seconds: float = 0
    pairs: int = 0
    plain_seconds: float = 0
    second_seconds: float = 0
    plain_cpu: float = 0
    second_cpu: float = 0
    failure: str = ""
    note: str = ""

    @property
    def same(self) -> bool:
        return not self.failure and not self.differences


def measure(project: Project, sources: Path | None, work: Path) -> Measured:
    """Run it. What goes wrong is the result's `failure`."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    configuration = "`testgrove init`" if project.init else "none"
    head = {"kinds": list(project.kinds), "source": project.source, "configuration": configuration}
    head |= {"note": project.note}
    try:
        for name in ("plain", "ours"):
            checkout(project, sources, work / name)
        plain, ours = Plain(project, work), Ours(project, work)
        try:
            first, times = _in_turns(plain, ours)
            by_plain, by_ours = plain.outcomes(), ours.outcomes()
        finally:
            ours.remove()
    except RuntimeError as error:
        return Measured(**head, failure=str(error))
    if not by_ours:  # the output of `manage.py test` has no names
        by_plain, by_ours = (outcomes.of_totals((work / f"{name}.log").read_text()) for name in ("plain", "suite"))
    if "pytest" not in project.test:
        by_ours = outcomes.dotted(by_ours)
    if "passed" not in by_plain.values():
        return Measured(**head, failure="no test passes in the plain run, so there is nothing to compare")
    return Measured(
        **head,
        plain=outcomes.counts(by_plain),
        ours=outcomes.counts(by_ours),
        differences=outcomes.differences(by_plain, by_ours),
        first_seconds=round(first, 1),
        **times,
    )


def _in_turns(plain: Plain, ours: Ours) -> tuple[float, dict[str, float]]:
    """How long the first run of ours took, and sums of pairs after it. The first plain run writes byte code.

    Raises RuntimeError if one of them runs no test.
    """
    plain.run()
    plain.outcomes()
    first = ours.run().seconds
    ours.outcomes()
    pairs = []
    end = time.monotonic() + _ENOUGH
    while len(pairs) < _PAIRS and (not pairs or time.monotonic() < end):
        pairs.append((plain.run(), ours.run()))
    sums = {
        f"{side}_{what}": round(sum(getattr(pair[index], what) for pair in pairs), 1)
        for index, side in enumerate(("plain", "second"))
        for what in ("seconds", "cpu")
    }
    return first, {"pairs": len(pairs)} | sums


class Plain:
    """A checkout with an environment and a command of its own CI. Each run has new servers."""

    def __init__(self, project: Project, work: Path) -> None:
        self._project, self._work = project, work
        self._place = work / "plain" / project.directory
        venv = self._place / ".venv"
        path = f"{venv}/bin:{BIN}:{clean_environment()['PATH']}"
        self._environment = clean_environment(VIRTUAL_ENV=str(venv), UV_PROJECT_ENVIRONMENT=str(venv), PATH=path)
        must((UV, "venv", "--quiet", "--python", project.python, str(venv)), self._place, self._environment)
        for command in project.install:
            must(command, self._place, self._environment)
        plugin = work / "recorder" / "real_projects_recorder.py"
        plugin.parent.mkdir()
        shutil.copy(outcomes.RECORDER, plugin)
        self._record = work / "plain.json"
        self._environment |= {"REAL_PROJECTS_OUTCOMES": str(self._record), "PYTHONPATH": str(plugin.parent)}
        self._by_pytest = "pytest" in project.test

    def run(self) -> Done:
        """Run its tests."""
        command = f"{self._project.test} -p real_projects_recorder" if self._by_pytest else self._project.test
        with running(self._project.services, self._work / "servers") as values:
            variables = {name: value.format_map(values) for name, value in self._project.environment.items()}
            done = run(command, self._place, self._environment | variables)
        (self._work / "plain.log").write_text(done.output)
        return done

    def outcomes(self) -> outcomes.Outcomes:
        """Of the last run. Raises RuntimeError if there are none."""
        output = (self._work / "plain.log").read_text()
        found = outcomes.recorded(self._record) if self._by_pytest else outcomes.of_unittest(output)
        if not found:
            raise RuntimeError(f"plain `{self._project.test}` ran no test:\n{_end(output)}")
        return found


class Ours:
    """A checkout with the settings of `testgrove init`, or none."""

    def __init__(self, project: Project, work: Path) -> None:
        self._work, self._place = work, work / "ours" / project.directory
        folders = {name: str(work / "grove" / name.lower()) for name in ("STATE", "CACHE", "SCRATCH")}
        self._environment = clean_environment(**{f"TESTGROVE_{name}_DIR": folder for name, folder in folders.items()})
        self._environment["PATH"] = f"{BIN}:{self._environment['PATH']}"
        self._program = str(BIN / "testgrove")
        self._test = (self._program, "test", "--python", project.python)
        if project.init:
            must((self._program, "init"), self._place, self._environment)
            must(("git", "add", "--all"), self._place, self._environment)
            must(("git", *IDENTITY, "commit", "--quiet", "--message", "init"), self._place, self._environment)

    def run(self) -> Done:
        """Run `testgrove test`."""
        done = run(self._test, self._place, self._environment)
        with (self._work / "ours.log").open("a") as log:
            log.write(done.output + "\n")
        return done

    def outcomes(self) -> outcomes.Outcomes:
        """Of the last run; empty where its tests have no names. Raises RuntimeError if none ran."""
        output = (self._work / "ours.log").read_text()
        reports = sorted((self._work / "ours").glob("**/test-artifacts/latest/report.json"))
        if not reports:
            raise RuntimeError(f"testgrove wrote no report:\n{_end(output)}")
        found = outcomes.of_report(json.loads(reports[0].read_text()))
        logs = "\n".join(path.read_text() for path in sorted(reports[0].parent.glob("*/output.log")))
        (self._work / "suite.log").write_text(logs)
        if not found and not outcomes.of_totals(logs):
            raise RuntimeError(f"testgrove ran no test:\n{_end(output)}")
        return found

    def remove(self) -> None:
        """End its servers, and remove what it made."""
        run((self._program, "uninstall", "--yes"), self._place, self._environment)


def _end(output: str) -> str:
    return "\n".join(output.splitlines()[-12:])


def as_document(measured: Measured) -> dict[str, object]:
    """For the file of results."""
    return asdict(measured)
