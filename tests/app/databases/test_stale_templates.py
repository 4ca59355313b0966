"""No change of what a migration depends on is hidden by an older template; and each would be, were it not looked at."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from testgrove.app.databases.migration import fingerprint
from testgrove.core.settings.types import Service
from testgrove.services.provider import Traits

CONFIG = '[services.postgres]\nmigrate = "schema-tool"\ninputs = ["schema.sql", "seeds/**"]\n[env]\nSETTING = "old"\n'
FILES = {"schema.sql": "old", "seeds/seed.sql": "old", ".env.test": "OWN=old\n"}
# What changes, and the part of the fingerprint that tells.
CHANGES = {
    "schema.sql": "inputs", "seeds/seed.sql": "seeds", "tool": "tool", "locale": "locale", "server": "engine",
    "SETTING": "env", "OWN": "env",
}  # fmt: skip


@pytest.fixture
def sessions(grove, require_postgres, request):
    """What the databases of two sessions hold, between which something changes."""

    def run(what: str, part: str = ""):
        several = what == "server"
        versions = request.getfixturevalue("two_servers") if several else [str(require_postgres.major)]
        made = grove(config=CONFIG, files=FILES)
        program = (sys.executable, str(Path(__file__).with_name("two_sessions.py")))
        words = (str(made.repo), str(made.base / "tool"), what, part, ",".join((versions[0], versions[-1])))
        done = made.run(*words, program=program)
        made.auditor().assert_nothing(within=2.0)
        before, after = json.loads(done.stdout.splitlines()[-1])
        old = dict.fromkeys(CHANGES, "old") | {"locale": "C.UTF-8", "server": versions[0]}
        assert before == old
        new = {"locale": "C", "server": versions[-1]}.get(what, "new")
        return after, old | {what: new}

    return run


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_never_hidden_by_a_stale_template(sessions, what):
    found, expected = sessions(what)
    assert found == expected


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("what", CHANGES)
def test_it_would_be_hidden_if_the_fingerprint_did_not_tell(sessions, what):
    found, expected = sessions(what, CHANGES[what])
    assert found != expected


APPLY = """
import os, psycopg
from importlib.metadata import version
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as session:
    session.execute("CREATE TABLE made (by text, what text)")
    found = {name: open(name).read() for name in ("schema.sql", "seeds/seed.sql")}
    for made in {**found, "tool": version("iniconfig"), "SETTING": os.environ["SETTING"]}.items():
        session.execute("INSERT INTO made VALUES (%s, %s)", made)
"""
SHOW = """
import json, os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"]) as session:
    found = dict(session.execute("SELECT by, what FROM made").fetchall())
    print("found", json.dumps(found | {"server": str(session.info.server_version // 10000)}))
"""
CELLS = """
[services.postgres]
migrate = "echo x >> {log}; python apply.py"
inputs = ["schema.sql", "seeds/**"]
version = "{version}"
[env]
SETTING = "old"
[suites.show]
command = "python show.py"
services = ["postgres"]
"""


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(900)
def test_the_cells_of_a_run_never_get_a_stale_template(grove, two_servers):
    """One run after the other, with one change before each: what its suite meets, and how often it was migrated."""
    old, new = two_servers[0], two_servers[-1]
    files = {"schema.sql": "old", "seeds/seed.sql": "old", "apply.py": APPLY, "show.py": SHOW}
    made = grove(files=files | {"requirements.txt": "psycopg[binary]\niniconfig==2.0.0\n"})
    config, log = made.repo / "testgrove.toml", made.base / "log"
    config.write_text(CELLS.format(log=log, version=old) + config.read_text())

    def run(**changed: str) -> dict[str, str]:
        for name, text in changed.items():
            (made.repo / name).write_text(text)
        done = made.run("test", check=False, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr
        (output,) = made.runs()[-1].glob("*/output.log")
        line = next(line for line in output.read_text().splitlines() if line.startswith("found "))
        return json.loads(line.removeprefix("found "))

    expected = {"schema.sql": "old", "seeds/seed.sql": "old", "tool": "2.0.0", "SETTING": "old", "server": old}
    assert run() == expected
    for part, file, text in (
        ("schema.sql", "schema.sql", "new"),
        ("seeds/seed.sql", "seeds/seed.sql", "new"),
        ("tool", "requirements.txt", "psycopg[binary]\niniconfig==2.1.0\n"),
        ("SETTING", "testgrove.toml", config.read_text().replace('SETTING = "old"', 'SETTING = "new"')),
    ):
        count = log.read_text().count("x")
        expected[part] = "2.1.0" if part == "tool" else "new"
        assert run(**{file: text}) == expected
        assert log.read_text().count("x") == count + 1
    expected["server"] = new
    assert run(**{"testgrove.toml": config.read_text().replace(f'"{old}"', f'"{new}"')}) == expected
    assert log.read_text().count("x") == 6
    assert run() == expected
    assert log.read_text().count("x") == 6
    made.auditor().assert_no_leftovers(within=2.0)


BASE = {"engine": "postgres 15", "encoding": "UTF8", "locale": "C", "extensions": ("citext",), "settings": {"a": "b"}}


def of_a_cell(tree, environment="uv.lock 1", service=None, env=None, migrate="x", **changed):
    service = service or Service(engine="postgres", migrate=migrate, inputs=("*.sql",))
    return fingerprint("postgres", service, Traits(**(BASE | changed)), tree=tree, tool=environment, env=env or {})


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "postgres 16"},
        {"encoding": "LATIN1"},
        {"locale": "de_DE"},
        {"extensions": ()},
        {"settings": {}},
        {"environment": "uv.lock 2"},
        {"env": {"TENANT": "a"}},
        {"migrate": "y"},
        {"service": Service(engine="postgres", migrate="x && y", inputs=("*.sql",))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_cells_template_depends_on_each_part(tmp_path, change):
    (tmp_path / "1.sql").write_text("one")
    assert of_a_cell(tmp_path) == of_a_cell(tmp_path)
    assert of_a_cell(tmp_path, **change) != of_a_cell(tmp_path)


def test_a_cells_template_depends_on_the_inputs_names_and_bytes(tmp_path):
    file = tmp_path / "1.sql"
    file.write_text("one")
    known = {of_a_cell(tmp_path)}
    file.write_text("two")
    known.add(of_a_cell(tmp_path))
    file.rename(tmp_path / "2.sql")
    known.add(of_a_cell(tmp_path))
    (tmp_path / "3.sql").touch()
    known.add(of_a_cell(tmp_path))
    assert len(known) == 4
