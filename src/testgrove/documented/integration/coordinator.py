"""Integration tests across worktrees, as a library: it hands over to `testgrove coordinate`.

    coordinator = IntegrationCoordinator()
    coordinator.register_scenarios_from_config("scenarios.json")
    coordinator.run_all_scenarios(parallel=True, max_workers=4)
    report = coordinator.generate_report()

Written by `testgrove init --scripts`. Python 3.9 or later, the standard library alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from typing import Any, ClassVar, Dict, Iterable, List, Mapping, Optional, Sequence, Union

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))
from testgrove_scripts import environment, main_checkout, testgrove

Path = Union[str, "os.PathLike[str]"]
Report = Dict[str, Any]
_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*')


class CoordinatorError(Exception):
    """testgrove could not run the scenarios. status: its exit status (2: they are wrong, 3: a precondition)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclasses.dataclass
class TestScenario:
    """One scenario; the fields are those of a scenario file. timeout: seconds."""

    __test__: ClassVar[bool] = False  # the name begins with "Test", and pytest would try to collect it

    name: str
    description: str = ""
    worktree: str = ""
    test_file: str = ""
    dependencies: List[str] = dataclasses.field(default_factory=list)
    timeout: float = 300
    tags: List[str] = dataclasses.field(default_factory=list)
    retries: int = 0
    retry_count: Optional[int] = None
    command: str = ""
    resources: Union[List[str], Dict[str, int]] = dataclasses.field(default_factory=list)
    shareable: bool = False
    exclusive: bool = False
    always: bool = False
    ref: str = ""
    python: str = ""
    services: List[str] = dataclasses.field(default_factory=list)
    env: Dict[str, str] = dataclasses.field(default_factory=dict)

    def as_fields(self) -> Dict[str, Any]:
        """Return the fields of its entry in a scenario file."""
        found = dataclasses.asdict(self)
        return {name: value for name, value in found.items() if value not in (None, "", [], {}, False)}


