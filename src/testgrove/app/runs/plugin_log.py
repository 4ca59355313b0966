"""The pytest plugin's log of an attempt, read while it is written."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from testgrove.core.runs.events import AnyEvent, TestFinished, TestRunning, TestsCollected
from testgrove.core.runs.leaks import LeakKind, TrackedResource
from testgrove.core.runs.outcome import SessionFacts
from testgrove.core.runs.stacks import LIMIT, of_test, without_runner

SLOW = 2.0  # seconds after which a test that still runs is named


class SessionLog:
    """Follows ``tests.jsonl`` in an attempt's session folder. tree: the worktree that the suite runs in.

    environment: another folder that may contain its Python.
    """

    def __init__(self, folder: Path, tree: Path, cell: str, attempt: int, *, environment: Path | None = None) -> None:
        self.facts = SessionFacts()
        self._tree = Path(os.path.realpath(tree))
        self._environment = Path(os.path.realpath(environment)) if environment else self._tree
        self._path = folder / "tests.jsonl"
        self.leftovers: list[TrackedResource] = []  # of its processes, at their exit
        self._slow: set[str] = set()
        self.connections: list[dict[str, Any]] = []  # connections to databases, until the watch takes them
        self._cell, self._attempt = cell, attempt
        self._offset = 0

    def read(self) -> Iterator[AnyEvent]:
        """The events of the lines that were added since the last call. A line still being written waits."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data.rpartition(b"\n")[0]
        self._offset += len(whole) + 1 if whole else 0
        for line in whole.split(b"\n"):
            try:
                entry = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # another process wrote to the file: the outcome is computed from the readable lines
            if isinstance(entry, dict) and entry.get("type") in ("values", "connection"):
                self.connections.append(entry)
            elif isinstance(entry, dict):
                yield from self._understand(entry)

    def slow(self) -> Iterator[TestRunning]:
        """Yield each test that has run for SLOW seconds and has not ended, once."""
        now = time.monotonic()
        for nodeid, began in self.facts.unfinished.items():
            if now - began >= SLOW and nodeid not in self._slow:
                self._slow.add(nodeid)
                yield TestRunning(
                    t=time.time(), cell=self._cell, attempt=self._attempt, nodeid=nodeid, elapsed=now - began
                )

    def unfinished(self, reason: str, stacks: Sequence[str]) -> Iterator[TestFinished]:
        """Yield the tests that had not ended when the suite was ended, as errors. stacks: one text for each process."""
        now = time.monotonic()
        for nodeid, began in self.facts.unfinished.items():
            yield TestFinished(
                t=time.time(),
                cell=self._cell,
                attempt=self._attempt,
                nodeid=nodeid,
                outcome="error",
                duration=now - began,
                message=reason.replace(f" in {nodeid}", "", 1),
                text=without_runner(of_test(stacks, nodeid))[:LIMIT],
            )

    def _understand(self, entry: dict[str, Any]) -> Iterator[AnyEvent]:
        facts = self.facts
        match entry.get("type"):
            case "session":
                self._session(str(entry.get("prefix") or self._tree))
                facts.pytest = str(entry.get("pytest") or "")
                facts.stacks = int(entry.get("stacks") or 0)
                facts.unfinished.clear()
            case "collected":
                yield self._collected(entry)
            case "start":
                facts.unfinished[str(entry["nodeid"])] = time.monotonic()
            case "test":
                yield self._test(entry)
            case "foreign":
                facts.foreign += [f"{each['module']} from {each['checkout']}" for each in entry["modules"]]
            case "leftovers":
                kinds: tuple[LeakKind, ...] = ("descriptor", "thread")
                for kind in kinds:
                    self.leftovers += [TrackedResource(kind, str(name)) for name in entry.get(kind, ())]
            case "finish":
                facts.finishes += 1
                facts.ran += int(entry.get("ran", facts.selected))

    def _session(self, prefix: str) -> None:
        self.facts.sessions += 1
        real = Path(os.path.realpath(prefix))
        if not real.is_relative_to(self._tree) and real != self._environment:
            self.facts.elsewhere.append(prefix)

    def _collected(self, entry: dict[str, Any]) -> TestsCollected:
        facts = self.facts  # added up: a suite can run pytest several times, one after the other
        facts.selected += int(entry["selected"])
        facts.deselected += int(entry.get("deselected", 0))
        return TestsCollected(
            t=time.time(),
            cell=self._cell,
            attempt=self._attempt,
            selected=facts.selected,
            deselected=facts.deselected,
        )

    def _test(self, entry: dict[str, Any]) -> TestFinished:
        self.facts.unfinished.pop(entry["nodeid"], None)
        self.facts.outcomes[entry["outcome"]] += 1
        return TestFinished(
            t=time.time(),
            cell=self._cell,
            attempt=self._attempt,
            nodeid=entry["nodeid"],
            outcome=entry["outcome"],
            duration=entry["duration"],
            message=entry.get("message", ""),
            text=entry.get("text", ""),
            output=entry.get("output", ""),
            file=entry.get("file", ""),
            line=int(entry.get("line") or 0),
        )
