"""Templates on a project's own server are few and not old."""

import json
import time

import pytest

from services.cases import nothing
from testgrove.services.engines.postgres import persistent_templates, sql
from testgrove.services.engines.postgres.persistent import PersistentPostgres
from testgrove.services.engines.postgres.sql import connect

pytestmark = pytest.mark.postgres


def names(endpoint):
    with connect(endpoint) as admin:
        found = admin.execute("SELECT datname FROM pg_database WHERE datname ~ '^template_'").fetchall()
    return {name for (name,) in found}


def make(endpoint, letter, days=0.0):
    name = f"template_{letter * 16}"
    with connect(endpoint) as admin:
        admin.execute(f"CREATE ROLE building_{letter * 16}")
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template1 IS_TEMPLATE true ALLOW_CONNECTIONS false")
        used = time.time() - days * 86400
        admin.execute(f"COMMENT ON DATABASE {name} IS '{persistent_templates._MARK}{used:.0f}'")
    return name


def test_those_that_are_old_or_too_many_are_dropped_with_their_roles(kit, monkeypatch):
    monkeypatch.setattr(persistent_templates, "MAX_TEMPLATES", 4)
    with kit.server(kit.template("9" * 32, nothing)) as server:
        endpoint = server.endpoint
        (unknown,) = names(endpoint)  # it came with the data, and nobody has written down when it was used
        old, young, younger = make(endpoint, "a", 31), make(endpoint, "b", 2), make(endpoint, "c", 1)
        assert persistent_templates.trim(endpoint) == [old]
        assert names(endpoint) == {unknown, young, younger}
        make(endpoint, "d")
        monkeypatch.setattr(persistent_templates, "MAX_TEMPLATES", 3)
        assert persistent_templates.trim(endpoint) == [unknown]
        persistent_templates.note_use(endpoint, young)
        last = make(endpoint, "e")
        assert persistent_templates.trim(endpoint) == [younger]
        assert names(endpoint) == {young, last, f"template_{'d' * 16}"}
        with connect(endpoint) as admin:
            roles = admin.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^building_'").fetchall()
        assert {role[9] for (role,) in roles} == {"b", "d", "e"}
        persistent_templates.drop(endpoint, "template_0")


def test_a_build_that_ends_before_its_template_has_a_name_is_repeated(kit, monkeypatch, tmp_path):
    run = sql.run

    def interrupted(connection, statement, *parts):
        if "RENAME" in statement:
            raise KeyboardInterrupt
        run(connection, statement, *parts)

    with kit.server(kit.template("9" * 32, nothing)) as server:
        here = PersistentPostgres(server.endpoint, tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(sql, "run", interrupted)
            patched.setattr(PersistentPostgres, "drop_database", lambda *_: None)  # as if it was killed
            with pytest.raises(KeyboardInterrupt):
                here.template("a" * 32, nothing, ())
        template, _ = here.template("a" * 32, nothing, ())
        assert template.database in names(server.endpoint)


def test_a_folder_that_was_not_completed_holds_no_server(tmp_path):
    values = {"engine": "postgres", "version": "18.1", "host": "h", "port": 1, "user": "u", "password": "p"}
    (tmp_path / "access.json").write_text(json.dumps(values))
    assert PersistentPostgres.read(tmp_path) is None