class IntegrationCoordinator:
    """Registers scenarios, runs them across worktrees, reports. One object can run again and again.

    base_path: the folder of the worktrees, by default the configured root. main_repo_path: the repository, by default
    the one this file is in. status: testgrove's exit status after the last run.
    """

    def __init__(self, base_path: Optional[Path] = None, main_repo_path: Optional[Path] = None) -> None:
        self.base_path = None if base_path is None else _absolute(base_path)
        self.main_repo_path = main_checkout() if main_repo_path is None else _absolute(main_repo_path)
        self.scenarios: Dict[str, TestScenario] = {}
        self.results: Dict[str, str] = {}
        self.status: Optional[int] = None
        self._report: Report = _empty_report()

    def register_scenario(self, scenario: TestScenario) -> None:
        """Add one. Raises ValueError for a name that is there already."""
        if scenario.name in self.scenarios:
            raise ValueError(f"there is a scenario '{scenario.name}' already")
        self.scenarios[scenario.name] = scenario

    def register_scenarios_from_config(self, config_path: Path) -> List[TestScenario]:
        """Add those of a scenario file, JSON with // comments. Raises OSError, ValueError for what is none."""
        with open(os.path.expanduser(config_path), encoding="utf-8") as file:
            text = file.read()
        data = json.loads(_COMMENT.sub(lambda found: found[0] if found[0].startswith('"') else "", text))
        try:
            found = [TestScenario(**fields) for fields in data["scenarios"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{config_path}: {error}") from error
        for scenario in found:
            self.register_scenario(scenario)
        return found

    def verify_worktree_setup(self, worktree: str) -> bool:
        """Return whether a worktree is there, a checkout of the repository, with an environment."""
        document = self._ask([_standing_for(worktree)], "--dry-run")
        return bool(document["worktrees"][worktree]["ready"])

    def setup_worktree(self, worktree: str, branch: Optional[str] = None) -> bool:
        """Make a worktree, on the branch (which is made where there is none), or mend it; whether it is ready."""
        if branch:
            self._make_branch(branch)
        try:
            self._ask([_standing_for(worktree, branch or "")], "--only-setup", "--setup-worktrees")
        except CoordinatorError:  # testgrove has said why
            return False
        return True

    def run_all_scenarios(
        self,
        parallel: bool = True,
        max_workers: int = 4,
        *,
        filter_tags: Iterable[str] = (),
        filter_worktrees: Iterable[str] = (),
        setup_worktrees: bool = False,
        pull_coordinator: bool = False,
        cleanup: bool = False,
        fail_fast: bool = False,
        timeout: Optional[float] = None,
    ) -> Dict[str, str]:
        """Run what is registered, to the end; how each ended, by name.

        timeout: seconds for the whole run. Raises CoordinatorError where nothing could run: a wrong scenario, a
        worktree that is missing, an empty selection.
        """
        words = ["--workers", str(max_workers if parallel else 1)]
        for option, values in (("--filter-tag", filter_tags), ("--filter-worktree", filter_worktrees)):
            words += [word for value in values for word in (option, value)]
        asked = {
            "--setup-worktrees": setup_worktrees,
            "--pull-coordinator": pull_coordinator,
            "--cleanup": cleanup,
            "--fail-fast": fail_fast,
        }
        words += [option for option, wanted in asked.items() if wanted]
        words += [] if timeout is None else ["--timeout", str(timeout)]
        self.results, self._report = {}, _empty_report()
        document = self._ask([each.as_fields() for each in self.scenarios.values()], *words)
        with open(os.path.join(document["folder"], "integration_report.json"), encoding="utf-8") as file:
            self._report = json.load(file)
        self.results = {cell["key"]: cell["status"] for cell in document["cells"]}
        return dict(self.results)

    def generate_report(self, output_path: Optional[Path] = None) -> Report:
        """The report of the last run, which output_path is written with, too."""
        if output_path is not None:
            with open(os.path.expanduser(output_path), "w", encoding="utf-8") as file:
                json.dump(self._report, file, indent=2)
        return self._report

    def _ask(self, scenarios: Sequence[Mapping[str, Any]], *words: str) -> Dict[str, Any]:
        """Return the answer of `testgrove coordinate --json`. Raises CoordinatorError where it has no answer."""
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump({"scenarios": list(scenarios)}, file)
            file.flush()
            base = [] if self.base_path is None else ["--base-path", self.base_path]
            command = [*testgrove(), "coordinate", file.name, "--project", self.main_repo_path, *base, *words, "--json"]
            self.status, answer = _communicate(command, self.main_repo_path)
        try:
            document: Dict[str, Any] = json.loads(answer)
        except ValueError:
            raise CoordinatorError(f"{command[0]} ended with exit status {self.status}", self.status) from None
        if "error" in document:
            raise CoordinatorError(document["error"]["message"], self.status)
        return document

    def _make_branch(self, branch: str) -> None:
        known = ["for-each-ref", "--count=1", "--format=x", f"refs/heads/{branch}", f"refs/remotes/*/{branch}"]
        git = ["git", "-C", self.main_repo_path]
        found = subprocess.run([*git, *known], check=True, env=environment(), stdout=subprocess.PIPE)
        if not found.stdout:
            subprocess.run([*git, "branch", "--", branch], check=True, env=environment())


def _standing_for(worktree: str, ref: str = "") -> Dict[str, Any]:
    """A scenario that does nothing, in a worktree that is asked about."""
    return {"name": worktree, "worktree": worktree, "command": "true", "ref": ref}


def _communicate(command: Sequence[str], folder: str) -> "tuple[int, bytes]":
    sys.stdout.flush()
    with subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE) as process:
        interrupted = False
        while True:
            try:
                answer = process.communicate()[0]
                break
            except KeyboardInterrupt:
                interrupted = True  # testgrove has heard it, too: it ends the run, and reports
    if interrupted:
        raise KeyboardInterrupt
    return process.returncode, answer


def _absolute(path: Path) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _empty_report() -> Report:
    counts = {"total": 0, "passed": 0, "failed": 0, "skipped": 0, "errors": 0, "duration": 0.0, "success_rate": 0.0}
    lists: Report = {"by_worktree": {}, "failures": [], "resource_leaks": []}
    return {"schema_version": 1, "summary": counts, **lists, "timestamp": None}
