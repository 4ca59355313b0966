"""Which slow tests run, and in which order, when there is a budget on the clock (`pytest --budget MINUTES`).

The fast tests run first and always. Of the slow ones first those that the change touches, then those that have not run
longest, file by file. One is started only if it can be expected to end in time; what is left out is skipped and named.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

STARTED = "TESTGROVE_CHECK_STARTED"  # when `.ci/run` began, in seconds since the epoch
RECORD = "testgrove/slow"  # in pytest's cache: {file: [when it last ran, seconds of its longest test]}
# {file of slow tests: seconds of its longest test}, for a clone without a record of its own. Roughly those of a machine
# with two cores and nothing else to do: they tell short from long, the rest is learnt on the way (Budget.slowness).
DURATIONS = Path(__file__).with_name("durations.json")
RESERVE = 150.0  # seconds for what is running elsewhere, the report, and failed tests that are run once more
UNKNOWN = 60.0  # seconds that a test may take of which nothing is known
OF_LIMIT = 0.2  # or this part of the timeout that it is marked with: whoever marks it knows that it is long
SAFETY = 1.5  # what is expected, times this
LEFT_OUT = "left out: the time is used up"
NAMED = 20  # how many files are named
COMMITS = 5  # how many of main's own commits count as the change


@dataclass
class Budget:
    """When to stop, and what is known of the tests. seconds: how long a test may be expected to take, by file."""

    deadline: float
    seconds: Mapping[str, float]
    clock: Callable[[], float] = time.time
    _expected: float = 0.0
    _taken: float = 0.0

    def has_time_for(self, file: str, limit: float = 0.0) -> bool:
        """Whether a test of this file would end before the deadline, as far as can be told. limit: its own timeout."""
        expected = self.seconds.get(file, max(UNKNOWN, limit * OF_LIMIT)) * SAFETY * self.slowness
        return self.clock() + expected + RESERVE <= self.deadline

    @property
    def slowness(self) -> float:
        """How many times longer tests take here and now than they took before; at least 1."""
        return max(1.0, self._taken / self._expected) if self._expected > 5 else 1.0

    def note(self, file: str, taken: float) -> None:
        """Learn from a test that has ended, and is the longest of its file."""
        expected = self.seconds.get(file, 0.0)
        if expected and taken > expected / 2:
            self._expected += expected
            self._taken += taken


def in_order(files: Iterable[str], touched: Mapping[str, int], last: Mapping[str, float], turn: str) -> list[str]:
    """Files of slow tests: the most touched first, then those that ran longest ago, else in another order each turn."""

    def key(file: str) -> tuple[int, float, bytes]:
        return -touched.get(file, 0), last.get(file, 0.0), hashlib.sha256(f"{turn} {file}".encode()).digest()

    return sorted(set(files), key=key)


def touch(changed: Sequence[str], tests: Mapping[str, str]) -> dict[str, int]:
    """How much a change has to do with each test file. tests: their texts.

    3: it is changed itself. 2: it names a changed module, or is named after it. 1: it tests the same layer.
    """
    found: dict[str, int] = {}
    for path in map(Path, changed):
        dotted = re.escape(".".join(path.with_suffix("").parts[-2:])) if path.suffix == ".py" else "$."
        names = re.compile(
            rf"\b{dotted}\b|from {re.escape('.'.join(path.parts[1:-1]))} import .*\b{re.escape(path.stem)}\b"
        )
        for file, text in tests.items():
            own = Path(file)
            if file == str(path):
                score = 3
            elif path.parts[0] == "tests":
                score = 0
            elif own.stem.removeprefix("test_") == path.stem or names.search(text):
                score = 2
            else:
                score = int(own.parts[1:2] == path.parts[2:3])  # tests/app/… and src/testgrove/app/…
            found[file] = max(found.get(file, 0), score)
    return found


def changes(repo: Path) -> list[str]:
    """The files changed since the branch left main, or in main's last commits, and in the working tree."""

    def git(*words: str) -> list[str]:
        done = subprocess.run(["git", "-C", repo, *words], capture_output=True, text=True, check=False)
        return done.stdout.splitlines() if done.returncode == 0 else []

    head, base = git("rev-parse", "HEAD"), git("merge-base", "HEAD", "origin/main")
    since = base if base != head else git("rev-list", "--max-count=1", f"--skip={COMMITS}", "HEAD")
    committed = git("diff", "--name-only", since[0], "HEAD") if since else []
    return sorted({*committed, *git("diff", "--name-only", "HEAD"), *git("ls-files", "--others", "--exclude-standard")})


def third(files: Iterable[str], turn: int) -> set[str]:
    """Every third file, another third each turn."""
    return {file for number, file in enumerate(sorted(set(files))) if number % 3 == turn % 3}


def note_left_out(left_out: dict[str, int], report: pytest.TestReport) -> bool:
    """Count a test that was skipped because the time is used up. Returns whether it is one."""
    if not (report.when == "setup" and report.skipped and LEFT_OUT in str(report.longrepr)):
        return False
    file = report.nodeid.partition("::")[0]
    left_out[file] = left_out.get(file, 0) + 1
    return True


def left_out_lines(left_out: Mapping[str, int]) -> list[str]:
    """What was left out, for people."""
    if not left_out:
        return ["everything has run: no slow test was left out"]
    names = sorted(left_out)
    more = [f"and {len(names) - NAMED} more files"] if len(names) > NAMED else []
    head = f"left out: {sum(left_out.values())} slow tests in {len(names)} files (`make check-all` runs everything)"
    return [head, *(f"  {name} ({left_out[name]})" for name in names[:NAMED]), *more]


