"""A run's databases, which are made while the environments are, from a server that is started ahead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grove import said

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

CONFIG = """
[services.postgres]
migrate = "{psql} --quiet --set ON_ERROR_STOP=1 --file schema.sql"
inputs = ["schema.sql"]
[suites.look]
command = "{psql} --no-align --tuples-only --command 'SELECT name FROM things'"
services = ["postgres"]
[suites.again]
command = "{psql} --no-align --tuples-only --command 'SELECT current_database()'"
services = ["postgres"]
"""
SCHEMA = "CREATE TABLE things (name text);\nINSERT INTO things VALUES ('{}');\n"


@pytest.fixture
def project(grove, require_postgres):
    psql = require_postgres.bindir / "psql"
    if not psql.exists():
        pytest.skip("these PostgreSQL binaries come without psql")
    files = {"README.md": "A project.\n", "schema.sql": SCHEMA.format("first")}
    return grove(files=files, config=CONFIG.format(psql=psql))


def output(grove, suite: str) -> str:
    (log,) = grove.runs()[-1].glob(f"test-{suite}-tree/output.log")
    return log.read_text().strip()


def events(grove) -> list[dict]:
    return [json.loads(line) for line in (grove.runs()[-1] / "events.jsonl").read_text().splitlines()]


def test_a_changed_migration_is_not_hidden_by_the_server_that_was_started_ahead(project):
    """The second run starts the first one's server ahead, and must not use it."""
    project.run("test", "look")
    assert output(project, "look") == "first"
    project.write({"schema.sql": SCHEMA.format("second")})
    project.run("test", "look")
    assert output(project, "look") == "second"
    project.write({"schema.sql": SCHEMA.format("first")})
    project.run("test", "look")
    assert output(project, "look") == "first"
    project.auditor().assert_no_leftovers(within=1.0)


def test_cells_that_start_together_share_a_server_and_no_database(project):
    for _ in range(2):
        project.run("test", "-j", "2")
        assert output(project, "look") == "first"
        assert output(project, "again").startswith("testdb_again_tree")
    project.auditor().assert_no_leftovers(within=1.0)


def test_an_environment_that_cannot_be_made_ends_the_cell_while_its_template_waits_for_it(project):
    """The migration needs the environment: whoever waits for it is told, and the error is the environment's."""
    project.write({"requirements.txt": "no-such-package-of-testgrove @ file:///no/such/file.whl\n"})
    done = project.run("test", "look", check=False)
    assert done.returncode == 1, said(done)
    (finished,) = [event for event in events(project) if event["type"] == "cell_finished"]
    assert finished["status"] == "error"
    assert "uv failed to create the environment" in finished["reason"]
    assert project.worktrees() == {}
    made = [path.name for path in Path(project.cache, "templates").glob("*.tar")]
    assert [name for name in made if not name.startswith("base-")] == []
    project.auditor().assert_no_leftovers(within=1.0)
