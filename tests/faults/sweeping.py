"""What a sweep of kills needs: a project with a worktree that is the user's, kills, and the verdict after each."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from auditor import checkouts
from grove import Grove, said

PROGRAM = (sys.executable, str(Path(__file__).with_name("killing.py")))
SEED = "KILLING_SEED"
LIST = ("list",)
NOTES = "what the user has written\n"
OUTPUT = "<testsuites/>\n"
REPORTS = ("report.json", "junit.xml", "report.html")


class Site:
    """A project in which commands are killed. Its bystander is a worktree with the user's files in it."""

    def __init__(self, grove: Grove) -> None:
        self.grove = grove
        self.auditor = grove.auditor()
        grove.create("review", "mine", "--new-branch", "--no-env", branch="mine")
        self.bystander = grove.root / "review-mine"
        (self.bystander / "notes.txt").write_text(NOTES)
        (self.bystander / "README.md").write_text(NOTES)

    def kill_at(self, at: str, *command: str) -> bool:
        """Run a command that dies at a step (see killing.py); whether it came that far."""
        log = self.grove.base / "steps"
        log.unlink(missing_ok=True)
        variables = {"KILLING_LOG": str(log), "KILLING_AT": at, "KILLING_BASE": str(self.grove.base)}
        done = self.grove.run(*command, program=PROGRAM, env=variables, check=False)
        assert done.returncode in (-9, 0, 5), said(done)
        self.last = f"{' '.join(command)}, killed at {log.read_text().splitlines()[-1]}"
        return done.returncode == -9

    def steps(self) -> list[str]:
        """What the last command did, step by step."""
        return [line.partition(" ")[2] for line in (self.grove.base / "steps").read_text().splitlines()]

    def last_number(self, kind: str) -> int:
        """How many steps of a kind the last command had."""
        words = [line.partition(" ")[0].partition(":") for line in (self.grove.base / "steps").read_text().splitlines()]
        return max(int(number) for name, _, number in words if name == kind)

    def kill_after(self, delay: float, *command: str) -> bool:
        """Kill a command from outside after so many seconds; whether it still ran."""
        process = self.grove.start(*command, output=subprocess.DEVNULL)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
        status = process.wait()
        assert status in (-9, 0, 5), f"{command}: exit status {status}"
        self.last = f"{' '.join(command)}, killed after {delay:.4f} s"
        return status == -9

    def judge(self, next_command: Sequence[str] = LIST, statuses: Sequence[int] = (0,)) -> dict[str, Any]:
        """Run the next command and look at everything. Returns the worktrees there are, the bystander left out."""
        try:
            done = self.grove.run(*next_command, "--json", check=False)
            assert done.returncode in statuses, said(done)
            self.auditor.assert_no_leftovers(within=1.0)
            listed = json.loads(done.stdout).get("worktrees") if next_command == LIST else None
            return self._verdict({entry["id"]: entry for entry in listed} if listed else self.grove.worktrees())
        except AssertionError as error:
            error.add_note(f"{self.last}; then {' '.join(next_command)}")
            raise

    def _verdict(self, there: dict[str, Any]) -> dict[str, Any]:
        assert {entry["status"] for entry in there.values()} <= {"ready", "parked"}, there
        assert {Path(entry["path"]) for entry in there.values()} == set(checkouts(self.grove.repo))
        assert set(self.grove.registry()["worktrees"]) == set(there), "the registry view is out of date"
        bystander = there.pop("review-mine")
        assert bystander["branch"] == "mine"
        assert {(self.bystander / name).read_text() for name in ("notes.txt", "README.md")} == {NOTES}
        assert self.grove.git("status", "--porcelain") == ""
        assert self.stored() == {}, "the store holds what nobody owns"
        for folder in self.grove.runs():
            assert_report(folder)
        return there

    def stored(self) -> dict[str, list[Any]]:
        """What the store has of commands and runs that are over; leases too, but those of worktrees."""
        questions = {
            "holders": "SELECT * FROM holders",
            "runs": "SELECT * FROM runs",
            "leases": "SELECT * FROM leases l WHERE NOT EXISTS (SELECT * FROM worktrees w "
            "WHERE l.owner = 'worktree:' || w.project || '/' || w.id)",
            "branches": "SELECT * FROM leases WHERE kind = 'branch'",
            "held": "SELECT * FROM worktrees WHERE holder IS NOT NULL",
        }
        with closing(sqlite3.connect(self.grove.state / "state.db")) as store:
            found = {name: store.execute(question).fetchall() for name, question in questions.items()}
        return {name: rows for name, rows in found.items() if rows}


def assert_report(folder: Path) -> None:
    """A run's folder has every report, and each can be read."""
    missing = [name for name in REPORTS if not (folder / name).is_file()]
    assert not missing, f"{folder} has no {missing}"
    json.loads((folder / "report.json").read_text())
    ET.parse(folder / "junit.xml")
    assert "</html>" in (folder / "report.html").read_text()


def random_source(*names: object) -> tuple[random.Random, str]:
    """Random numbers of a part of a sweep, and the words that say how to have them again."""
    seed = os.environ.get(SEED) or str(random.SystemRandom().randrange(10**9))
    words = f"{SEED}={seed} ({'/'.join(map(str, names))})"
    sys.stdout.write(words + "\n")
    return random.Random(words), words


def duration_of(grove: Grove, *command: str) -> float:
    """Seconds that a command takes here and now."""
    start = time.monotonic()
    done = grove.run(*command, check=False)
    assert done.returncode in (0, 5), said(done)
    return time.monotonic() - start
