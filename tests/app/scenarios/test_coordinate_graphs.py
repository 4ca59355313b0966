"""Random graphs of scenarios, for real: what the log says is held against the rules.

GRAPH_SEED: the seed, which is shown.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
from typing import Any

import pytest

from grove import said

WORKTREES = ("a", "b", "c", "d")
SCENARIOS = 60


@pytest.fixture
def project(grove):
    made = grove(files={"README.md": "A project.\n"}, config="[resources]\nlicence = 2\n")
    made.root.mkdir()
    for name in WORKTREES:
        made.git("worktree", "add", "--quiet", "-b", name, str(made.root / name))
    return made


def graph(chance: random.Random) -> list[dict[str, Any]]:
    found = []
    for number in range(SCENARIOS):
        needs = {f"s{chance.randrange(number)}" for _ in range(chance.choice((0, 0, 1, 2)))} if number else set()
        scenario: dict[str, Any] = {
            "name": f"s{number}",
            "worktree": chance.choice(WORKTREES),
            "command": chance.choice(("true", "true", "true", "true", "sleep 0.03", "false")),
            "dependencies": sorted(needs),
            "shareable": chance.random() < 0.3,
            "always": chance.random() < 0.1,
            "resources": ["licence"] if chance.random() < 0.3 else [],
        }
        found.append(scenario)
    chance.shuffle(found)
    return found


def expected(scenarios: dict[str, dict[str, Any]], name: str, known: dict[str, str]) -> str:
    """How a scenario must end, whatever the order in which things happen."""
    if name not in known:
        scenario = scenarios[name]
        passed = all(expected(scenarios, need, known) == "passed" for need in scenario["dependencies"])
        ran = "failed" if scenario["command"] == "false" else "passed"
        known[name] = ran if passed or scenario["always"] else "skipped"
    return known[name]


@pytest.mark.slow
@pytest.mark.parametrize("slots", ["1", "6"])
def test_what_happens_follows_the_rules(project, slots):
    seed = int(os.environ.get("GRAPH_SEED") or random.randrange(2**32))
    print(f"GRAPH_SEED={seed}")  # noqa: T201 - pytest shows it where the test fails
    scenarios = graph(random.Random(seed))
    (project.repo / "scenarios.json").write_text(json.dumps({"scenarios": scenarios}))
    words = ("coordinate", "-j", slots, "--quiet", "--leak-checks", "fast")
    done = project.run(*words, check=False, env={"VIRTUAL_ENV": sys.prefix})
    assert done.returncode in (0, 1), said(done)
    log = (project.artifacts / "latest/events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in log]
    by_name = {each["name"]: each for each in scenarios}
    ends = [(event["cell"], event["status"]) for event in events if event["type"] == "cell_finished"]
    assert dict(ends) == {name: expected(by_name, name, {}) for name in by_name}
    assert len(ends) == len(by_name), "each ends once"
    assert_rules(by_name, events, int(slots))


def assert_rules(by_name: dict[str, dict[str, Any]], events: list[dict[str, Any]], slots: int) -> None:
    """At no moment is there more than there may be; nothing starts before its time. Seen in the order of the log."""
    ended: set[str] = set()
    running: dict[str, dict[str, Any]] = {}
    for event in events:
        name = event.get("cell", "")
        if event["type"] == "attempt_started":
            assert set(by_name[name]["dependencies"]) <= ended, name
            running[name] = by_name[name] | {"slot": event["slot"]}
            assert len({each["slot"] for each in running.values()}) == len(running) <= slots
            assert sum("licence" in each["resources"] for each in running.values()) <= 2
            for one, other in itertools.combinations(running.values(), 2):
                shared = one["shareable"] and other["shareable"]
                assert one["worktree"] != other["worktree"] or shared, (one, other)
        elif event["type"] == "attempt_finished":
            del running[name]
        elif event["type"] == "cell_finished":
            ended.add(name)
    assert not running
