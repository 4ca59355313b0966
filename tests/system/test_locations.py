"""Where testgrove keeps its things."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from testgrove.errors import PreconditionError
from testgrove.system.locations import locate

MEMORY = Path("/dev/shm")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def environ(short_tmp: Path) -> Iterator[dict[str, str]]:
    names = {"STATE": "state", "CACHE": "cache", "SCRATCH": f"{short_tmp.name}-s"}
    yield {f"TESTGROVE_{name}_DIR": str(short_tmp / folder) for name, folder in names.items()}
    with suppress(FileNotFoundError):
        (MEMORY / names["SCRATCH"]).rmdir()


def test_each_folder_is_the_users_alone(environ: dict[str, str], short_tmp: Path) -> None:
    found = locate(environ)
    assert [found.state, found.cache, found.scratch] == [Path(folder) for folder in environ.values()]
    folders = {found.state, found.cache, found.scratch, found.memory}
    assert {oct(folder.stat().st_mode & 0o777) for folder in folders} == {"0o700"}
    assert found.store.parent == found.locks.parent == found.state


@as_root
def test_a_name_in_memory_that_another_user_has_is_done_without(environ: dict[str, str]) -> None:
    theirs = MEMORY / Path(environ["TESTGROVE_SCRATCH_DIR"]).name
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    found = locate(environ)
    assert found.memory == found.scratch


@pytest.mark.parametrize("what", ["a file", "a link", "somebody else's"])
def test_what_is_no_folder_of_ours_is_refused(environ: dict[str, str], short_tmp: Path, what: str) -> None:
    place = short_tmp / "state"
    if what == "a file":
        place.touch()
    elif what == "a link":
        (short_tmp / "elsewhere").mkdir()
        place.symlink_to(short_tmp / "elsewhere")
    elif os.geteuid() == 0:
        place.mkdir()
        os.chown(place, 65534, 65534)
    else:
        environ["TESTGROVE_STATE_DIR"] = "/usr"
    with pytest.raises(PreconditionError) as caught:
        locate(environ)
    assert caught.value.code == "folder-unusable"
    assert caught.value.hint


def test_programs_for_other_users_lie_where_they_can_pass(environ: dict[str, str], short_tmp: Path) -> None:
    found = locate(environ)
    assert found.binaries == found.cache / "binaries"
    short_tmp.chmod(0o700)
    assert found.binaries == Path(f"/var/tmp/testgrove-{os.getuid()}-binaries")
