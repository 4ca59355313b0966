"""What `coordinate --dry-run` prints about a plan that is longer than a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from testgrove.core.scenarios import file
from testgrove.core.scenarios.resolve import resolve
from testgrove.core.scheduling.forecast import Forecast
from testgrove.core.text import some
from testgrove.reports.preview import as_lines, document

SIZE = 300
ALL = [f"s{each}" for each in range(SIZE)]


def _long_chain() -> dict[str, Any]:
    """Each scenario in a worktree of its own, after the one before; all take the same resource."""
    tables = "\n".join(
        f'[[scenarios]]\nname = "s{each}"\nworktree = "w{each}"\ncommand = "true"\nresources = ["gpu"]\n'
        f"dependencies = {[f's{each - 1}'] if each else []}"
        for each in range(SIZE)
    )
    source = Path("scenarios.toml")
    plan = resolve(file.parse(tables, source), source, capacities={"gpu": 1}, services=())
    ahead = Forecast(tuple(ALL), 0.0, {}, tuple(ALL), 0)
    missing = {"path": "/p", "state": "missing", "ready": False, "detail": "not found", "would": "create it"}
    worktrees = {f"w{each}": missing for each in range(SIZE)}
    return document(plan, ahead, jobs=2, base="/base", worktrees=worktrees)


def test_lists_that_grow_with_the_plan_are_shortened_and_whole_in_the_document() -> None:
    found = _long_chain()
    assert found["critical_path"] == found["resources"]["gpu"] == ALL
    text = "\n".join(as_lines(found))
    assert "critical path: s0 -> s1 -> s2 -> s3 -> s4 -> s5 -> s6 -> s7 -> s8 -> s9 and 290 more (all: --json)" in text
    for start in ("worktrees in /base: w0, w1", "to set up: w0 (not found: create it); w1", "resources: gpu (s0, s1"):
        line = next(line for line in text.splitlines() if line.startswith(start))
        assert "and 290 more (all: --json)" in line
    assert max(map(len, text.splitlines())) < 500


def test_a_short_list_is_printed_whole() -> None:
    assert some([]) == ""
    assert some("abc", 3) == "a, b, c"
    assert some("abcd", 3) == "a, b, c and 1 more"
    assert some("abcd", 2, between=" -> ", whole="--json") == "a -> b and 2 more (all: --json)"
