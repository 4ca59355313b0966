"""The hooks of a session that reports: those of the process that claimed it, and of its xdist workers.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_testgrove.foreign import SHOWN, find_loaded
from pytest_testgrove.leftovers import Leftovers
from pytest_testgrove.order import hand_over, seed_from_environment, shuffle
from pytest_testgrove.outcome import Case, collector_record
from pytest_testgrove.session import Log, claim, finish, hide_injection
from pytest_testgrove.stacks import offer, withdraw

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_testgrove.connections import Connections


def start(session: pytest.Session, told: dict[str, Any] | None, connections: Connections | None) -> None:
    """Register the plugins of this process.

    told: the controller's input in an xdist worker; else None. connections: watches this process's connections."""
    config = session.config
    if told is not None:
        hide_injection()
        worker = Worker(config, told)
        config.pluginmanager.register(worker, "testgrove-worker")
        _watch(config, worker.log, connections)
        return
    folder = os.environ["TESTGROVE_SESSION"]
    if hasattr(config, "workerinput") or not claim(folder):
        return  # a nested pytest
    recorder = Recorder(config, folder)
    if not recorder.distributes:
        hide_injection()  # xdist's workers still need it
    config.pluginmanager.register(recorder, "testgrove-recorder")
    recorder.begin(session)
    _watch(config, recorder.log, connections)


def _watch(config: pytest.Config, log: Log, connections: Connections | None) -> None:
    if connections is not None:
        connections.open(log)
        config.pluginmanager.register(Watcher(connections), "testgrove-connections")


def _foreign_from_environment() -> list[str]:
    try:
        paths = json.loads(os.environ.get("TESTGROVE_FOREIGN") or "[]")
    except ValueError as error:
        raise pytest.UsageError(f"TESTGROVE_FOREIGN is not a JSON list of paths: {error}") from error
    return [str(path) for path in paths]


def _check(log: Log, tree: str, others: list[str]) -> list[dict[str, str]]:
    found = find_loaded(tree, others)
    if found:
        log.write("foreign", modules=found[:SHOWN], count=len(found))
    return found


class Recorder:
    """The hooks of the process that claimed the session: pytest itself, or xdist's controller."""

    def __init__(self, config: pytest.Config, folder: str) -> None:
        self._config = config
        self._folder = folder
        self._tree = os.environ.get("TESTGROVE_TREE") or str(config.rootpath)
        self._others = _foreign_from_environment()
        self._prefix = _prefix(self._tree, config.rootpath)
        self.log = Log(folder)
        self._started = time.perf_counter()
        self._session: pytest.Session | None = None
        self._cases: dict[str, Case] = {}
        self._collectors: set[str] = set()
        self._deselected = 0
        self._ran = 0
        self._workers = 0
        self._foreign: dict[tuple[str, str], dict[str, str]] = {}
        self._seed = seed_from_environment()
        if self._seed is not None and hand_over(config, self._seed):
            self._seed = None
        self.distributes = bool(config.pluginmanager.hasplugin("dsession"))
        self._stacks = offer(folder)
        self._leftovers = None if self.distributes else Leftovers()  # a controller's are its workers' pipes

    def begin(self, session: pytest.Session) -> None:
        """The session has started. (A plugin that is registered in a hook misses this hook.)"""
        self._session = session
        self.log.write(
            "session",
            pytest=pytest.__version__,
            python=platform.python_version(),
            prefix=sys.prefix,
            rootdir=str(self._config.rootpath),
            args=[str(arg) for arg in self._config.invocation_params.args],
            stacks=self._stacks,
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Send a worker its input. The first one reports the number of tests."""
        node.workerinput["testgrove"] = {
            "session": self._folder,
            "tree": self._tree,
            "others": self._others,
            "counts": self._workers == 0,
            "seed": self._seed,
        }
        self._workers += 1

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:  # noqa: ARG002 - xdist's names
        for module in getattr(node, "workeroutput", {}).get("testgrove_foreign", ()):
            self._foreign[module["module"], module["file"]] = module

    @pytest.hookimpl(tryfirst=True)  # who puts tests into an order of their own has the last word
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._seed is not None:
            shuffle(items, self._seed)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self._deselected += len(items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome != "passed" and report.nodeid not in self._collectors:
            self._collectors.add(report.nodeid)  # every worker finds the same
            self.log.write("test", **collector_record(report, self._prefix))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if not self.distributes:
            self.log.write("collected", selected=len(session.items), deselected=self._deselected)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if nodeid not in self._cases:  # not a further try
            self.log.write("start", nodeid=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        case = self._cases.get(report.nodeid)
        if case is None:
            case = self._cases[report.nodeid] = Case(report.nodeid)
        case.add(report)
        if report.when not in ("setup", "call", "teardown"):  # xdist: the worker crashed
            self._finish_case(report.nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._finish_case(nodeid)

    def _finish_case(self, nodeid: str) -> None:
        case = self._cases.get(nodeid)
        if case is not None and not case.is_to_be_rerun:
            del self._cases[nodeid]
            if case.is_judged:
                self._ran += 1
                self.log.write("test", **case.record(self._prefix))

    @pytest.hookimpl(tryfirst=True)  # whatever another plugin's hook raises
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        for nodeid in list(self._cases):
            self._finish_case(nodeid)
        for module in _check(self.log, self._tree, self._others):
            self._foreign[module["module"], module["file"]] = module
        if (self._foreign or self.log.error) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.log.error:
            terminalreporter.section("testgrove", red=True)
            terminalreporter.line(f"The outcomes could not be written to {self._folder}: {self.log.error}")
        if not self._foreign:
            return
        terminalreporter.section("testgrove: these tests ran code from elsewhere", red=True)
        terminalreporter.line(f"Loaded from another checkout instead of {self._tree}:")
        modules = list(self._foreign.values())
        for module in modules[:SHOWN]:
            terminalreporter.line(f"  {module['module']}: {module['file']}")
        if len(modules) > SHOWN:
            terminalreporter.line(f"  and {len(modules) - SHOWN} more")

    def pytest_unconfigure(self) -> None:
        if self._leftovers is not None:
            self._leftovers.report(self.log)
        if self._session is not None:
            duration = round(time.perf_counter() - self._started, 6)
            self.log.write("finish", exitstatus=int(self._session.exitstatus), ran=self._ran, duration=duration)
        self.log.close()
        withdraw(self._folder)
        finish(self._folder)


class Watcher:
    """Checks variables after the collection, after each test file, and at the end."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.nodeid.endswith(".py"):
            self._connections.look(report.nodeid)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._connections.next_file(nodeid)

    @pytest.hookimpl(trylast=True)  # after the fixtures of the session
    def pytest_sessionfinish(self) -> None:
        self._connections.end()


class Worker:
    """The hooks of an xdist worker: its modules are its own, its tests are the controller's to report."""

    def __init__(self, config: pytest.Config, told: dict[str, Any]) -> None:
        self._config = config
        self._told = told
        self.log = Log(told["session"])
        self._deselected = 0
        offer(told["session"])
        self._leftovers = Leftovers()

    @pytest.hookimpl(tryfirst=True)  # as the controller's
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._told["seed"] is not None:
            shuffle(items, self._told["seed"])

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self._deselected += len(items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if self._told["counts"]:
            self.log.write("collected", selected=len(session.items), deselected=self._deselected)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        found = _check(self.log, self._told["tree"], self._told["others"])
        if found:
            output: dict[str, Any] = self._config.workeroutput  # type: ignore[attr-defined]  # xdist adds it
            output["testgrove_foreign"] = found

    def pytest_unconfigure(self) -> None:
        self._leftovers.report(self.log)
        self.log.close()
        withdraw(self._told["session"])


def _prefix(tree: str, root: Path) -> str:
    """From the tree to pytest's root, so that reports name files as the repository does."""
    relative = os.path.relpath(os.path.realpath(root), os.path.realpath(tree))
    return "" if relative == "." else f"{relative}/"
