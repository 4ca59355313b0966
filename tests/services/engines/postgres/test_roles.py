"""What the role of each database can do: `roles` and `superuser`."""

from __future__ import annotations

import psycopg
import pytest

from services.cases import query, run
from testgrove.core.settings.types import Service
from testgrove.services.engines.postgres.roles import settings_of

pytestmark = pytest.mark.postgres


def test_roles_that_migrations_name_and_each_databases_own_is_a_member(kit, shop):
    settings = settings_of(Service(roles=("shop_owner", "Reader")))
    with kit.server(shop, settings=settings) as server:
        one, other = (server.create_database(f"testdb_{name}", owner="x") for name in "ab")
        run(one, "CREATE TABLE public.owned (n int); ALTER TABLE public.owned OWNER TO shop_owner")
        run(one, 'INSERT INTO public.owned VALUES (1); SET ROLE "Reader"')
        assert query(one, "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user") is False
        assert query(other, "SELECT to_regclass('public.owned') IS NULL")
        server.drop_database("testdb_a")
        assert query(other, "SELECT count(*) FROM pg_roles WHERE rolname IN ('shop_owner', 'Reader', 'testdb_a')") == 2


def test_a_superuser_where_the_settings_say_so(kit, shop):
    with kit.server(shop, settings=settings_of(Service(superuser=True))) as server:
        access = server.create_database("testdb_a", owner="x")
        assert query(access, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
        run(access, "CREATE ROLE made_by_a_test; SET session_replication_role = replica")
        server.drop_database("testdb_a")
    with kit.server(shop) as server, pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(server.create_database("testdb_a", owner="x"), "SET session_replication_role = replica")


def test_they_are_part_of_what_makes_a_template():
    plain = Service(settings={"fsync": "on"})
    assert settings_of(plain) == {"fsync": "on"}
    assert settings_of(Service(roles=("a",))) != settings_of(Service(superuser=True)) != settings_of(plain)


E2E = """
[services.postgres]
roles = ["shop_owner"]
migrate = "{psql} -q -v ON_ERROR_STOP=1 -f shop.sql"
inputs = ["shop.sql"]
[suites.unit]
command = "{psql} -v ON_ERROR_STOP=1 -c 'INSERT INTO things VALUES (1)' -c 'ALTER TABLE things ADD m int'"
services = ["postgres"]
"""


@pytest.mark.slow
def test_a_migration_that_hands_tables_to_a_role(grove, require_postgres):
    files = {"shop.sql": "CREATE TABLE things (n int);\nALTER TABLE things OWNER TO shop_owner;\n"}
    project = grove(files=files, config=E2E.format(psql=require_postgres.bindir / "psql"))
    project.run("test")
    project.run("create", "--purpose", "test-unit", "--identifier", "a", "--branch", "main")
    project.run("exec", "a", "--", "psql", "-c", "INSERT INTO things VALUES (1)")
    project.run("remove", "a")
    project.auditor().assert_no_leftovers(within=5.0)
