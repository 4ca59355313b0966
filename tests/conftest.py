import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from uv import find_uv_bin

import budget
import forked
import needs
from grove import keep_caches, lend_caches, new_base, plant, uproot
from testgrove.errors import PreconditionError
from testgrove.services.engines.postgres.binaries import find_postgres
from testgrove.services.engines.redis.binaries import find_redis

# Where it is set, every pytest compiles anew what it rewrites: most of the time of a small one.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A shell starts what it puts into the background with some signals ignored, and so does nohup.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_addoption(parser):
    budget.pytest_addoption(parser)


def pytest_configure(config):
    budget.pytest_configure(config)


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # what was imported and collected stays: looking through it again and again is a tenth of the time


def pytest_unconfigure():
    forked.close()


@pytest.fixture
def short_tmp():
    """A folder with a short path, for Unix sockets, that every user can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="tg-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def groves():
    """Yield what makes small projects; deletes them."""
    bases = []

    def make(name="project", **options):
        bases.append(new_base())
        lend_caches(bases[-1])
        return plant(bases[-1], name, **options)

    yield make
    for base in bases:
        keep_caches(base)
        uproot(base)


@pytest.fixture
def grove():
    """Makes small projects to run testgrove in: grove(files=…, config=…, name=…); see grove.plant()."""
    yield from groves()


@pytest.fixture(scope="module")
def shared_grove():
    """The same for a project that tests of a module share, which leave it as they find it."""
    yield from groves()


@pytest.fixture(scope="session")
def require_postgres():
    """The PostgreSQL binaries of this machine; TESTGROVE_TEST_POSTGRES asks for a version."""
    try:
        return find_postgres(os.environ.get("TESTGROVE_TEST_POSTGRES", ""))
    except PreconditionError as error:
        needs.missing("postgres", error.message)


@pytest.fixture(scope="session")
def two_servers(require_postgres) -> list[str]:
    """The major versions of PostgreSQL on this machine, at least two."""
    found = []
    for major in range(13, 20):
        try:
            found.append(str(find_postgres(str(major)).major))
        except PreconditionError:
            continue
    return found if len(found) > 1 else needs.missing("second-postgres", f"of two PostgreSQL versions there is {found}")


@pytest.fixture(scope="session")
def require_redis():
    """The Redis or Valkey server of this machine."""
    from services.launcher import LocalLauncher

    try:
        return find_redis(LocalLauncher())
    except PreconditionError as error:
        needs.missing("redis", error.message)


@pytest.fixture(scope="session")
def pythons():
    """Two versions of Python that this machine has, such as ("3.11", "3.12")."""
    return needs.two_versions()


@pytest.fixture(scope="session")
def tools(tmp_path_factory) -> Path:
    """An environment with Alembic and Django."""
    folder = tmp_path_factory.mktemp("tools") / "env"
    for words in (
        ["venv", "--python", sys.executable, str(folder)],
        ["pip", "install", "--python", str(folder), "alembic", "django", "psycopg[binary]"],
    ):
        done = subprocess.run([find_uv_bin(), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def drivers(tmp_path_factory) -> Path:
    """An environment with the drivers that the plugin knows and that have wheels, pytest, Django, what sets variables.

    mysqlclient has none, and is built only where MariaDB's headers are.
    """
    folder = tmp_path_factory.mktemp("drivers") / "env"
    packages = ("psycopg[binary]", "psycopg2-binary", "asyncpg", "pymysql", "redis", "neo4j")
    plugins = ("pytest", "pytest-xdist", "pytest-env", "pytest-django", "django", "python-dotenv")
    for words in (
        ["venv", "--python", sys.executable, str(folder)],
        ["pip", "install", "--python", str(folder), *packages, *plugins],
    ):
        done = subprocess.run([find_uv_bin(), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder
