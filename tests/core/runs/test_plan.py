"""Cells: what runs, under which names."""

from __future__ import annotations

import pytest

from testgrove.core.model import WorktreeId, WorktreeSpec, WorktreeStatus
from testgrove.core.runs.default_suites import find_suites
from testgrove.core.runs.events import CellInfo
from testgrove.core.runs.plan import Action, cells, select
from testgrove.core.settings.types import Settings, Suite
from testgrove.core.worktrees import lifecycle
from testgrove.errors import UsageError

UNIT = Suite(command="pytest tests/unit")


def test_suites_times_refs_times_pythons():
    found = cells({"unit": UNIT, "api": UNIT}, ["main", "v1.0"], ["3.11", "3.12"])
    assert len({cell.key for cell in found}) == len({cell.id for cell in found}) == 8
    assert found[0].key == "unit@main-py3.11"
    assert str(found[0].id) == "test-unit-main-py3.11"


def test_dependency_sets_are_a_dimension_of_their_own():
    found = cells({"unit": UNIT, "api": UNIT}, ["main"], ["3.11", "3.12"], ["lowest", "mine", "lowest"])
    assert len({cell.key for cell in found}) == len({cell.id for cell in found}) == 8
    assert (found[0].key, str(found[0].id)) == ("unit@main-py3.11+lowest", "test-unit-main-py3.11-lowest")


def test_versions_of_an_engine_multiply_the_cells_of_the_suites_that_use_it():
    suites = {"api": Suite(command="x", services=("postgres", "redis")), "unit": UNIT}
    found = cells(suites, [], [], ["lowest"], {"postgres": ["15", "18"], "redis": [""]})
    assert [cell.key for cell in found] == ["api+lowest+postgres15", "api+lowest+postgres18", "unit+lowest"]
    assert str(found[1].id) == "test-api-tree-lowest-postgres18"
    assert [dict(cell.versions) for cell in found] == [{"postgres": "15"}, {"postgres": "18"}, {}]


@pytest.mark.parametrize(
    ("name", "ref", "asked", "python"),
    [
        ("matrix", "py3.9", [], "3.9"),
        ("matrix", "release-py3.12", [], "3.12"),
        ("matrix", "release-py3.12", ["3.11"], "3.11"),
        ("matrix", "happy3.12", [], ""),
        ("matrix", "", [], ""),
        ("unit", "py3.9", [], ""),
    ],
)
def test_a_matrix_identifier_names_its_python(name, ref, asked, python):
    (cell,) = cells({name: UNIT}, [ref], asked)
    assert cell.python == python


def test_a_suite_of_the_matrix_names_its_python():
    (cell,) = cells({"py3.10": Suite(command="x", purpose="test-matrix")}, [], [])
    assert cell.python == "3.10"


def test_the_working_tree_is_the_default():
    (cell,) = cells({"unit": UNIT}, [], [])
    assert (cell.key, str(cell.id), cell.ref) == ("unit", "test-unit-tree", "")


def test_suites_that_share_a_purpose_have_worktrees_of_their_own():
    found = cells({"a": Suite(command="x", purpose="test-api"), "b": Suite(command="x", purpose="test-api")}, [], [])
    assert [str(cell.id) for cell in found] == ["test-api-a-tree", "test-api-b-tree"]


@pytest.mark.parametrize("ref", ["feature/ä ö", "x" * 300, "-", "a..b", "refs/heads/main", "HEAD~3", "日本"])
def test_any_ref_gives_a_valid_id(ref):
    (cell,) = cells({"unit": UNIT}, [ref], ["3.12"])
    assert WorktreeId(cell.id.purpose, cell.id.identifier) == cell.id


def test_long_refs_that_begin_alike_do_not_share_a_worktree():
    first, second = cells({"unit": UNIT}, ["x" * 80 + "1", "x" * 80 + "2"], [])
    assert first.id != second.id


def test_stand_ins_are_other_worktrees():
    (cell,) = cells({"unit": UNIT}, [], [])
    assert cell.numbered(1) == cell.id
    assert str(cell.numbered(2)) == "test-unit-tree-2"


def test_arguments_are_quoted():
    (cell,) = cells({"unit": UNIT}, [], [], arguments=["-k", "a or b"])
    assert cell.settings.command == "pytest tests/unit -k 'a or b'"


def test_an_unknown_suite_names_those_there_are():
    with pytest.raises(UsageError, match="nope") as caught:
        select({"unit": UNIT}, ["nope"], "[suites.unit]")
    assert "unit" in caught.value.hint


