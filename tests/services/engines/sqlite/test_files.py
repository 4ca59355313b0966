import os
import sqlite3
import time
from contextlib import closing

import pytest

from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.errors import UnavailableError
from testgrove.services.engines.sqlite import files
from testgrove.services.engines.sqlite.files import SqliteTemplates
from testgrove.system.locks import LockFile


@pytest.fixture
def templates(tmp_path):
    """Makes the templates of one command, in one place for all."""
    return lambda **options: SqliteTemplates(tmp_path / "kept", LockFile(tmp_path / "locks"), **options)


class Build:
    """A migration that counts how often it ran."""

    def __init__(self):
        self.runs = 0

    def __call__(self, access):
        self.runs += 1
        with closing(sqlite3.connect(access.name)) as database:
            database.execute("CREATE TABLE things (name text)")
            database.commit()


def test_a_fresh_one_builds_anew_once_and_replaces_what_was_there(templates, tmp_path):
    build = Build()
    templates().copy_to(tmp_path / "a", "1" * 32, build)
    fresh = templates(fresh=True)
    fresh.copy_to(tmp_path / "b", "1" * 32, build)
    fresh.copy_to(tmp_path / "c", "1" * 32, build)
    assert build.runs == 2
    templates().copy_to(tmp_path / "d", "1" * 32, build)
    assert build.runs == 2
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_files_that_are_old_or_too_many_are_removed(templates, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_TEMPLATES", 3)
    templates().copy_to(tmp_path / "a", "1" * 32, Build())
    old, young = tmp_path / "kept/old.sqlite3", tmp_path / "kept/young.sqlite3"
    for path, days in ((old, 31), (young, 29)):
        path.touch()
        os.utime(path, (time.time() - days * 86400,) * 2)
    templates().copy_to(tmp_path / "b", "2" * 32, Build())
    kept = {path.name for path in (tmp_path / "kept").glob("*.sqlite3")}
    assert kept == {f"{'1' * 32}.sqlite3", f"{'2' * 32}.sqlite3", "young.sqlite3"}
    templates().copy_to(tmp_path / "c", "3" * 32, Build())
    assert {path.name for path in (tmp_path / "kept").glob("*.sqlite3")} == {f"{n * 32}.sqlite3" for n in "123"}


def test_a_database_that_somebody_has_locked_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LOCKED", 0.1)
    Build()(DatabaseAccess("sqlite", str(tmp_path / "a"), "", 0, "", Secret("")))
    with closing(sqlite3.connect(tmp_path / "a")) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError, match="holds a write lock"):
            files.copy_whole(tmp_path / "a", tmp_path / "b")
        writer.rollback()
        files.copy_whole(tmp_path / "a", tmp_path / "b")
