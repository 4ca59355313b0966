"""Embedded PostgreSQL, from its cached template to the first row: `python -m benchmarks.server_start [--rounds N]`.

What is timed: unpack the template of the schema of `benchmarks.fresh` (40 tables, 160 indexes, 2,000 rows) into memory,
start a server on it, clone it for a role of its own, connect as that role and read. The driver, the supervisor and the
choice of a user for the server are there before.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

import psycopg

from benchmarks.fresh import SCHEMA
from benchmarks.results import machine
from testgrove.app.launcher import SupervisedLauncher
from testgrove.core.model import DatabaseAccess
from testgrove.services.engines.postgres.binaries import find_postgres
from testgrove.services.engines.postgres.installation import Installation
from testgrove.services.hosts.embedded import EmbeddedHost
from testgrove.system.locks import LockFile
from testgrove.system.processes.supervisor_pool import SupervisorPool

PORT = 17390


def migrate(access: DatabaseAccess) -> None:
    """Make the schema."""
    with psycopg.connect(access.url(), autocommit=True) as connection:
        connection.execute(SCHEMA.encode())


def main() -> None:
    """Measure and print."""
    about = "Embedded PostgreSQL, from its cached template to the first row."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server_start", description=about)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    print(machine())
    folder = Path(tempfile.mkdtemp(prefix="tgb-", dir="/dev/shm"))
    folder.chmod(0o711)
    for name in ("work", "cache"):
        (folder / name).mkdir()
    supervisors = SupervisorPool()
    try:
        host = EmbeddedHost(SupervisedLauncher(supervisors, threading.Event()), ours=[folder], copies=folder / "copies")
        installation = Installation(find_postgres(), host)
        cache = installation.templates(folder / "cache", LockFile(folder / "locks"), folder / "work")
        template = cache.ensure("0" * 64, migrate, on_port=lambda start: start(PORT))
        took = []
        for number in range(rounds):
            supervisors.start_ahead(1)
            time.sleep(0.2)
            directory = folder / f"run-{number}"
            directory.mkdir(mode=0o700)
            began = time.perf_counter()
            server = installation.start(template, PORT, directory)
            access = server.create_database("fresh", owner="bench")
            with psycopg.connect(access.url()) as connection:
                assert connection.execute("SELECT count(*) FROM t7").fetchone() == (50,)
            took.append((time.perf_counter() - began) * 1000)
            server.stop()
        print(f"median {statistics.median(took):.0f} ms ({min(took):.0f} … {max(took):.0f}), {rounds} rounds")
    finally:
        supervisors.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
