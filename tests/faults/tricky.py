"""A suite that is hard to end: while a folder is there, its second test starts six kinds of children and hangs.

One of them goes on writing into the worktree.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import Any

import psutil

import local_packages
from faults.sweeping import assert_report
from grove import Grove

KINDS = ("plain", "group", "session", "daemon", "cleared", "deaf")
FILES = {
    "README.md": "A project.\n",
    "tests/children.py": """
import os, signal, sys, time

def settle(name):
    path = os.path.join(sys.argv[1], name)
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
    number = 0
    while True:
        if name != "deaf":
            signal.pause()
        number += 1
        with open("noise-%d.txt" % (number % 20), "w") as file:
            file.write(str(number))
        time.sleep(0.002)

def daemonize():
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")

def cleared():
    daemonize()
    os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, sys.argv[1], "cleared"], {})

kinds = {
    "plain": lambda: None,
    "group": lambda: os.setpgid(0, 0),
    "session": os.setsid,
    "daemon": daemonize,
    "cleared": cleared,
    "deaf": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
}
if sys.argv[2:]:
    settle(sys.argv[2])
for name, prepare in kinds.items():
    if os.fork() == 0:
        prepare()
        settle(name)
""",
    "tests/test_hang.py": """
import os, signal, subprocess, sys
from pathlib import Path

def test_before():
    Path("written-by-the-suite.log").write_text("a line")

def test_that_hangs():
    print("the output so far", flush=True)
    if os.path.exists(os.environ["HANG"]):
        program = Path(__file__).with_name("children.py")
        subprocess.Popen([sys.executable, "-S", program, os.environ["HANG"]])
        while True:
            signal.pause()
""",
}


class Tricky:
    """A grove whose suite hangs while the folder `.hang` is there."""

    def __init__(self, make: Any, *, timeout: float = 300.0, more: str = "") -> None:
        suite = f'[suites.tests]\ncommand = "pytest -s tests"\ntimeout = {timeout}\n'
        self.grove: Grove = make(files=FILES, variables=local_packages.settings())
        self.hang = self.grove.base / "hang"
        config = f'[env]\nHANG = "{self.hang}"\n{suite}{more}'
        old = (self.grove.repo / "testgrove.toml").read_text()
        self.grove.write({"testgrove.toml": config + old}, commit="A suite that hangs")
        self.hang.mkdir()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a run, and return when its first test has passed and all six children are what their names say."""
        process = self.grove.start("test", *arguments)
        deadline = time.monotonic() + 60.0
        while {path.name for path in self.hang.iterdir()} != set(KINDS) or not self.first_test_is_logged():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the suite did not get to its second test"
            time.sleep(0.01)
        return process

    def first_test_is_logged(self) -> bool:
        """Whether the newest run has seen the first test's end, which it looks for ten times a second."""
        return "passed" in (self.grove.runs()[-1] / "events.jsonl").read_text()

    def children(self) -> list[psutil.Process]:
        """The six that live, zombies left out."""
        found = []
        for path in self.hang.iterdir():
            try:
                process = psutil.Process(int(path.read_text()))
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def calm(self) -> None:
        """From now on the suite passes."""
        for path in self.hang.iterdir():
            path.unlink()
        self.hang.rmdir()

    def environment(self) -> int:
        """The environment's identity, to see whether it was made anew."""
        return (self.grove.tree("test-tests-tree") / ".venv").stat().st_ino

    def report(self) -> dict[str, Any]:
        """The newest run's report.json; all of its reports are there."""
        folder = self.grove.runs()[-1]
        assert_report(folder)
        document: dict[str, Any] = json.loads((folder / "report.json").read_text())
        return document

    def assert_recycled(self) -> None:
        """The worktree is parked, whole, and the next run takes it over and passes."""
        there = self.grove.worktrees()
        assert {name: entry["status"] for name, entry in there.items()} == {"test-tests-tree": "parked"}
        before = self.environment()
        self.calm()
        self.grove.run("test")
        assert self.environment() == before, "the worktree was made anew"
        assert set(self.grove.worktrees()) == {"test-tests-tree"}
        self.grove.run("cleanup", "--max-age", "0", "--yes")
        self.grove.auditor().assert_nothing()


def supervisors_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The supervisors of a testgrove command."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if any(word.endswith("supervisor.py") for word in child.cmdline())]


def kill(*processes: Any) -> None:
    """kill -9 in the same moment, and reap what is ours to reap."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            process.send_signal(number)
    for process in processes:
        if isinstance(process, subprocess.Popen):
            process.communicate()
