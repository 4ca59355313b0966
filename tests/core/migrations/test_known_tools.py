import json

import pytest

from testgrove.core.migrations.alembic import Alembic
from testgrove.core.migrations.django import Django
from testgrove.core.migrations.known_tools import find_tool
from testgrove.core.migrations.sql_files import SqlFiles
from testgrove.core.migrations.steps import steps
from testgrove.core.migrations.tool import back_through, through
from testgrove.errors import PreconditionError, UsageError

PAIRS = [("sql/0001_a.up.sql", b"one"), ("sql/0001_a.down.sql", b"two"), ("sql/0002_b.up.sql", b"three")]


def found(migrate, files=()):
    return find_tool(migrate, files, table="[tool.testgrove.services.postgres]")


def words(work):
    return [each.text for each in work]


@pytest.mark.parametrize(
    ("migrate", "back"),
    [
        ("alembic upgrade head", "alembic downgrade 0001"),
        ("alembic -c db/alembic.ini -x a=b upgrade heads", "alembic -c db/alembic.ini -x a=b downgrade 0001"),
        ("cd api && uv run alembic upgrade head && python seed.py", "cd api && uv run alembic downgrade 0001"),
        ("python -m alembic upgrade head; echo done", "python -m alembic downgrade 0001"),
        ("uv run flask --app shop db upgrade && flask seed", "uv run flask --app shop db downgrade 0001"),
        ("flask db upgrade heads", "flask db downgrade 0001"),
    ],
)
def test_alembics_command_is_changed_as_little_as_can_be(migrate, back):
    tool = found(migrate)
    assert isinstance(tool, Alembic)
    assert words(tool.back("0001", "0002")) == [back]
    assert words([tool.listing, tool.models]) == [back.replace("downgrade 0001", each) for each in ("history", "check")]


def test_alembics_history_is_read_with_its_branches():
    tool = found("alembic upgrade head")
    listing = tool.read(
        "INFO  [x] from env.py -> somewhere else\n"
        "b, c -> d (label) (head) (mergepoint), say -> something\n"
        "a -> c, and\na (f00) -> b, or\n<base> -> f00, another\n<base> -> a (branchpoint), the first\n"
    )
    assert [each.name for each in listing.migrations] == ["a", "f00", "c", "b", "d"]
    assert listing.conflicts == "d, f00"  # nothing but a dependency stands on f00: that is a head for Alembic
    (last,) = [step for step in steps(listing.migrations) if step.migrations[-1].name == "d"]
    assert words(through(tool, last)) == ["alembic upgrade d"]


def test_alembic_with_several_bases_goes_through_each_of_them():
    tool = found("alembic upgrade heads")
    listing = tool.read("y -> z (head), c\nx -> y, b\n<base> -> x, a\na (z) -> b (head), e\n<base> -> a, d\n")
    assert listing.conflicts == ""
    plan = steps(listing.migrations)
    assert sorted(step.name for step in plan) == ["a", "b", "x", "y", "z"]
    assert [step.name for step in plan].index("z") < [step.name for step in plan].index("b")  # it depends on it
    by_name = {step.name: step for step in plan}
    assert words(through(tool, by_name["y"])) == ["alembic upgrade y"]
    assert words(back_through(tool, by_name["y"])) == ["alembic downgrade x"]
    assert words(back_through(tool, by_name["a"])) == ["alembic downgrade b@base"]
    assert words(tool.forward("head", "base")) == ["alembic upgrade heads"]


def test_alembic_goes_back_below_all_bases_that_were_merged():
    tool = found("alembic upgrade heads")
    listing = tool.read("b, c -> m (head), x\n<base> -> c, x\n<base> -> b, x\n<base> -> a (head), x\n")
    merged = next(step for step in steps(listing.migrations) if step.name.startswith("m"))
    assert words(back_through(tool, merged)) == ["alembic downgrade m@base"]


