import os
import shutil
import tempfile
from pathlib import Path

import pytest

from grove import new_base, plant, uproot
from testgrove.errors import PreconditionError
from testgrove.services.binaries import find_postgres, find_redis


@pytest.fixture
def short_tmp():
    """A folder with a short path, for Unix sockets, that every user can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="tg-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def grove():
    """Makes small projects to run testgrove in: grove(files=…, config=…, name=…); see grove.plant()."""
    bases = []

    def make(name="project", **options):
        bases.append(new_base())
        return plant(bases[-1], name, **options)

    yield make
    for base in bases:
        uproot(base)


def _required_or_skip(backend: str, error: PreconditionError) -> None:
    wanted = [name.strip() for name in os.environ.get("TESTGROVE_REQUIRE", "").split(",")]
    if backend in wanted:
        pytest.fail(f"TESTGROVE_REQUIRE lists {backend}: {error.message}")
    pytest.skip(error.message)


@pytest.fixture(scope="session")
def require_postgres():
    """The PostgreSQL binaries of this machine; TESTGROVE_TEST_POSTGRES asks for a version."""
    try:
        return find_postgres(os.environ.get("TESTGROVE_TEST_POSTGRES", ""))
    except PreconditionError as error:
        return _required_or_skip("postgres", error)


@pytest.fixture(scope="session")
def require_redis():
    """The Redis or Valkey server of this machine."""
    from services.launcher import LocalLauncher

    try:
        return find_redis(LocalLauncher())
    except PreconditionError as error:
        return _required_or_skip("redis", error)
