"""A damaged store is moved aside, and what can be read of it is in the one that takes its place."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from testgrove.core.model import Lease, LeaseKind
from testgrove.errors import ExhaustedError, PreconditionError, StoreError
from testgrove.system.store import Store

COUNT = 300
OPEN = (
    "import sys; from pathlib import Path; from testgrove.system.store import Store; store = Store(Path(sys.argv[1]))"
)


def worktree(number: int) -> dict[str, object]:
    return {
        "project": "p", "id": f"test-unit-{number}", "purpose": "test-unit", "identifier": str(number),
        "path": f"/w/{number}", "status": "ready", "created": "2026-01-31T10:30:00.123456+00:00",
        "ports": {"app": 8000 + number}, "manifest": "x" * 1000,
    }  # fmt: skip


@pytest.fixture
def path(tmp_path) -> Path:
    """A store with rows on many pages, closed."""
    store = Store(tmp_path / "state.db")
    store.insert("projects", id="p", common_dir="/r/.git", main="/r")
    with store.transaction():
        for number in range(COUNT):
            store.insert("worktrees", **worktree(number))
    store.leases("worktree:p/test-unit-1").record(Lease(LeaseKind.PORTS, "1:8001", {"name": "app", "port": 8001}))
    store.leases("command:m").record(Lease(LeaseKind.TRASH, "/t"))
    store.close()
    return tmp_path / "state.db"


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(statement)


def overwrite(path: Path, start: int, end: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(os.urandom(end - start))


def damage_header(path: Path) -> int:
    overwrite(path, 0, 60)
    return 0


def damage_pages(path: Path) -> int:
    size = path.stat().st_size // 4096
    overwrite(path, size // 2 * 4096, size // 2 * 4096 + 8192)
    return COUNT // 2


def damage_first_page(path: Path) -> int:
    overwrite(path, 100, 4096)
    return 0


def drop_table(path: Path) -> int:
    change(path, "DROP TABLE runs")
    return COUNT


def drop_worktrees(path: Path) -> int:
    change(path, "DROP TABLE worktrees")
    return 0


def cut(path: Path) -> int:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096 + 100)
    return 0


def empty(path: Path) -> int:
    os.truncate(path, 0)
    path.with_name("holders.lock").touch()
    return 0


def be_a_directory(path: Path) -> int:
    path.unlink()
    path.mkdir()
    (path / "mine").write_text("a file of the user's")
    return 0


def be_a_pipe(path: Path) -> int:
    path.unlink()
    os.mkfifo(path)
    return 0


def be_text(path: Path) -> int:
    path.write_text("not a database, and long enough to be read as one " * 40)
    return 0


def break_json(path: Path) -> int:
    change(path, "UPDATE worktrees SET ports = '{' WHERE id = 'test-unit-7'")
    return COUNT


def break_status(path: Path) -> int:
    change(path, "UPDATE worktrees SET status = 'dancing', holder = 'm' WHERE id = 'test-unit-7'")
    return COUNT


def break_time(path: Path) -> int:
    change(path, "UPDATE worktrees SET created = 'yesterday' WHERE id = 'test-unit-7'")
    return COUNT


def break_lease(path: Path) -> int:
    change(path, "UPDATE leases SET data = 'null'")
    return COUNT


DAMAGES = [
    damage_header, damage_pages, damage_first_page, drop_table, drop_worktrees, cut, empty, be_a_directory, be_a_pipe,
    be_text, break_json, break_status, break_time, break_lease,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_a_damaged_store_is_moved_aside_and_what_can_be_read_stays(path, damage):
    least = damage(path)
    told: list[str] = []
    with closing(Store(path, told.append)) as store:
        rows = store.rows("SELECT * FROM worktrees")
        assert len(rows) >= least
        assert all(row["status"] == "ready" and isinstance(row["ports"], dict) for row in rows)
        store.insert("worktrees", **worktree(1000))
        store.leases("a").record(Lease(LeaseKind.DIRECTORY, "/x"))
    (text,) = told
    (folder,) = path.parent.glob("damaged-*")
    assert "damaged" in text
    assert str(folder) in text
    assert os.path.lexists(folder / path.name)
    with closing(Store(path, told.append)) as store:  # the next one is sound
        assert store.one("SELECT * FROM worktrees WHERE id = 'test-unit-1000'")
    assert len(told) == 1


def test_a_row_that_makes_no_sense_becomes_one_that_deletes_nothing(path):
    break_json(path)
    break_status(path)
    break_lease(path)
    with closing(Store(path)) as store:
        row = store.one("SELECT * FROM worktrees WHERE id = 'test-unit-7'")
        assert row is not None
        assert (row["status"], row["holder"], row["ports"]) == ("ready", None, {})
        assert "damaged" in row["note"]
        assert store.one("SELECT count(*) AS n FROM worktrees WHERE note != ''") == {"n": 1}
        assert store.leases("command:m").all() == (Lease(LeaseKind.TRASH, "/t"),)
        assert store.leases("worktree:p/test-unit-1").all()[0].data["port"] == 8001


def test_damage_that_is_met_on_the_way(path):
    told: list[str] = []
    with closing(Store(path, told.append)) as store:
        change(path, "UPDATE worktrees SET plan = '[' WHERE id = 'test-unit-7'")
        assert len(store.rows("SELECT * FROM worktrees")) == COUNT
        assert len(told) == 1
        change(path, "DROP TABLE durations")
        with pytest.raises(StoreError, match="replaced") as caught:
            store.delete("durations", project="p")
        assert caught.value.code == "store-damaged"
        store.delete("durations", project="p")
    assert len(told) == 2


def test_one_that_has_the_old_store_open_goes_on_with_the_new_one(path):
    with closing(Store(path)) as old:
        old.leases("a").record(Lease(LeaseKind.DIRECTORY, "/before"))
        change(path, "UPDATE worktrees SET ports = '{' WHERE id = 'test-unit-7'")
        with closing(Store(path)) as new:
            new.leases("b").record(Lease(LeaseKind.DIRECTORY, "/new"))
            with pytest.raises(PreconditionError, match="/new"):
                old.leases("a").record(Lease(LeaseKind.DIRECTORY, "/new"))
            old.leases("a").record(Lease(LeaseKind.DIRECTORY, "/after"))
            assert [lease.key for lease in new.leases("a").all()] == ["/before", "/after"]


def test_one_that_ends_with_the_old_store_open_takes_nothing_of_the_new_one(path):
    old = sqlite3.connect(path, isolation_level=None)  # as a version that does not look which file it is
    old.execute("INSERT INTO durations VALUES ('p', 'c', 1, 1)")
    change(path, "UPDATE worktrees SET ports = '{' WHERE id = 'test-unit-7'")
    with closing(Store(path)) as new:
        new.leases("b").record(Lease(LeaseKind.DIRECTORY, "/new"))
        old.execute("INSERT INTO durations VALUES ('p', 'd', 1, 1)")
        old.close()
        new.leases("b").record(Lease(LeaseKind.DIRECTORY, "/newer"))
        with closing(Store(path)) as third:
            assert len(third.leases("b").all()) == 2
            assert third.one("SELECT count(*) AS n FROM durations") == {"n": 1}


def test_sixteen_processes_find_the_damage_at_once(path):
    damage_header(path)
    code = f"{OPEN}; store.insert('durations', project='p', cell=sys.argv[2], seconds=1, ended=1)"
    started = [
        subprocess.Popen([sys.executable, "-c", code, path, str(number)], stderr=subprocess.PIPE, text=True)
        for number in range(16)
    ]
    errors = [process.communicate()[1] for process in started]
    assert not any(process.returncode for process in started), errors
    assert len(list(path.parent.glob("damaged-*"))) == 1
    with closing(Store(path)) as store:
        assert store.one("SELECT count(*) AS n FROM durations") == {"n": 16}


@pytest.mark.parametrize("step", ["rename", "mkdir", "unlink"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_kill_while_the_store_is_replaced_loses_nothing(path, step, nth, monkeypatch):
    break_json(path)
    real, calls = getattr(Path, step), [0]

    def dying(self: Path, *words: object, **options: object) -> object:
        if self.parent == path.parent:
            calls[0] += 1
            if calls[0] == nth:
                raise KeyboardInterrupt
        return real(self, *words, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, dying)
        with suppress(KeyboardInterrupt):
            Store(path).close()
    with closing(Store(path)) as store:
        assert len(store.rows("SELECT * FROM worktrees")) == COUNT


@pytest.mark.parametrize("room", [0, 4096, 20000, 60000])
def test_a_full_disk_while_committing_is_said_and_breaks_nothing(path, room):
    """The limit on a file's size stands for the disk: SQLite gets an error in the middle of what it writes."""
    limited = f"""{OPEN}
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = Path(sys.argv[1] + "-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + {room}, -1))
from testgrove.errors import TestgroveError
failed = 0
for number in range(40):
    try:
        with store.transaction() as db:
            db.execute("UPDATE worktrees SET manifest = ? WHERE id = ?", ("y" * 3000, f"test-unit-{{number}}"))
    except TestgroveError as error:
        assert error.code in ("store-unusable", "disk-full"), error.code
        failed += 1
assert failed
store.rows("SELECT * FROM worktrees")
"""
    done = subprocess.run([sys.executable, "-c", limited, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with closing(Store(path)) as store:
        rows = store.rows("SELECT * FROM worktrees")
        assert len(rows) == COUNT
        assert {row["manifest"][0] + str(len(row["manifest"])) for row in rows} <= {"x1000", "y3000"}
    assert not list(path.parent.glob("damaged-*"))


def test_a_full_disk_names_itself(path):
    with closing(Store(path)) as store:
        pages = store.one("PRAGMA page_count")
        assert pages is not None
        store.rows(f"PRAGMA max_page_count = {pages['page_count']}")
        with pytest.raises(ExhaustedError, match="no disk space"), store.transaction() as db:
            db.execute("UPDATE worktrees SET manifest = ?", ("y" * 100000,))
        assert len(store.rows("SELECT * FROM worktrees WHERE length(manifest) = 1000")) == COUNT


@pytest.mark.parametrize("rest", [0, 31, 100, 5000])
def test_a_log_that_was_cut_short_is_no_damage(path, rest):
    """What was not checkpointed is lost then, as after a loss of power; what was is there."""
    with closing(Store(path)) as store:
        store.leases("a").record(Lease(LeaseKind.DIRECTORY, "/x"))
        copies = {name: path.with_name(name).read_bytes() for name in (path.name, f"{path.name}-wal")}
    for name, content in copies.items():
        path.with_name(name).write_bytes(content if name == path.name else content[:rest])
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    told: list[str] = []
    with closing(Store(path, told.append)) as store:
        assert len(store.rows("SELECT * FROM worktrees")) == COUNT
    assert told == []


def test_a_lease_of_a_kind_that_a_newer_version_made_is_kept(path):
    change(path, "INSERT INTO leases (owner, kind, key, data) VALUES ('n', 'volcano', 'k', '{}')")
    told: list[str] = []
    with closing(Store(path, told.append)) as store:
        with pytest.raises(PreconditionError, match="volcano"):
            store.leases("n").all()
        assert store.one("SELECT count(*) AS n FROM leases WHERE owner = 'n'") == {"n": 1}
    assert told == []
