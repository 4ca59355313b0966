"""A scratch database for the session, and in it a schema for each test: quicker than a database for each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, NullPool, create_engine, text

SCHEMA = "trial"
PROJECT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def watch_the_mark(database: Engine) -> None:
    """Every test looks at the mark, whatever else it needs."""


@pytest.fixture(scope="session")
def scratch_database(marked_engine: Engine) -> Iterator[Engine]:
    """A database of this session's own, beside this worktree's; it is gone afterwards."""
    # Short, and the same in every session of this worktree: what a killed one left is replaced, not piled up.
    name = f"scratch_{hashlib.sha256(os.environ['DATABASE_NAME'].encode()).hexdigest()[:16]}"
    in_schema = {"options": f"-csearch_path={SCHEMA}"}
    engine = create_engine(marked_engine.url.set(database=name), poolclass=NullPool, connect_args=in_schema)
    with marked_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as server:
        # Never WITH (FORCE): it fails while autovacuum, which belongs to another role, is at work in there.
        server.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        server.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield engine
        finally:
            server.execute(text(f"DROP DATABASE {name}"))


@pytest.fixture
def scratch(scratch_database: Engine) -> Iterator[Connection]:
    """A connection to an empty database, in which a migration may do what it likes."""
    with scratch_database.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))
            connection.commit()


@pytest.fixture
def migrate(scratch: Connection) -> Callable[[str], None]:
    """Brings the scratch database up (``0004``, ``head``) or down (``-1``, ``base``) to a revision."""
    config = Config(PROJECT / "alembic.ini")
    config.attributes["connection"] = scratch

    def to(revision: str) -> None:
        down = revision.startswith("-") or revision == "base"
        (command.downgrade if down else command.upgrade)(config, revision)
        scratch.commit()

    return to
