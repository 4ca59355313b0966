"""The store: transactions, leases with one holder each, and files it cannot use."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from testgrove.core.model import Lease, LeaseKind, WorktreeId, WorktreeStatus
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import ExhaustedError, PreconditionError, StoreError
from testgrove.system.ports import is_free, lease_block
from testgrove.system.store import Store
from testgrove.system.store.projects import ProjectRecord
from testgrove.system.store.runs import RunRecord


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "state/state.db")
    yield opened
    opened.close()


def test_a_failed_transaction_leaves_nothing(store):
    def fail() -> None:
        with store.transaction():
            store.leases("a").record(Lease(LeaseKind.DIRECTORY, "/x"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert store.leases("a").all() == ()


def test_a_thing_has_one_holder(store):
    store.leases("run:1").record(Lease(LeaseKind.DIRECTORY, "/x"))
    with pytest.raises(PreconditionError, match="run:1"):
        store.leases("run:2").record(Lease(LeaseKind.DIRECTORY, "/x"))


def test_leases_keep_their_order_and_data(store):
    leases = store.leases("a")
    leases.record(Lease(LeaseKind.CHECKOUT, "/b", {"main": "/m"}), Lease(LeaseKind.DIRECTORY, "/a"))
    assert [lease.key for lease in leases.all()] == ["/b", "/a"]
    assert leases.all()[0].data == {"main": "/m"}
    leases.forget(leases.all()[0])
    assert [lease.key for lease in leases.all()] == ["/a"]


@pytest.fixture
def record(store) -> WorktreeRecord:
    store.projects.add(ProjectRecord("p", Path("/r/.git"), Path("/r")))
    made = WorktreeRecord(
        id=WorktreeId("test-unit", "a"),
        path=Path("/w/a"),
        status=WorktreeStatus.CREATING,
        branch="",
        commit="c" * 40,
        created=datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
        project="p",
        holder="m",
        own_commits=("c" * 40,),
        ports={"app": 8001},
        environment={"python": "3.12.1"},
    )
    assert store.worktrees.add(made)
    return made


def test_a_worktree_is_read_as_it_was_recorded(store, record):
    assert store.worktrees.find("p", record.id) == store.worktrees.at(record.path) == record
    assert store.worktrees.of_project("p") == store.worktrees.held_by("m") == [record]
    assert store.worktrees.find("another", record.id) is None


def test_a_change_returns_the_record_with_it_and_touches_nothing_else(store, record):
    ready = store.worktrees.update(record, status=WorktreeStatus.READY, holder=None, commit="d" * 40)
    assert (ready.status, ready.holder, record.status) == (WorktreeStatus.READY, None, WorktreeStatus.CREATING)
    store.worktrees.update(record, note="n")  # from a copy that is older
    assert store.worktrees.find("p", record.id) == replace(ready, note="n")


def test_an_id_and_a_folder_are_taken_once(store, record):
    assert not store.worktrees.add(replace(record, path=Path("/w/b")))
    assert not store.worktrees.add(replace(record, id=WorktreeId("test-unit", "b")))
    store.worktrees.delete(record)
    assert store.worktrees.of_project("p") == []
    assert store.worktrees.add(record)


def test_what_a_command_holds_is_known_by_its_mark(store, record):
    store.runs.add(RunRecord("r", "p", Path("/r/test-artifacts/r"), "n"))
    assert [store.commands.holds_any(mark) for mark in ("m", "n", "o")] == [True, True, False]
    assert store.runs.held_by("n") == [store.runs.at(Path("/r/test-artifacts/r"))]
    assert store.counts() == {"worktrees": 1, "runs": 1, "leases": 0}


def test_ports_of_parallel_commands_never_meet(tmp_path):
    Store(tmp_path / "s.db").close()

    def lease(number: int) -> list[int]:
        own = Store(tmp_path / "s.db")
        try:
            return list(lease_block(own.leases(f"w:{number}"), range(21000, 21200), ("app", "api", "db")).values())
        finally:
            own.close()

    with ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(lease, range(24)))
    ports = [port for block in blocks for port in block]
    assert len(set(ports)) == len(ports) == 72
    assert all(block == list(range(block[0], block[0] + 3)) for block in blocks)


def test_a_port_somebody_listens_on_is_passed_over(store):
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(ExhaustedError, match=str(port)):
            lease_block(store.leases("a"), range(port, port + 1), ("app",))
    assert is_free(port)


def test_an_exhausted_range_says_so_and_leases_nothing(store):
    lease_block(store.leases("a"), range(21300, 21303), ("app", "api", "db"))
    with pytest.raises(ExhaustedError) as caught:
        lease_block(store.leases("b"), range(21300, 21303), ("app",))
    assert caught.value.exit_status == 4
    assert store.leases("b").all() == ()


def test_sixteen_processes_may_make_the_store_at_once(tmp_path):
    imports = "import sys; from pathlib import Path; from testgrove.system.store import Store"
    code = f"{imports}; Store(Path(sys.argv[1])).close()"
    started = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "s.db"], stderr=subprocess.PIPE, text=True)
        for _ in range(16)
    ]
    errors = [process.communicate()[1] for process in started]
    assert not any(process.returncode for process in started), errors


def test_a_newer_store_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "s.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(PreconditionError, match="newer"):
        Store(tmp_path / "s.db")


def test_a_store_that_was_deleted_under_a_command_is_not_written_to(tmp_path):
    path = tmp_path / "state.db"
    one, other = Store(path), Store(path)
    one.retire(lambda: None)
    assert list(tmp_path.iterdir()) == [tmp_path / "state.lock"]
    with pytest.raises(StoreError, match="was replaced"):
        other.insert("holders", mark="m", command="c", pid=1, started=0.0)
    other.insert("holders", mark="m", command="c", pid=1, started=0.0)
    assert [row["mark"] for row in Store(path).rows("SELECT mark FROM holders")] == ["m"]


def test_a_check_keeps_a_store(tmp_path):
    def refuse() -> None:
        raise PreconditionError("x", "no")

    store = Store(tmp_path / "state.db")
    with pytest.raises(PreconditionError):
        store.retire(refuse)
    assert store.rows("SELECT * FROM projects") == []
