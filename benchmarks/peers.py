"""What a person does by hand: two recipes, and the PostgreSQL server that they find running.

The server is the peer's: the same binaries that testgrove finds, its data in memory, durability off. So neither recipe
pays for a start of a server, or for a disk; and Redis costs them nothing, because they share a running one by number.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.projects import BASE_PYTHON, UV, Repository, environment
from testgrove.services.engines.postgres.binaries import PostgresBinaries, find_postgres

_SETTINGS = (
    "fsync=off", "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0",
    "autovacuum=off", "listen_addresses=127.0.0.1",
)  # fmt: skip
_START = """\
set -e
git worktree add --quiet --detach "$TREE" HEAD
cd "$TREE"
"""
_END = """\
url="postgresql://postgres@127.0.0.1:$PGPORT/$NAME"
printf '%s\\n' "DATABASE_URL=$url" "REDIS_URL=redis://127.0.0.1:6379/5" "APP_PORT=8001" "API_PORT=8002" > .env.test
"""
PIP = _START + """\
"$BASE_PYTHON" -m venv .venv
{pip_install}
createdb "$NAME"
PATH="$PWD/.venv/bin:$PATH" DATABASE_URL="postgresql://postgres@127.0.0.1:$PGPORT/$NAME" {migrate}
""" + _END  # fmt: skip
UV_RECIPE = _START + """\
{install}
createdb --template=bench_template {strategy} "$NAME"
""" + _END  # fmt: skip


@dataclass(frozen=True)
class PeerServer:
    """A running PostgreSQL. env: what lets its client programs find it."""

    binaries: PostgresBinaries
    env: dict[str, str]

    def client(self, *argv: str) -> None:
        """Run one of its client programs."""
        subprocess.run(argv, check=True, env=environment(**self.env), capture_output=True)

    @property
    def strategy(self) -> str:
        """The quickest way to copy a template on such a server."""
        return "--strategy=file_copy" if self.binaries.major >= 15 else ""


@contextmanager
def peer_server(work: Path) -> Iterator[PeerServer]:
    """Start the server, with its data in memory where there is some."""
    memory = Path("/dev/shm")
    folder = (memory if os.access(memory, os.W_OK) else work) / f"{work.name}-peer"
    folder.mkdir(mode=0o755)
    binaries = find_postgres()
    # PostgreSQL refuses root, but not one who is seen as somebody else.
    prefix = ("unshare", "--user", "--map-user=1000", "--") if os.geteuid() == 0 else ()
    data, program = folder / "data", binaries.bindir
    subprocess.run(
        (*prefix, program / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"),
        check=True,
        capture_output=True,
        env=environment(),
    )
    port = _free_port()
    options = [part for setting in (*_SETTINGS, f"port={port}") for part in ("-c", setting)]
    argv = (*prefix, program / "postgres", "-D", data, "-k", folder, *options)
    env = {"PGHOST": str(folder), "PGPORT": str(port), "PGUSER": "postgres", "PATH": f"{program}:{os.environ['PATH']}"}
    server = PeerServer(binaries, env)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment())
    try:
        _wait_until_ready(server)
        yield server
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(server: PeerServer) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return server.client("psql", "-c", "SELECT 1", "postgres")
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def recipe_environment(server: PeerServer, tree: Path, name: str) -> dict[str, str]:
    """What a recipe sees. BASE_PYTHON: so that uv need not look for an interpreter."""
    path = f"{UV.parent}:{server.env['PATH']}"
    where = {"TREE": str(tree), "NAME": name, "BASE_PYTHON": BASE_PYTHON, "PATH": path}
    return environment(**(server.env | where))


def fill(recipe: str, repository: Repository, server: PeerServer) -> str:
    """A recipe for one repository, as a shell script."""
    return recipe.format(
        pip_install=repository.pip_install,
        install=repository.install,
        migrate=repository.migrate,
        strategy=server.strategy,
    )
