"""Scenario files: what is accepted, what is chosen, and what an error says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testgrove.core.scenarios.file import parse
from testgrove.core.scenarios.resolve import Filters, ScenarioPlan, resolve, select
from testgrove.errors import UsageError

SOURCE = Path("/p/scenarios.json")


def one(name: str = "a", **fields: Any) -> dict[str, Any]:
    worktree = {"worktree": "w", "test_file": "tests/test_a.py"}
    return {"name": name, **({} if "command" in fields else worktree), **({"worktree": "w"} | fields)}


def plan(*scenarios: dict[str, Any], source: Path = SOURCE, **given: Any) -> ScenarioPlan:
    located = parse(json.dumps({"scenarios": scenarios}), source)
    return resolve(located, source, **({"capacities": {}, "services": ()} | given))


def names(found: ScenarioPlan) -> list[str]:
    return [each.name for each in found.scenarios]


def error(*scenarios: dict[str, Any], **given: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        plan(*scenarios, **given)
    return caught.value


DOCUMENTED = """
{
  "scenarios": [
    {
      "name": "unique_scenario_name",
      "description": "What this test verifies, see http://example.com",
      "worktree": "worktree-name",
      "test_file": "tests/test_file.py::test_function",
      "dependencies": ["other_scenario"],  // Optional
      "timeout": 120,                      // Seconds
      "tags": ["parallel", "critical"]     // For filtering
    },
    {"name": "other_scenario", "worktree": "worktree-name", "test_file": "tests/o.py", "retry_count": 2}
  ]
}
"""


def test_the_documented_file_is_understood():
    other, first = resolve(parse(DOCUMENTED, SOURCE), SOURCE, capacities={}, services=()).scenarios
    assert (first.name, first.needs, first.timeout) == ("unique_scenario_name", (other,), 120)
    assert first.command == "pytest tests/test_file.py::test_function"
    assert (first.line, other.line, other.retries, other.timeout) == (4, 13, 2, 300)


def test_toml_has_the_same_fields():
    text = """
description = "ours"
[[scenarios]]
name = "a"
worktree = "w"
command = "make check"
always = true
exclusive = true
shareable = true
resources = { gpu = 2 }
ref = "main"
python = "3.12"
services = ["postgres"]
env = { KEY = "value" }