def test_no_suites_is_an_error():
    with pytest.raises(UsageError, match="no test suites"):
        select({}, [], "[suites.unit]")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            ["tests/unit/test_a.py", "tests/integration/test_b.py"],
            {"unit": "pytest tests/unit", "integration": "pytest tests/integration"},
        ),
        (["tests/test_a.py", "tests/unit/test_b.py", "tests/integration/test_c.py"], {"tests": "pytest"}),
        (
            ["tests/unit/test_a.py", "tests/integration/test_b.py", "tests/other/test_c.py"],
            {"tests": "pytest"},
        ),
        (["tests/unit/test_a.py", "tests/integration/test_b.py", "pkg/test_c.py"], {"tests": "pytest"}),
        (["tests/unit/test_a.py"], {"tests": "pytest"}),
        (["test_a.py"], {"tests": "pytest"}),
        (["a_test.py"], {"tests": "pytest"}),
        (["src/a.py", "tests/unit/helper.py"], {}),
    ],
)
def test_suites_are_found_and_no_test_is_left_out(files, expected):
    assert {name: suite.command for name, suite in find_suites(Settings(), files).items()} == expected


def test_configured_suites_win():
    assert list(find_suites(Settings(suites={"x": UNIT}), ["tests/unit/test_a.py"])) == ["x"]


def test_only_a_whole_worktree_survives_its_holder():
    assert Action.UNDO_LEASES in lifecycle.recover(WorktreeStatus.CREATING, (), whole=True)
    assert Action.UNDO_LEASES in lifecycle.recover(WorktreeStatus.RUNNING, lifecycle.park(), whole=False)
    assert Action.UNDO_LEASES not in lifecycle.recover(WorktreeStatus.RUNNING, lifecycle.park(), whole=True)
    assert lifecycle.recover(WorktreeStatus.READY, (), whole=True) == ()


def test_a_recovery_goes_on_with_the_plan_of_what_was_begun():
    """From where it is decided that a worktree goes, a removal and its recovery are the same."""
    remove = lifecycle.remove(teardown=True)
    assert remove[remove.index(Action.UNDO_LEASES) :] == lifecycle.recover(WorktreeStatus.REMOVING, remove, whole=True)
    park = lifecycle.park()
    assert set(park) - set(lifecycle.recover(WorktreeStatus.RUNNING, park, whole=True)) == {Action.COLLECT_OUTPUTS}
    left = lifecycle.after(park, Action.TAKE_MANIFEST)
    assert lifecycle.recover(WorktreeStatus.RUNNING, left, whole=True) == left == park[2:]


def test_a_sync_is_left_to_the_next_sync():
    plan = lifecycle.sync(forward=True, copy=True, environment=True, setup=True)
    assert lifecycle.recover(WorktreeStatus.READY, plan, whole=True) == ()
    without = lifecycle.sync(forward=True, copy=True, environment=True, setup=False)
    assert Action.RUN_SETUP not in without
    assert lifecycle.with_setup(without) == plan == lifecycle.with_setup(plan)
    assert lifecycle.with_setup(lifecycle.after(without, Action.COPY_FILES)) == plan[2:]
    assert lifecycle.after(plan[2:], Action.COPY_FILES) == plan[2:]


def test_what_may_keep_a_worktree_comes_before_what_takes_it_away():
    plain, torn_down = lifecycle.remove(teardown=False), lifecycle.remove(teardown=True)
    assert plain == tuple(action for action in torn_down if action != Action.EXAMINE_AGAIN)
    order = [Action.EXAMINE, Action.RUN_TEARDOWN, Action.EXAMINE_AGAIN, Action.COLLECT_OUTPUTS, Action.KEEP_COMMITS]
    assert list(torn_down) == [*order, Action.UNDO_LEASES, Action.FORGET]


def test_a_recycled_worktree_is_retargeted_not_added():
    spec = WorktreeSpec(WorktreeId("test-unit", "a"), "main", ports=("app",))
    assert Action.ADD_CHECKOUT in lifecycle.create(spec, recycled=False)
    actions = lifecycle.create(spec, recycled=True)
    assert Action.ADD_CHECKOUT not in actions
    assert actions[:2] == (Action.LEASE_PORTS, Action.RETARGET_CHECKOUT)


def test_cell_info_is_plain_data():
    assert CellInfo(key="a", suite="a", ref="", python="", worktree="w", command="c").key == "a"