@dataclass(eq=False)  # pluggy keeps plugins in sets
class BudgetPlugin:
    """Puts the tests in order, skips what there is no time for, and remembers what has run."""

    config: pytest.Config
    minutes: float
    left_out: dict[str, int] = field(default_factory=dict)
    ran: dict[str, list[float]] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = getattr(self.config, "workerinput", {}).get("budget")
        self.plan = given or self._plan()
        self.budget = Budget(self.plan["deadline"], {file: each[1] for file, each in self.plan["record"].items()})

    def _plan(self) -> dict[str, object]:
        began = float(os.environ.get(STARTED) or time.time())
        known = {file: [0.0, seconds] for file, seconds in json.loads(DURATIONS.read_text(encoding="utf-8")).items()}
        known |= self.config.cache.get(RECORD, {}) if self.config.cache else {}
        changed = changes(self.config.rootpath)
        turn = _turn(self.config.rootpath)
        return {"deadline": began + 60 * self.minutes, "record": known, "changed": changed, "turn": turn}

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node) -> None:
        """Every worker of xdist has the same plan, and so the same order."""
        node.workerinput["budget"] = self.plan

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        slow = [item for item in items if item.get_closest_marker("slow")]
        texts = {_file(item): item.path.read_text(encoding="utf-8") for item in slow}
        last = {file: each[0] for file, each in self.plan["record"].items()}
        order = in_order(texts, touch(self.plan["changed"], texts), last, self.plan["turn"])
        place = {file: number for number, file in enumerate(order, 1)}
        chosen = set(map(id, slow))
        items.sort(key=lambda item: place[_file(item)] if id(item) in chosen else 0)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if item.get_closest_marker("slow"):
            timeout = item.get_closest_marker("timeout")
            if not self.budget.has_time_for(_file(item), timeout.args[0] if timeout else 0.0):
                pytest.skip(LEFT_OUT)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """In the controller for all workers' tests; in a worker for its own."""
        file = report.nodeid.partition("::")[0]
        if note_left_out(self.left_out, report):
            return
        if "slow" in report.keywords and (report.when == "setup" or report.nodeid in self.spent):
            self.spent[report.nodeid] = self.spent.get(report.nodeid, 0.0) + report.duration
            if report.when == "teardown":
                taken = self.spent.pop(report.nodeid)
                self.budget.note(file, taken)
                self.ran[file] = [time.time(), max(taken, self.ran.get(file, [0.0, 0.0])[1])]

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter, exitstatus: int) -> None:
        if exitstatus > 1 or self.config.option.collectonly:  # it did not come to its end
            return
        terminalreporter.section(f"budget of {self.minutes:g} minutes")
        for line in left_out_lines(self.left_out):
            terminalreporter.write_line(line)

    def pytest_sessionfinish(self) -> None:
        if self.config.cache and not hasattr(self.config, "workerinput"):
            self.config.cache.set(RECORD, {**self.config.cache.get(RECORD, {}), **self.ran})


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _turn(repo: Path) -> str:
    done = subprocess.run(["git", "-C", repo, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or time.strftime("%Y-%m-%d", time.gmtime())


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options; tests/conftest.py passes them on."""
    group = parser.getgroup("testgrove's own tests")
    group.addoption("--budget", type=float, metavar="MINUTES", help="start no slow test that would end later")
    group.addoption(
        "--third", type=float, metavar="MINUTES", help="a third of the files' fast tests, while time is left"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin where it is asked for."""
    if config.getoption("budget") is not None:
        config.pluginmanager.register(BudgetPlugin(config, config.getoption("budget")), "testgrove-budget")
    if config.getoption("third") is not None:
        config.pluginmanager.register(ThirdPlugin(config, config.getoption("third")), "testgrove-third")


@dataclass(eq=False)  # pluggy keeps plugins in sets
class ThirdPlugin:
    """For --third: does not collect two thirds of the files, and runs no slow test and none after the deadline."""

    config: pytest.Config
    minutes: float
    left_out: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.deadline = float(os.environ.get(STARTED) or time.time()) + 60 * self.minutes
        self.turn = _turn(self.config.rootpath)
        files = {str(file) for place in self.config.args for file in Path(place).absolute().rglob("test_*.py")}
        self.others = files - third(files, int(self.turn[:8].replace("-", ""), 16))

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if str(collection_path) in self.others else None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        slow = [item for item in items if item.get_closest_marker("slow")]
        self.config.hook.pytest_deselected(items=slow)
        kept = [item for item in items if not item.get_closest_marker("slow")]
        items[:] = sorted(kept, key=lambda item: hashlib.sha256(f"{self.turn} {_file(item)}".encode()).digest())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        if time.time() > self.deadline:
            pytest.skip(LEFT_OUT)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        note_left_out(self.left_out, report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter) -> None:
        for name, count in sorted(self.left_out.items()):
            terminalreporter.write_line(f"{LEFT_OUT}: {name} ({count})")


if __name__ == "__main__":  # `make durations`: what a `make check-all` has recorded becomes what a fresh clone knows
    cache = DURATIONS.parents[1] / ".pytest_cache/v" / RECORD
    found = {file: round(seconds, 1) for file, (_, seconds) in json.loads(cache.read_text(encoding="utf-8")).items()}
    known = json.loads(DURATIONS.read_text(encoding="utf-8")) | found
    there = {file: known[file] for file in sorted(known) if (DURATIONS.parents[1] / file).exists()}
    DURATIONS.write_text(json.dumps(there, indent=1) + "\n", encoding="utf-8")