[[scenarios]]
name = "b"
worktree = "w"
test_file = "tests/a file.py"
dependencies = ["a"]
resources = ["gpu"]
"""
    source = Path("/p/scenarios.toml")
    a, b = resolve(parse(text, source), source, capacities={"gpu": 2}, services=["postgres"]).scenarios
    assert (a.command, a.always, a.exclusive, a.shareable, a.resources) == ("make check", True, True, True, {"gpu": 2})
    assert (a.ref, a.python, a.services, a.env, a.line) == ("main", "3.12", ("postgres",), {"KEY": "value"}, 3)
    assert (b.command, b.needs, b.resources, b.line) == ("pytest 'tests/a file.py'", (a,), {"gpu": 1}, 16)


@pytest.mark.parametrize(
    ("fields", "code", "parts"),
    [
        ({"tiemout": 3}, "scenario-unknown-field", ["'tiemout': unknown field"]),
        ({"timeout": "3"}, "scenario-wrong-type", ["'timeout'", "float"]),
        ({"tags": "fast"}, "scenario-wrong-type", ["'tags'"]),
        ({"timeout": 0}, "scenario-invalid", ["'timeout'", "found 0"]),
        ({"retries": 21}, "scenario-invalid", ["'retries'", "found 21"]),
        ({"retries": 1, "retry_count": 1}, "scenario-invalid", ["'retry_count'"]),
        ({"worktree": "../escaped"}, "scenario-invalid", ["'worktree'", "../escaped"]),
        ({"worktree": "a/b"}, "scenario-invalid", ["'worktree'"]),
        ({"test_file": ""}, "scenario-invalid", ["'test_file'", "command"]),
        ({"test_file": "t.py", "command": "make"}, "scenario-invalid", ["found both"]),
        ({"test_file": "--collect-only"}, "scenario-invalid", ["--collect-only"]),
        ({"env": {"A B": ""}}, "scenario-invalid", ["'A B'"]),
        ({"resources": {"gpu": 0}}, "scenario-invalid", ["'gpu'"]),
        ({"command": "echo \0"}, "scenario-invalid", ["'command'", "found 'echo \\x00'"]),
        ({"env": {"A": "\0"}}, "scenario-invalid", ["'env'"]),
        ({"description": "\ud800"}, "scenario-invalid", ["'description'", "found '\\ud800'"]),
        ({"tags": ["\udfff"]}, "scenario-invalid", ["'tags'"]),
        ({"resources": ["gpu"]}, "scenario-unknown-resource", ["'gpu'"]),
        ({"services": ["mysql"]}, "scenario-unknown-service", ["'mysql'", "available: none"]),
        ({"dependencies": ["b"]}, "scenario-missing-dependency", ["dependency 'b' not found"]),
    ],
)
def test_an_error_names_file_line_and_scenario(fields, code, parts):
    found = error(one(**fields))
    assert found.code == code
    assert all(part in found.message for part in [f"{SOURCE}:1: scenario 'a'", *parts]), found.message


def test_a_near_miss_is_named():
    assert "timeout" in error(one(tiemout=3)).hint
    assert "did you mean setup?" in error(one(dependencies=["setpu"]), one("setup")).hint


def test_a_name_that_is_there_twice_is_an_error():
    assert "'a': duplicate name" in error(one(), one()).message


def test_more_than_there_is_of_a_resource_is_an_error():
    assert (
        "requires 3 of 'gpu', but its capacity is 2" in error(one(resources={"gpu": 3}), capacities={"gpu": 2}).message
    )


def test_a_worktree_cannot_be_two_refs():
    assert "'b' for worktree w conflicts with 'x' in scenario 'a'" in error(one(ref="x"), one("b", ref="b")).message


def test_a_circle_is_printed():
    circle = error(
        one(dependencies=["b"]),
        one("b", dependencies=["c"]),
        one("c", dependencies=["d"]),
        one("d", dependencies=["b"]),
    )
    assert circle.code == "scenario-cycle"
    assert "b -> c -> d -> b" in circle.message


def test_one_that_depends_on_itself_is_a_circle():
    assert "a -> a" in error(one(dependencies=["a"])).message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "1: not valid JSON"),
        ('{"scenarios": [\n{"name": }]}', ":2: not valid JSON"),
        ("[]", "the list 'scenarios'"),
        ('{"scenarios": {}}', "the list 'scenarios'"),
        ('{"scenarios": [], "more": 1}', "'more': unknown field"),
        ('{"scenarios": [3]}', ":1: scenario 'number 1': expected"),
        ('{"scenarios": [\n\n{"worktree": "w"}]}', ":3: scenario 'number 1': 'name' is missing"),
        ('{"scenarios": [{"name": "a", "name": "b"}]}', "duplicate key 'name'"),
        ('{"scenarios": [], "scenarios": []}', "duplicate key 'scenarios'"),
        ('{"scenarios": [{"name": "a", "env": {"A": "1", "A": "2"}}]}', "scenario 'a': duplicate key 'A'"),
        ("[" * 100_000, "nested too deeply"),
        (f'{{"scenarios": [{{"timeout": {"1" * 5000}}}]}}', "not valid JSON"),
    ],
)
def test_what_is_no_scenario_file_is_an_error(text, part):
    with pytest.raises(UsageError) as caught:
        parse(text, SOURCE)
    assert part in caught.value.message


@pytest.mark.parametrize("text", ["a = " + "[" * 3000, f"a = {'1' * 5000}"])
def test_what_no_parser_can_take_is_an_error(text):
    with pytest.raises(UsageError, match="not valid TOML"):
        parse(text, Path("/p/scenarios.toml"))


def test_filters_take_dependencies_along_unless_they_are_left_out():
    whole = plan(one(tags=["x"], dependencies=["b"]), one("b", dependencies=["c"]), one("c"), one("d", tags=["y"]))
    assert names(select(whole, Filters())) == ["c", "b", "a", "d"]
    assert names(select(whole, Filters(tags=["x"]))) == ["c", "b", "a"]
    assert names(select(whole, Filters(tags=["x", "y"]))) == ["c", "b", "a", "d"]
    alone = select(whole, Filters(tags=["x"], dependencies=False))
    assert names(alone) == ["a"]
    assert alone.scenarios[0].needs == ()
    assert alone.left_out == {"a": ("b",)}


def test_filters_of_different_kinds_must_all_match():
    whole = plan(one("first", tags=["x"]), one("second", tags=["x"], worktree="v"), one("third", worktree="v"))
    assert names(select(whole, Filters(tags=["x"], worktrees=["v"]))) == ["second"]
    assert names(select(whole, Filters(patterns=["IR"]))) == ["first", "third"]
    assert names(select(whole, Filters(patterns=["s*", "third"]))) == ["second", "third"]


def test_an_empty_selection_is_an_error_that_says_what_there_is():
    with pytest.raises(UsageError) as caught:
        select(plan(one(tags=["x"])), Filters(tags=["slow"]))
    assert caught.value.code == "empty-selection"
    assert "no scenario matches tag slow" in caught.value.message
    assert caught.value.hint == "tags: x; worktrees: w"
    with pytest.raises(UsageError, match="has no scenarios"):
        select(plan(), Filters())


def test_a_long_chain_is_no_problem():
    chain = [one(str(n), dependencies=[str(n + 1)] if n < 4999 else []) for n in range(5000)]
    assert names(select(plan(*chain), Filters()))[:2] == ["4999", "4998"]


@given(st.lists(st.tuples(st.text("abcdef", min_size=1, max_size=2), st.lists(st.integers(0, 9), max_size=4))))
def test_any_graph_is_ordered_or_refused(drawn):
    unique = list(dict(drawn).items())
    scenarios = [
        one(name, dependencies=[unique[need][0] for need in needs if need < len(unique)]) for name, needs in unique
    ]
    try:
        found = plan(*scenarios)
    except UsageError as problem:
        assert problem.code == "scenario-cycle"  # noqa: PT017 - any other error is a failure
        return
    seen: set[str] = set()
    for each in found.scenarios:
        assert {need.name for need in each.needs} <= seen
        seen.add(each.name)
    assert len(seen) == len(unique)
