"""Databases of the user's on a server of the user's, through every command that could take them away."""

from __future__ import annotations

import shutil

import pytest

import needs
import users_server
from grove import said
from situations import databases

CONFIG = """
park = 0
[services.postgres]
host = "{url}"
migrate = "psql --quiet --set ON_ERROR_STOP=1 --file schema.sql"
inputs = ["schema.sql"]
[suites.unit]
command = "true"
services = ["postgres"]
"""
FILES = {"README.md": "A project.\n", "schema.sql": "CREATE TABLE things (name text);\n"}
OPERATIONS = (
    ("sync", "test-unit-x"),
    ("doctor", "--fix"),
    ("db", "reset", "test-unit-x"),
    ("remove", "test-unit-x"),
    ("test",),  # makes a worktree, and removes it, for none is to be parked
    ("cleanup", "--max-age", "0", "--yes"),
)


@pytest.mark.slow
@pytest.mark.postgres
def test_foreign_databases_are_not_touched(grove, require_postgres):
    if shutil.which("psql") is None:
        needs.missing("psql", "there is no psql on the PATH")
    with users_server.users_postgres(require_postgres) as server:
        databases.furnish(server)
        project = grove(files=FILES, config=CONFIG.format(url=server.url))
        project.run("create", "--purpose", "test-unit", "--identifier", "x", "--branch", "main")
        for words in OPERATIONS:
            done = project.run(*words, check=False)
            assert done.returncode == 0, said(done)
            assert databases.contents(server) == ["mine", "mine"], said(done)
        taken = project.run("create", "--purpose", "test-unit", "--identifier", "mine", "--branch", "main", check=False)
        assert taken.returncode == 3, said(taken)
        assert databases.contents(server) == ["mine", "mine"]
