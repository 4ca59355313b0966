"""Commands on the worktree of a sub-project, from another folder: its own settings count."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.slow
SERVICES = """[env]
MODE = "backend"
[services.sqlite]
migrate = "cat *.up.sql | sqlite3 $SQLITE_PATH"
inputs = ["*.sql"]
"""


@pytest.mark.parametrize("where", ["", "frontend"])
def test_the_settings_of_the_worktree_count_and_not_those_of_the_current_folder(grove, where):
    project = grove(files={
        "backend/testgrove.toml": SERVICES,
        "backend/1_things.up.sql": "CREATE TABLE things (n int);\n",
        "backend/1_things.down.sql": "DROP TABLE things;\n",
        "frontend/testgrove.toml": "[services.redis]\n",
    })  # fmt: skip
    project.create("review", "a", "--no-env", cwd=project.repo / "backend")

    def db(*words: str) -> str:
        out: str = project.run("db", words[0], "review-a", *words[1:], cwd=project.repo / where).stdout
        return out

    words = ("db", "migrate", "review-a", "--service", "sqlite")
    lacking = project.run(*words, cwd=project.repo / where, check=False)
    assert (lacking.returncode, "testgrove db create review-a" in lacking.stderr) == (3, True), lacking.stderr
    for action in ("create", "reset", "drop", "create"):
        assert json.loads(db(action, "--json"))["services"] == ["sqlite"]
    assert "/backend/db.sqlite3" in db("url", "--service", "sqlite")
    assert db("check").startswith("sqlite: passed")
    project.run("ports", "reassign", "review-a", cwd=project.repo / where)
    assert project.run("exec", "review-a", "--", "printenv", "MODE").stdout == "backend\n"
    project.run("remove", "review-a")


def test_the_directory_of_a_service_is_where_its_migration_runs(grove):
    config = """[services.sqlite]
directory = "backend"
migrate = "sqlite3 $SQLITE_PATH <schema.sql"
inputs = ["*.sql"]
[suites.unit]
command = "sqlite3 $SQLITE_PATH 'INSERT INTO things VALUES (1)'"
services = ["sqlite"]
"""
    project = grove(files={"backend/schema.sql": "CREATE TABLE things (n int);\n"}, config=config)
    assert project.json("test")["status"] == "passed"
    project.write({"backend/schema.sql": "CREATE TABLE others (n int);\n"}, commit="Another table")
    done = project.run("test", check=False)
    assert done.returncode == 1
    assert "no such table: things" in done.stdout + done.stderr, "the input below the folder counts"
