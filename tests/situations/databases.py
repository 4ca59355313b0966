"""Databases of the user's on a server of the user's, beside those that testgrove has made there."""

from __future__ import annotations

from situations.table import Batch, Place
from users_server import UsersPostgres

UNTOUCHED = "Removes the worktree; the server keeps the database"
NAMES = {"a_database_with_our_prefix": "testdb_unit_mine", "a_template_with_our_prefix": "testgrove_template_of_mine"}

batch = Batch("databases")


@batch.situation("A database on the user's server, whose name starts like testgrove's (`testdb_`)", UNTOUCHED)
def a_database_with_our_prefix(_at: Place) -> None:
    """Made by furnish(): it lies beside worktrees."""


@batch.situation("A database on the user's server, whose name starts like testgrove's templates", UNTOUCHED)
def a_template_with_our_prefix(_at: Place) -> None:
    """Made by furnish()."""


def furnish(server: UsersPostgres) -> None:
    """Make the databases, with something in each."""
    for name in NAMES.values():
        server.sql(f"CREATE DATABASE {name} OWNER ci")
        server.sql("CREATE TABLE precious AS SELECT 'mine' AS text", database=name)


def contents(server: UsersPostgres) -> list[str]:
    """What is in them now."""
    return [server.sql("SELECT text FROM precious", database=name)[0][0] for name in NAMES.values()]