def test_alembic_with_heads_that_one_base_has_is_a_conflict():
    tool = found("alembic upgrade heads")
    assert tool.read("a -> c (head), x\na -> b (head), x\n<base> -> a, x\n<base> -> z, x\n").conflicts == "b, c, z"
    merged = tool.read("b, c -> d (head), x\n<base> -> c, x\n<base> -> b, x\n")
    assert (merged.conflicts, {each.sequence for each in merged.migrations}) == ("", {""})


def test_alembic_from_nothing_and_back_to_it():
    tool = found("alembic upgrade head")
    (step,) = steps(tool.read("<base> -> a1 (head), x\n").migrations)
    assert words(through(tool, step)) == ["alembic upgrade a1"]
    assert words(back_through(tool, step)) == ["alembic downgrade base"]


def test_several_heads_are_named():
    listing = found("alembic upgrade head").read("a -> c (head), x\na -> b (head), y\n<base> -> a (branchpoint), z\n")
    assert listing.conflicts == "b, c"


def test_no_migrations_at_all():
    with pytest.raises(PreconditionError, match="no Alembic migrations"):
        found("alembic upgrade head").read("\n")


@pytest.mark.parametrize(
    ("status", "output", "judged"),
    [
        (0, "No new upgrade operations detected.", ("same", "")),
        (
            255,
            "FAILED: New upgrade operations detected: [('add_table', 1), ('add_column', 2)]",
            ("differ", "('add_table', 1)\n('add_column', 2)"),
        ),
        (
            255,
            "FAILED: Can't proceed with --autogenerate option; env.py does not provide a MetaData object or sequence",
            ("not compared", "env.py has no target_metadata"),
        ),
        (
            2,
            "alembic: error: argument {branches,current}: invalid choice: 'check' (choose from …)",
            ("not compared", "`alembic check` requires Alembic 1.9 or later"),
        ),
        (1, "ModuleNotFoundError: x", ("failed", "ModuleNotFoundError: x")),
    ],
)
def test_what_alembic_says_of_the_models(status, output, judged):
    assert found("alembic upgrade head").judge(status, output) == judged


DJANGO = [
    ["auth", "0001", [], "/x/site-packages/django/contrib/auth/migrations/0001.py"],
    ["shop", "0001_initial", [["auth", "0001"]], "/p/shop/migrations/0001_initial.py"],
    ["shop", "0002_b", [["shop", "0001_initial"]], "/p/shop/migrations/0002_b.py"],
]


def answer(plan, conflicts):
    return f"7 objects imported\n\036{json.dumps(plan)}\036{json.dumps(conflicts)}\036\n"


def test_djangos_commands():
    tool = found("cd web && python manage.py migrate --noinput --settings=a.b && python seed.py")
    assert isinstance(tool, Django)
    assert words([tool.models]) == ["cd web && python manage.py makemigrations --settings=a.b --check --dry-run"]
    assert tool.listing.text.startswith("cd web && python manage.py shell --settings=a.b -c ")
    listing = tool.read(answer(DJANGO, {}))
    first, second, third = steps(listing.migrations)
    start = "cd web && python manage.py migrate"
    assert words(through(tool, first)) == [f"{start} auth 0001 --noinput --settings=a.b"]
    assert words(back_through(tool, second)) == [f"{start} shop zero --noinput --settings=a.b"]
    assert words(back_through(tool, third)) == [f"{start} shop 0001_initial --noinput --settings=a.b"]
    assert words(tool.forward("head", "base")) == [f"{start} --noinput --settings=a.b"]
    with pytest.raises(UsageError, match="invalid Django revision"):
        tool.forward("0001", "base")


def test_djangos_conflicts_and_answers_that_are_none():
    tool = found("python manage.py migrate")
    assert tool.read(answer(DJANGO, {"shop": ["0002_b", "0002_c"]})).conflicts == "shop.0002_b, shop.0002_c"
    with pytest.raises(PreconditionError, match="of this project"):
        tool.read(answer(DJANGO[:1], {}))
    with pytest.raises(PreconditionError, match="what is this"):
        tool.read("what is this")


