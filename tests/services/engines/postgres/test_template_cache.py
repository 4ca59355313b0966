import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from services.cases import Kit, migrate, nothing, query, run, until
from testgrove.core.settings.types import Settings
from testgrove.errors import PreconditionError, UnavailableError
from testgrove.services.engines.postgres import template_cache
from testgrove.services.engines.postgres.sql import connect
from testgrove.services.migrations.migrator import Migrator
from testgrove.system.locks import LockFile

pytestmark = pytest.mark.postgres
ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def built(kit, shop):
    """The template ONE, which is in the cache already."""
    shutil.copy2(shop.path, kit.directory / f"{ONE}.tar")
    return kit.cache().find(ONE)


class Counted:
    """A migration that counts how often it ran."""

    def __init__(self, pause=0.0):
        self.runs = 0
        self.began = threading.Event()
        self.pause = pause

    def __call__(self, access):
        self.runs += 1
        self.began.set()
        migrate(access)
        time.sleep(self.pause)


def test_a_template_is_built_once_and_found_again_by_another_command(kit):
    build = Counted()
    first = kit.template(ONE, build)
    again = kit.template(ONE, build)
    assert build.runs == 1
    assert again == first
    assert again.password.reveal() == first.password.reveal()
    assert kit.left() == []
    assert first.path.stat().st_mode & 0o777 == 0o600
    assert first.path.parent.stat().st_mode & 0o777 == 0o700


def test_another_fingerprint_is_another_template_on_the_same_base(new_kit):
    build = Counted()
    one, two = new_kit.template(ONE, build), new_kit.template(TWO, build)
    assert build.runs == 2
    assert one.path != two.path
    assert sum("initdb" in argv[0] or "initdb" in " ".join(argv) for argv in new_kit.launcher.tools) == 1
    with new_kit.server(two) as server:
        assert query(server.create_database("testdb_a", owner="x"), "SELECT count(*) FROM shop.items") == 200


def test_an_empty_template_gives_an_empty_database_that_is_the_roles(kit):
    with kit.server(kit.template(ONE, nothing)) as server:
        access = server.create_database("testdb_a", owner="x")
        run(access, "CREATE TABLE t (n int); DROP SCHEMA public CASCADE")
        assert query(access, "SHOW server_encoding") == "UTF8"
        collation = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
        assert query(access, collation) == "C.UTF-8"
        assert query(access, "SHOW timezone") == "UTC"


def test_a_migration_runs_as_no_superuser_and_with_what_it_needs(kit):
    seen = {}

    def build(access):
        seen["super"] = query(access, "SHOW is_superuser")
        seen["createdb"] = query(access, "SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user")
        seen["fsync"] = query(access, "SHOW fsync")

    kit.template(ONE, build)
    assert seen == {"super": "off", "createdb": True, "fsync": "off"}


def test_required_extensions_are_there_for_the_migration_and_for_databases_made_anew(kit):
    kit_cache = kit.cache(extensions=("btree_gist", "file_fdw"))  # the second one needs a superuser
    count = "SELECT count(*) FROM pg_extension WHERE extname IN ('btree_gist', 'file_fdw')"

    def build(access):
        run(access, "CREATE EXTENSION IF NOT EXISTS file_fdw")
        assert query(access, count) == 2

    with kit.server(kit_cache.ensure(ONE, build, on_port=kit.on_port)) as server:
        access = server.create_database("testdb_a", owner="x")
        assert query(access, count) == 2
        run(access, "CREATE DATABASE testdb_again")
        assert query(access, count, database="testdb_again") == 2


def test_two_threads_want_it_one_builds_the_other_says_why_it_waits(kit):
    build, reasons = Counted(pause=0.2), []
    cache = kit.cache()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.ensure, ONE, build, on_port=kit.on_port)
        build.began.wait(30)
        second = pool.submit(cache.ensure, ONE, build, on_port=kit.on_port, on_wait=reasons.append)
        assert first.result() == second.result()
    assert build.runs == 1
    assert set(reasons) == {"waiting for the database template 1111111111111111, which another command is building"}


BUILDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from services.cases import Kit, migrate
from services.launcher import LocalLauncher
from testgrove.services.engines.postgres.binaries import find_postgres

folder, port, pause = Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])

def build(access):
    with (folder / "runs").open("a") as runs:
        runs.write("x")
    migrate(access)
    time.sleep(pause)

print(Kit(find_postgres(sys.argv[5]), folder, LocalLauncher(), port).template("1" * 32, build).path)
"""


def builder(kit, pause):
    tests = Path(__file__).parents[3]
    argv = [sys.executable, "-c", BUILDER, tests, kit.folder, kit.port, pause, kit.binaries.version]
    return subprocess.Popen([str(part) for part in argv], stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_two_processes_want_it_one_builds(kit):
    started = [builder(kit, 0.2) for _ in range(2)]
    paths = [process.communicate(timeout=60)[0] for process in started]
    assert len(set(paths)) == 1
    assert paths[0].strip().endswith("1.tar")
    assert (kit.folder / "runs").read_text() == "x"
    assert kit.left() == []


def test_a_builder_that_is_killed_leaves_temporary_names_that_the_next_one_removes(kit):
    process = builder(kit, 600)
    until((kit.folder / "runs").exists)
    left = kit.left()
    assert len(left) == 1
    data = kit.work / left[0] / "data"
    server = int((data / "postmaster.pid").read_text().split()[0])
    process.kill()
    process.communicate()
    os.kill(server, signal.SIGKILL)  # what the supervisor does
    until(lambda: not Path(f"/proc/{server}").exists() or "Z" in Path(f"/proc/{server}/stat").read_text())
    (kit.directory / "3333.x.tmp").write_text("half an archive of another builder that was killed")
    assert kit.template(ONE).path.exists()
    assert kit.left() == []


def test_what_a_living_builder_of_another_template_has_made_stays(kit):
    kit.work.mkdir()
    kept = [kit.work / f"build-{TWO[:16]}-0a", kit.directory / f"{TWO}.0a.tmp"]
    kept[0].mkdir()
    kept[1].write_text("half")
    with LockFile(kit.folder / "locks").hold(f"template {TWO[:16]}", what="a builder", timeout=1):
        kit.template("3" * 32, nothing)
        assert all(path.exists() for path in kept)
    kit.template("4" * 32, nothing)
    assert not any(path.exists() for path in kept)


def test_a_failed_migration_leaves_nothing_and_tells_command_and_output(kit, tmp_path):
    def build(access):
        command, env = "echo one; echo two >&2; exit 7", {"PATH": "/usr/bin:/bin"}
        Migrator(kit.launcher, tmp_path, lambda _access: env, Settings()).upgrade(command, access)

    with pytest.raises(UnavailableError, match="exit 7") as caught:
        kit.template(ONE, build)
    assert caught.value.code == "migration-failed"
    assert "one\ntwo" in caught.value.message
    assert kit.left() == []
    assert [path.name[:5] for path in kit.directory.iterdir()] == ["base-"]
    assert kit.launcher.end() == 0
    assert kit.template(ONE, nothing).path.exists()


def test_who_waited_for_a_build_that_failed_does_not_repeat_it(kit):
    build = Counted(pause=0.2)

    def fails(access):
        build(access)
        raise UnavailableError("migration-failed", "the migration failed", hint="mend it")

    cache = kit.cache()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.ensure, ONE, fails, on_port=kit.on_port)
        build.began.wait(30)
        second = pool.submit(cache.ensure, ONE, fails, on_port=kit.on_port)
        errors = [first.exception(), second.exception()]
    assert build.runs == 1
    assert {(error.code, error.message, error.hint) for error in errors} == {
        ("migration-failed", "the migration failed", "mend it")
    }
    with pytest.raises(UnavailableError):
        cache.ensure(ONE, fails, on_port=kit.on_port)
    assert build.runs == 2


def test_an_interrupted_build_leaves_nothing(kit):
    def build(access):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kit.template(ONE, build)
    assert kit.left() == []
    assert kit.launcher.end() == 0


def cut(data):
    return data[: len(data) // 2 // 512 * 512]


def cut_at_the_end(data):
    return data[: data.rindex(b"testgrove.json")]


def flip(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, cut_at_the_end, flip, lambda data: b"", lambda data: b"\xff" * 5000])
def test_a_damaged_archive_is_built_again(kit, built, damage):
    build = Counted()
    assert kit.template(ONE, build) == built
    assert build.runs == 0
    built.path.write_bytes(damage(built.path.read_bytes()))
    with kit.server(kit.template(ONE, build)) as server:
        assert query(server.create_database("testdb_a", owner="x"), "SELECT count(*) FROM shop.items") == 200
    assert build.runs == 1


def test_a_connection_that_a_migration_leaves_open_is_ended_and_said(kit, monkeypatch):
    monkeypatch.setattr("testgrove.services.engines.postgres.sql.PATIENCE", 0.1)
    left = []

    def build(access):
        left.append(psycopg.connect(access.url(), application_name="alembic"))
        left[0].execute("SELECT 1")

    template = kit.template(ONE, build)
    left[0].close()
    assert "left 1 connections open" in template.note
    assert "alembic (idle in transaction)" in template.note
    assert kit.template(ONE, build).note == ""


def test_old_archives_and_too_many_are_removed(kit, built, monkeypatch):
    monkeypatch.setattr(template_cache, "MAX_TEMPLATES", 3)
    old, young = kit.directory / "old.tar", kit.directory / "young.tar"
    for path, days in ((old, 31), (young, 29)):
        path.touch()
        os.utime(path, (time.time() - days * 86400,) * 2)
    kit.template(TWO, nothing)
    kept = {path.name for path in kit.directory.glob("*.tar")}
    assert f"{TWO}.tar" in kept
    assert "old.tar" not in kept
    assert len(kept) == 3


def test_a_template_that_is_used_is_not_the_oldest(kit, built):
    os.utime(built.path, (0, 0))
    kit.template(ONE, nothing)
    assert time.time() - built.path.stat().st_mtime < 60


def test_a_folder_that_cannot_be_written_is_named(kit):
    kit.directory = Path("/proc/cache")
    with pytest.raises(PreconditionError, match="/proc/cache"):
        kit.template(ONE, nothing)


def test_every_socket_of_a_build_has_a_short_path(require_postgres, memory, launcher, port):
    deep = memory / ("d" * 90)
    deep.mkdir()
    with pytest.raises(PreconditionError) as caught:
        Kit(require_postgres, deep, launcher, port).template(ONE, nothing)
    assert caught.value.code == "socket-path-too-long"


def test_the_superusers_connections_are_cheap(kit, built):
    with kit.server(built) as server:
        server.create_database("testdb_a", owner="x")
        with connect(server.endpoint) as admin:
            stored = admin.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'").fetchone()[0]
    assert stored.startswith("SCRAM-SHA-256$1:")


def test_a_fresh_cache_builds_anew_once_and_replaces_what_was_there(kit, built):
    build, replaced = Counted(), built.path.read_bytes()
    kit.template(ONE, build)
    fresh = kit.cache(fresh=True)
    assert fresh.find(ONE) is None
    for _ in range(2):
        assert fresh.ensure(ONE, build, on_port=kit.on_port).path == kit.directory / f"{ONE}.tar"
    assert build.runs == 1
    assert built.path.read_bytes() != replaced
    assert fresh.find(ONE) is not None
    kit.template(ONE, build)
    assert build.runs == 1
    assert not any("initdb" in " ".join(argv) for argv in kit.launcher.tools), "the base is not built anew"
