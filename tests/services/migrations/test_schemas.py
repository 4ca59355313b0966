"""What a schema's snapshot sees: every kind of thing that a migration can make, and nothing of what it must not."""

import sqlite3
from contextlib import closing

import pytest

from services.cases import run
from testgrove.core.migrations.schema import difference
from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.errors import UnavailableError
from testgrove.services.migrations.schemas import read_schema

BEFORE = """
CREATE SCHEMA shop;
CREATE TABLE shop.items (id serial PRIMARY KEY, name text, kind int, at date NOT NULL DEFAULT now(), parent int);
CREATE TABLE other (id int PRIMARY KEY);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE SEQUENCE numbers;
"""
# (what is done, the names of what has changed)
CHANGES = [
    ("CREATE TABLE plain (n int)", {"table public.plain", "column public.plain.n"}),
    ("ALTER TABLE shop.items ALTER name SET NOT NULL", {"column shop.items.name"}),
    ("ALTER TABLE shop.items ALTER name TYPE varchar(9)", {"column shop.items.name"}),
    ("ALTER TABLE shop.items ALTER kind SET DEFAULT 3", {"column shop.items.kind"}),
    ("ALTER TABLE shop.items ALTER at DROP DEFAULT", {"column shop.items.at"}),
    ("ALTER TABLE shop.items ADD CHECK (kind > 0)", {"constraint shop.items.items_kind_check"}),
    ("ALTER TABLE shop.items ADD FOREIGN KEY (parent) REFERENCES other", {"constraint shop.items.items_parent_fkey"}),
    ("CREATE UNIQUE INDEX few ON shop.items (name) WHERE kind = 1", {"index shop.few"}),
    ("CREATE VIEW v AS SELECT 1 AS one", {"view public.v"}),
    ("CREATE MATERIALIZED VIEW mv AS SELECT 1 AS one", {"materialized view public.mv"}),
    ("CREATE TYPE mood AS ENUM ('good', 'bad')", {"type public.mood"}),
    ("CREATE DOMAIN price AS int CHECK (value > 0)", {"domain public.price", "constraint public.price.price_check"}),
    ("CREATE TYPE pair AS (a int, b int)", {"attribute public.pair.a", "attribute public.pair.b"}),
    ("CREATE TRIGGER t BEFORE INSERT ON other FOR EACH ROW EXECUTE FUNCTION f()", {"trigger public.other.t"}),
    ("CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'", {"function public.f()"}),
    ("ALTER SEQUENCE numbers INCREMENT 5", {"sequence public.numbers"}),
    ("ALTER TABLE other ENABLE ROW LEVEL SECURITY", {"table public.other"}),
    ("CREATE POLICY p ON other USING (id > 1)", {"policy public.other.p"}),
    ("COMMENT ON COLUMN shop.items.kind IS 'x'", {"comment column shop.items.kind"}),
    ("COMMENT ON TABLE other IS 'x'", {"comment public.other"}),
    ("GRANT SELECT ON other TO PUBLIC", {"privileges public.other PUBLIC"}),
    ("CREATE RULE r AS ON DELETE TO other DO INSTEAD NOTHING", {"rule public.other.r"}),
    ("CREATE STATISTICS st ON name, kind FROM shop.items", {"statistics st"}),
    ("CREATE EXTENSION btree_gist", {"extension btree_gist"}),
    ("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''9MB''', current_database()); END $$",
     {"setting work_mem"}),
    ("CREATE TABLE parts (n int) PARTITION BY RANGE (n)", {"table public.parts", "column public.parts.n"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(shop, require_postgres, tmp_path_factory):
    import shutil
    import tempfile
    from pathlib import Path

    from services.cases import Kit
    from services.conftest import free_port
    from services.launcher import LocalLauncher

    folder, launcher = Path(tempfile.mkdtemp(prefix="tg-", dir="/tmp")), LocalLauncher()
    folder.chmod(0o711)
    with Kit(require_postgres, folder, launcher, free_port()).server(shop) as server:
        yield server
    launcher.end()
    shutil.rmtree(folder)


@pytest.mark.postgres
def test_every_change_is_seen_and_nothing_else(server):
    """All in one database, one after the other: each must bring what it should and leave the rest alone."""
    access = server.create_database("testdb_schema", owner="a test")
    run(access, "DROP SCHEMA shop CASCADE; DROP TABLE plain; ALTER DATABASE testdb_schema RESET ALL")
    run(access, BEFORE)
    known = read_schema(access)
    for statement, names in CHANGES:
        run(access, statement)
        found = read_schema(access)
        changed = {line[2:].partition(": ")[0] for line in difference(known, found)}
        assert changed == names, statement
        known = found


@pytest.mark.postgres
def test_rows_sequences_and_what_tools_keep_for_themselves_are_no_schema(server):
    access = server.create_database("testdb_rows", owner="a test")
    known = read_schema(access)
    run(access, "INSERT INTO shop.items (name, price) VALUES ('x', 1); SELECT nextval('shop.items_id_seq')")
    run(access, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    run(access, "CREATE TABLE shop.versions (version_num varchar(32) NOT NULL)")
    run(access, "ALTER TABLE shop.versions ADD CONSTRAINT versions_pkc PRIMARY KEY (version_num)")
    run(access, "CREATE TABLE django_migrations (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text)")
    assert difference(known, read_schema(access)) == []


@pytest.mark.postgres
def test_two_databases_with_the_same_schema_are_equal(server):
    one, two = (server.create_database(f"testdb_{name}", owner="a test") for name in ("one", "two"))
    assert read_schema(one) == read_schema(two)


def sqlite(path, script):
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)
    return read_schema(DatabaseAccess("sqlite", str(path), "", 0, "", Secret("")))


SQLITE = """
CREATE TABLE items (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, n INT DEFAULT 3 CHECK (n > (0)),
                    UNIQUE (name, n));
CREATE TABLE parts (item INTEGER REFERENCES items (id) ON DELETE CASCADE);
CREATE INDEX few ON items (name) WHERE n = 1;
"""
COPY = """
CREATE TABLE new (item INTEGER, FOREIGN KEY (item) REFERENCES items (id));
DROP TABLE parts; ALTER TABLE new RENAME TO parts;
"""  # as a tool changes a table


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("CREATE TABLE t (x INT)", {"table t", "column t.x"}),
        ("ALTER TABLE parts ADD COLUMN x INT DEFAULT 1", {"column parts.x"}),
        ("CREATE VIEW v AS SELECT 1", {"view v"}),
        ("CREATE TRIGGER tr AFTER DELETE ON items BEGIN SELECT 1; END", {"trigger tr"}),
        ("CREATE UNIQUE INDEX i ON items (n)", {"index i"}),
        ("DROP TABLE parts", {"table parts", "column parts.item", "foreign key parts (item)"}),
        ("INSERT INTO items (name) VALUES ('x')", set()),
        ("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)", set()),
        ("CREATE TABLE versions (version_num VARCHAR(32) NOT NULL)", set()),
        (COPY.replace("(id)", "(id) ON DELETE CASCADE"), set()),
        (COPY, {"foreign key parts (item)"}),
    ],
)  # fmt: skip
def test_what_is_seen_of_sqlite(tmp_path, statement, names):
    path = tmp_path / "db.sqlite3"
    known = sqlite(path, SQLITE)
    assert known["table items"] == "AUTOINCREMENT, CHECK (n > (0))"
    changed = {line[2:].partition(": ")[0] for line in difference(known, sqlite(path, statement))}
    assert changed == names


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "db.sqlite3"
    path.write_text("no database at all, whatever its name is")
    with pytest.raises(UnavailableError, match="cannot read the schema"):
        read_schema(DatabaseAccess("sqlite", str(path), "", 0, "", Secret("")))