def test_what_django_says_of_the_models():
    tool = found("django-admin migrate")
    assert tool.judge(0, "No changes detected") == ("same", "")
    assert tool.judge(1, "x\nMigrations for 'shop':\n  + Add y\n") == ("differ", "Migrations for 'shop':\n  + Add y")
    assert tool.judge(1, "ImportError: x") == ("failed", "ImportError: x")


def test_sql_files_in_pairs():
    tool = found("psql -f all.sql", PAIRS)
    assert isinstance(tool, SqlFiles)
    first, second = steps(tool.read("").migrations)
    assert [each.sql for each in through(tool, first)] == ["one"]
    assert [each.sql for each in through(tool, second)] == ["three"]
    assert [each.sql for each in back_through(tool, first)] == ["two"]
    assert [each.sql for each in tool.forward("head", "base")] == ["one", "three"]
    assert [each.sql for each in tool.forward("0002", "0001")] == ["three"]
    with pytest.raises(
        PreconditionError, match=r"0002_b has no down migration \(expected 0002_b\.down\.sql\)"
    ) as caught:
        back_through(tool, second)
    assert caught.value.code == "irreversible"
    with pytest.raises(UsageError, match="migration '7' not found"):
        tool.forward("7", "base")


def test_sql_files_are_in_the_order_of_their_numbers():
    tool = found("x", [("10_b.up.sql", b""), ("9_a.up.sql", b""), ("0011_c.up.sql", b"")])
    assert [each.name for each in tool.read("").migrations] == ["9_a", "10_b", "0011_c"]
    assert found("x", [("01_a.up.sql", b""), ("1_b.up.sql", b"")]).read("").conflicts == "01_a, 1_b"


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("-- migrate:up", "-- migrate:down"),
        ("-- migrate:up transaction:false", "--migrate:down"),
        ("-- +goose Up", "-- +goose Down"),
        ("-- +migrate Up", "-- +migrate Down"),
    ],
)
def test_sql_files_with_two_sections(up, down):
    files = [
        ("db/1_a.sql", f"-- a comment\n{up}\none;\n\n{down}\ntwo;\n".encode()),
        ("db/2_b.sql", f"{up}\nthree;\n{down}\n\n".encode()),
        ("db/seed.sql", b"INSERT INTO ups VALUES ('-- migrate:up');"),
    ]
    tool = found("dbmate up", files)
    assert [each.name for each in tool.read("").migrations] == ["1_a", "2_b"]
    assert [each.sql.strip() for each in tool.forward("head", "base")] == ["one;", "three;"]
    assert [(each.sql.strip(), each.file, each.leads_to) for each in tool.back("base", "1")] == [
        ("two;", "db/1_a.sql", "base")
    ]
    with pytest.raises(PreconditionError, match="2_b has no down migration"):
        tool.back("1", "head")


def test_sql_files_that_are_no_line():
    twice = [*PAIRS, ("sql/0002_c.up.sql", b"")]
    assert found("x", twice).read("").conflicts == "0002_b, 0002_c"
    with pytest.raises(UsageError, match=r"has no up migration \(expected 0003_x\.up\.sql\)"):
        found("x", [*PAIRS, ("sql/0003_x.down.sql", b"")])
    with pytest.raises(UsageError, match="several folders: other, sql"):
        found("x", [*PAIRS, ("other/0001_a.up.sql", b"")])


@pytest.mark.parametrize("migrate", ["make migrate", "alembic upgrade 0004", "echo alembic", "flask db upgrade 0004"])
def test_a_command_that_is_not_understood(migrate):
    with pytest.raises(UsageError) as caught:
        found(migrate)
    assert caught.value.code == "no-migration-tool"
    assert migrate in caught.value.message
