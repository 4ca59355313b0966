import pytest

from testgrove.core.migrations.fingerprint import template_fingerprint

BASE = {
    "engine": "postgres (PostgreSQL) 15.18",
    "encoding": "UTF8",
    "locale": "C.UTF-8",
    "extensions": ("citext",),
    "settings": {"wal_level": "logical"},
    "migrate": "alembic upgrade head",
    "tool": "alembic-1.13",
    "env": {"TENANT": "a"},
    "inputs": [("m/1.sql", b"create"), ("m/2.sql", b"alter")],
}


def test_the_same_values_give_the_same_fingerprint():
    again = dict(BASE, inputs=iter(BASE["inputs"]), extensions=["citext", "citext"])
    assert template_fingerprint(**BASE) == template_fingerprint(**again)
    assert len(template_fingerprint(**BASE)) == 32


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "postgres (PostgreSQL) 15.19"},
        {"encoding": "LATIN1"},
        {"locale": "C"},
        {"extensions": ()},
        {"extensions": ("citext", "hstore")},
        {"settings": {}},
        {"settings": {"wal_level": "minimal"}},
        {"migrate": "alembic upgrade head~1"},
        {"tool": "alembic-1.14"},
        {"env": {}},
        {"env": {"TENANT": "b"}},
        {"env": {"TENANTS": "a"}},
        {"inputs": BASE["inputs"][::-1]},
        {"inputs": BASE["inputs"][:1]},
        {"inputs": [("m/1.sql", b"create"), ("m/2.sql", b"alter ")]},
        {"inputs": [("m/1.sql", b"create"), ("m/3.sql", b"alter")]},
        {"inputs": [("m/1.sqlc", b"reate"), ("m/2.sql", b"alter")]},
        {"inputs": [*BASE["inputs"], ("m/empty.sql", b"")]},
    ],
    ids=str,
)
def test_whatever_can_change_the_result_changes_the_fingerprint(change):
    assert template_fingerprint(**BASE) != template_fingerprint(**(BASE | change))


def test_a_value_cannot_pass_for_another_one():
    moved = BASE | {"extensions": ("citext", "settings"), "settings": {}}
    assert template_fingerprint(**moved) != template_fingerprint(**(BASE | {"extensions": ("citext",), "settings": {}}))
