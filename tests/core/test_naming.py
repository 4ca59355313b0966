import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testgrove.core.model import WorktreeId
from testgrove.core.naming import compose_project_name, database_name, port_variable, run_folder

PART = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}", fullmatch=True)
IDS = st.builds(WorktreeId, PART, PART)


@pytest.mark.parametrize(
    ("purpose", "identifier", "name"),
    [
        ("test-integration", "api-endpoints", "testdb_integration_api_endpoints"),
        ("test-unit", "x", "testdb_unit_x"),
        ("test-migration", "0042", "testdb_migration_0042"),
        ("review", "pr-7", "testdb_review_pr_7"),
        ("feature", "login", "testdb_feature_login"),
    ],
)
def test_a_plain_id_gives_the_documented_database_name(purpose, identifier, name):
    assert database_name(WorktreeId(purpose, identifier)) == name


def test_names_that_would_meet_are_kept_apart():
    ids = [
        WorktreeId(purpose, identifier)
        for purpose in ("test-unit", "unit", "Test-unit", "review", "test-review")
        for identifier in ("a-b", "a_b", "A-b", "a.b", "a" * 50, "a" * 49 + "A")
    ]
    for name in (database_name, compose_project_name, run_folder):
        for one, other in combinations(ids, 2):
            assert name(one) != name(other), (one, other)


def test_the_folder_that_a_run_makes_has_no_word_of_its_id():
    assert re.fullmatch(r"tree-[0-9a-f]{8}", run_folder(WorktreeId("test-tests", "tests-build")))


def test_a_changed_name_carries_a_hash_and_still_reads_well():
    name = database_name(WorktreeId("test-unit", "API_v2"))
    assert name.startswith("testdb_unit_api_v2_")
    assert len(name) == len("testdb_unit_api_v2_") + 8


def test_long_ids_stay_within_the_engines_limit():
    identifiers = ["a" * 50, "a" * 49 + "b"]
    names = {database_name(WorktreeId("test-integration", i)) for i in identifiers}
    assert len(names) == 2
    assert {len(name) for name in names} == {63}
    assert len(database_name(WorktreeId("test-unit", "x" * 30), limit=30)) == 30


@given(IDS)
def test_any_id_gives_a_name_that_needs_no_quotes(worktree):
    name = database_name(worktree)
    assert len(name.encode()) <= 63
    assert name.startswith("testdb_")
    assert all(c in "abcdefghijklmnopqrstuvwxyz0123456789_" for c in name)


@given(IDS, IDS)
def test_two_ids_that_read_differently_never_share_a_name(one, other):
    if str(one) != str(other):
        assert database_name(one) != database_name(other)
        assert compose_project_name(one) != compose_project_name(other)


def test_a_ports_variable():
    assert port_variable("api") == "API_PORT"
    assert port_variable("web_2") == "WEB_2_PORT"


def test_a_compose_project_is_the_id_where_compose_accepts_it():
    assert compose_project_name(WorktreeId("test-unit", "a-b_c")) == "test-unit-a-b_c"
    assert compose_project_name(WorktreeId("test-unit", "A.b")).startswith("test-unit-a-b-")
