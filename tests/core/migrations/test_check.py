import pytest

from testgrove.core.migrations.check import Checked, Drift, Problem, last_line, way_back_failed
from testgrove.core.migrations.schema import difference, shown


def test_a_difference_is_by_name_with_what_is_missing_first():
    wanted = {"table a": "", "column a.x": "int", "column a.y": "text"}
    found = {"table a": "", "column a.x": "bigint", "table b": "UNLOGGED"}
    assert difference(wanted, found) == ["- column a.x: int", "+ column a.x: bigint", "- column a.y: text",
                                         "+ table b: UNLOGGED"]  # fmt: skip
    assert difference(wanted, wanted) == []


def test_further_lines_of_a_definition_are_indented():
    assert shown(["+ view v: SELECT 1\n FROM t", "- x"], "  ") == "  + view v: SELECT 1\n       FROM t\n  - x"


def test_what_was_told_is_not_told_again_but_what_is_new_is():
    drift = Drift()
    assert drift.new({}, {"a": ""}) == ("+ a",)
    assert drift.new({}, {"a": "", "b": ""}) == ("+ b",)
    assert drift.new({}, {}) == ()
    assert drift.new({}, {"a": ""}) == ("+ a",)


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("Traceback …\nNotImplementedError: no way", "irreversible"),
        ("django.db.migrations.exceptions.IrreversibleError: Operation x is not reversible", "irreversible"),
        ('psycopg.errors.UndefinedTable: relation "x" does not exist', "back-failed"),
    ],
)
def test_no_way_back_is_told_from_a_mistake(output, code):
    problem = way_back_failed("0001", output, accepted=False)
    assert problem.code == code
    assert output.splitlines()[-1] in problem.message


def test_the_line_that_says_what_was_wrong():
    said = 'x.ProgrammingError: relation "a"\nLINE 1: DROP\n        ^\n\n[SQL: DROP]\n(Background on this error at: x)'
    assert last_line(said) == 'x.ProgrammingError: relation "a"'
    assert last_line("") == "no output"


def test_what_its_user_knows_is_no_failure():
    known = Problem("irreversible", "a", "m", accepted=True)
    assert Checked("postgres", "Alembic", problems=[known]).passed
    assert not Checked("postgres", "Alembic", problems=[known, Problem("leaves-behind", "a", "m")]).passed
