"""Each migration goes up, down and up again; the data is still there."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from shop.models import Base

SCRIPTS = ScriptDirectory(str(Path(__file__).parents[2] / "migrations"))
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]

Migrate = Callable[[str], None]

SCHEMA = text("""
    SELECT 'column', attrelid::regclass::text || '.' || attname,
           format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || attidentity::text
           || ' ' || coalesce(pg_get_expr(adbin, adrelid), '')
      FROM pg_attribute
      JOIN pg_class ON pg_class.oid = attrelid AND relkind = 'r'
                   AND relnamespace = current_schema()::regnamespace
      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
      FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
    UNION ALL
    SELECT 'index', indexname::text, indexdef FROM pg_indexes WHERE schemaname = current_schema()
    UNION ALL
    SELECT 'sequence', sequencename::text, data_type::text
      FROM pg_sequences WHERE schemaname = current_schema()
    UNION ALL
    SELECT 'type', enumtypid::regtype::text, string_agg(enumlabel, ' ' ORDER BY enumsortorder)
      FROM pg_enum GROUP BY enumtypid
""")


def schema(connection: Connection) -> set[tuple[str, str, str]]:
    """Everything that migrations can make, as (kind, name, definition), but Alembic's own table."""
    found = {(kind, name, definition) for kind, name, definition in connection.execute(SCHEMA)}
    connection.rollback()
    return {line for line in found if not line[1].startswith("alembic_version")}


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_downgrade_takes_away_exactly_what_its_upgrade_brought(
    revision: str, scratch: Connection, migrate: Migrate
) -> None:
    if before := SCRIPTS.get_revision(revision).down_revision:
        migrate(str(before))
    lower = schema(scratch)
    migrate(revision)
    upper = schema(scratch)
    assert upper != lower
    migrate("-1")
    assert schema(scratch) == lower
    migrate(revision)
    assert schema(scratch) == upper


def test_all_the_way_up_down_and_up(scratch: Connection, migrate: Migrate) -> None:
    migrate("head")
    upper = schema(scratch)
    migrate("base")
    assert schema(scratch) == set()
    migrate("head")
    assert schema(scratch) == upper


def test_there_is_one_newest_migration() -> None:
    assert SCRIPTS.get_heads() == [REVISIONS[-1]]


def test_the_models_are_what_the_migrations_make(scratch: Connection, migrate: Migrate) -> None:
    migrate("head")
    assert compare_metadata(MigrationContext.configure(scratch), Base.metadata) == []


def test_this_worktrees_database_is_at_the_newest_migration(database: Engine) -> None:
    with database.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == REVISIONS[-1]


def test_this_worktrees_database_holds_nothing_but_the_mark(database: Engine) -> None:
    with database.connect() as connection:
        rows = {
            table.name: connection.scalar(text(f"SELECT count(*) FROM {table.name}"))
            for table in Base.metadata.sorted_tables
        }
    assert {name: count for name, count in rows.items() if count} == {"customers": 1}


def test_products_that_were_there_get_a_stock_of_nothing(scratch: Connection, migrate: Migrate) -> None:
    migrate("0002")
    insert(
        scratch,
        "INSERT INTO products (id, sku, name, price) VALUES (1, 'TEA-1', 'Tea', 2.5), (2, 'CUP-1', 'Cup', 1)",
    )
    migrate("0003")
    assert rows(scratch, "SELECT product_id, quantity FROM stock ORDER BY 1") == [(1, 0), (2, 0)]


def test_prices_survive_the_way_to_cents_and_back(scratch: Connection, migrate: Migrate) -> None:
    prices = [Decimal(price) for price in ("0.00", "0.01", "0.29", "1.10", "19.99", "1234567.89")]
    migrate("0004")
    insert(scratch, "INSERT INTO customers (id, email, name) VALUES (1, 'ada@example.com', 'Ada')")
    insert(scratch, "INSERT INTO orders (id, customer_id) VALUES (1, 1)")
    for number, price in enumerate(prices):
        insert(
            scratch,
            f"INSERT INTO products (id, sku, name, price) VALUES ({number}, 'S{number}', 'x', {price})",
        )
        insert(
            scratch,
            "INSERT INTO order_items (order_id, product_id, quantity, unit_price)"
            f" VALUES (1, {number}, 1, {price})",
        )
    migrate("0005")
    cents = [(int(price * 100),) for price in prices]
    assert rows(scratch, "SELECT price_cents FROM products ORDER BY id") == cents
    assert rows(scratch, "SELECT unit_price_cents FROM order_items ORDER BY product_id") == cents
    migrate("-1")
    assert rows(scratch, "SELECT price FROM products ORDER BY id") == [(price,) for price in prices]
    assert rows(scratch, "SELECT unit_price FROM order_items ORDER BY product_id") == [
        (price,) for price in prices
    ]


def test_the_states_of_orders_survive_the_way_to_a_type_and_back(
    scratch: Connection, migrate: Migrate
) -> None:
    migrate("0006")
    insert(scratch, "INSERT INTO customers (id, email, name) VALUES (1, 'ada@example.com', 'Ada')")
    insert(
        scratch,
        "INSERT INTO orders (id, customer_id, status)"
        " VALUES (1, 1, 'placed'), (2, 1, 'confirmed'), (3, 1, 'cancelled')",
    )
    states = [("placed",), ("confirmed",), ("cancelled",)]
    migrate("0007")
    assert rows(scratch, "SELECT status::text FROM orders ORDER BY id") == states
    migrate("-1")
    assert rows(scratch, "SELECT status FROM orders ORDER BY id") == states


def test_addresses_that_differ_in_case_alone_stop_the_migration(
    scratch: Connection, migrate: Migrate
) -> None:
    migrate("0007")
    insert(
        scratch,
        "INSERT INTO customers (email, name) VALUES ('ada@example.com', 'Ada'), ('ADA@example.com', 'Ada')",
    )
    with pytest.raises(IntegrityError, match="uq_customers_email_any_case"):
        migrate("0008")
    scratch.rollback()
    assert rows(scratch, "SELECT count(*) FROM customers") == [(2,)]


def insert(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))
    connection.commit()


def rows(connection: Connection, query: str) -> list[tuple[object, ...]]:
    found = [tuple(row) for row in connection.execute(text(query))]
    connection.rollback()
    return found
