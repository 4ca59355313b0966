"""The coordinator killed at random moments: nothing survives, what was done is reported, the rest can go on.

KILLING_SEED: the seed, which is shown. KILLING_ROUNDS: how many kills.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from typing import Any

import pytest

from faults.sweeping import SEED
from grove import Grove, said

ROUNDS = int(os.environ.get("KILLING_ROUNDS", "6"))
DAEMON = f'{sys.executable} -c "import os, time; os.fork() or os.setsid() or os.fork() or time.sleep(300)"; sleep 0.3'
EXPECTED = {
    "one": "passed",
    "two": "passed",
    "daemon": "passed",
    "bad": "failed",
    "blocked": "skipped",
    "teardown": "passed",
    "long": "passed",
    "last": "passed",
}


def scenario(name: str, worktree: str, command: str, *needs: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "worktree": worktree, "command": command, "dependencies": needs, **more}


@pytest.fixture
def graph(grove) -> Grove:
    made: Grove = grove(files={"README.md": "A project.\n"})
    made.root.mkdir()
    for name in ("a", "b"):
        made.git("worktree", "add", "--quiet", "-b", name, str(made.root / name))
    scenarios = [
        scenario("one", "a", "sleep 0.2"),
        scenario("two", "b", "sleep 0.3", "one"),
        scenario("daemon", "a", DAEMON, "one"),
        scenario("bad", "b", "sleep 0.2; false"),
        scenario("blocked", "a", "true", "bad"),
        scenario("teardown", "b", "sleep 0.1", "bad", always=True),
        scenario("long", "a", "sleep 0.5", "two"),
        scenario("last", "b", "sleep 0.1", "long", "daemon"),
    ]
    made.write({"scenarios.json": json.dumps({"scenarios": scenarios})}, commit="Scenarios")
    return made


def coordinate(graph: Grove, *words: str) -> subprocess.CompletedProcess[str]:
    active = {"VIRTUAL_ENV": sys.prefix}
    return graph.run("coordinate", "-j", "2", "--quiet", "--leak-checks", "fast", *words, check=False, env=active)


def outcomes(graph: Grove) -> dict[str, str]:
    report = json.loads((graph.artifacts / "latest/report.json").read_text())
    return {cell["key"]: cell["status"] for cell in report["cells"]}


def in_an_attempt(events: list[dict[str, Any]]) -> bool:
    running = [event["cell"] for event in events if event["type"] == "attempt_started"]
    for event in events:
        if event["type"] == "attempt_finished":
            running.remove(event["cell"])
    return bool(running)


def wait_for_an_attempt(graph: Grove, process: subprocess.Popen[str], known: int) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if len(runs := graph.runs()) > known and '"attempt_started"' in (runs[-1] / "events.jsonl").read_text():
            return
        time.sleep(0.005)


def kill_within(process: subprocess.Popen[str], seconds: float) -> None:
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def assert_nothing_survives(graph: Grove, within: float = 2.0) -> None:
    deadline = time.monotonic() + within
    while (found := graph.auditor().audit().processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found == []


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_a_coordinator_killed_at_any_moment_leaves_nothing_and_goes_on(graph):
    seed = int(os.environ.get(SEED) or random.randrange(2**32))
    print(f"{SEED}={seed}")  # noqa: T201 - pytest shows it where the test fails
    chance = random.Random(seed)
    done = coordinate(graph)
    whole = json.loads((graph.artifacts / "latest/report.json").read_text())["duration"]
    assert outcomes(graph) == EXPECTED, said(done)
    during = 0
    for _ in range(ROUNDS):
        known = graph.runs()
        process = graph.start("coordinate", "-j", "2", "--leak-checks", "fast", env={"VIRTUAL_ENV": sys.prefix})
        if chance.random() < 0.8:
            wait_for_an_attempt(graph, process, len(known))
        kill_within(process, chance.uniform(0.0, whole))
        assert_nothing_survives(graph)
        fresh = [folder for folder in graph.runs() if folder not in known]
        if not fresh:
            continue
        log = fresh[0] / "events.jsonl"
        events = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        during += in_an_attempt(events)
        if not events:
            continue
        graph.run("report", "show", fresh[0].name)
        resumed = coordinate(graph, "--resume", fresh[0].name)
        assert outcomes(graph) == EXPECTED, said(resumed)
        left = graph.auditor().leftovers()
        left.broken = [line for line in left.broken if not line.endswith(": no metadata")]  # the user's own worktrees
        assert not left, str(left)
    print(f"{during} of {ROUNDS} kills were during attempts")  # noqa: T201 - as above
    if ROUNDS >= 50:
        assert during >= 30
