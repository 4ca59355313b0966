"""What the tests of services share: a migration, and everything that a server needs."""

import secrets
import time
from contextlib import contextmanager

import psycopg

from testgrove.services.engines.postgres.installation import Installation
from testgrove.services.hosts.embedded import EmbeddedHost
from testgrove.system.locks import LockFile

MIGRATION = """
CREATE SCHEMA shop;
CREATE TABLE shop.items (id serial PRIMARY KEY, name text NOT NULL, price int NOT NULL);
CREATE TABLE shop.orders (id serial PRIMARY KEY, item int REFERENCES shop.items, at timestamptz DEFAULT now());
CREATE INDEX ON shop.orders (item);
CREATE VIEW shop.dear AS SELECT * FROM shop.items WHERE price > 100;
CREATE FUNCTION shop.total() RETURNS bigint LANGUAGE sql AS 'SELECT sum(price) FROM shop.items';
CREATE TABLE plain (n int);
INSERT INTO shop.items (name, price) SELECT 'item ' || n, n FROM generate_series(1, 200) n;
DO $$ BEGIN
  EXECUTE format('ALTER DATABASE %I SET search_path = shop, public', current_database());
  EXECUTE format('ALTER ROLE %I SET statement_timeout = ''41s''', current_user);
  EXECUTE format('ALTER ROLE %I IN DATABASE %I SET work_mem = ''9MB''', current_user, current_database());
END $$;
"""


def migrate(access):
    """A migration of plain SQL."""
    with psycopg.connect(access.url(), autocommit=True) as connection:
        connection.execute(MIGRATION)


def nothing(access):
    """A migration of nothing."""


def query(access, sql, *, database=None):
    """One value, over TCP, as the worktree's role."""
    with psycopg.connect(access.url(), dbname=database or access.name, autocommit=True) as connection:
        return connection.execute(sql).fetchone()[0]


def run(access, sql, *, database=None):
    """Execute statements, over TCP, as the worktree's role."""
    with psycopg.connect(access.url(), dbname=database or access.name, autocommit=True) as connection:
        connection.execute(sql)


def connected(access):
    """A connection over TCP, as the worktree's role, for several statements: a new one costs the server 5 ms of CPU."""
    return psycopg.connect(access.url(), autocommit=True)


def until(condition, timeout=20):
    """Wait until condition() holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


class Kit:
    """A cache and a host in a folder, and servers from it."""

    def __init__(self, binaries, folder, launcher, port, identity=None):
        self.binaries = binaries
        self.folder = folder
        self.launcher = launcher
        self.port = port
        self.work = folder / "work"
        self.directory = folder / "cache"
        self.host = EmbeddedHost(launcher, ours=[folder], copies=folder / "copies", identity=identity)

    def cache(self, **options):
        locks, fresh = LockFile(self.folder / "locks"), options.pop("fresh", False)
        return self.installation(**options).templates(self.directory, locks, self.work, fresh=fresh)

    def installation(self, **options):
        return Installation(**{"binaries": self.binaries, "host": self.host} | options)

    def template(self, fingerprint, build=migrate):
        return self.cache().ensure(fingerprint, build, on_port=self.on_port)

    def on_port(self, start):
        """See TemplateCache.ensure()."""
        return start(self.port)

    @contextmanager
    def server(self, template, *, port=None, **options):
        directory = self.folder / f"run-{secrets.token_hex(3)}"
        directory.mkdir(mode=0o700)
        server = self.installation(**options).start(template, port or self.port, directory)
        try:
            yield server
        finally:
            server.stop()

    def left(self):
        """What is in the cache and the workplace besides whole archives."""
        return sorted(
            path.name
            for folder in (self.directory, self.work)
            if folder.exists()
            for path in folder.iterdir()
            if path.suffix != ".tar"
        )
