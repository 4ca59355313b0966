"""Files: atomic writes, manifests, the trash, deletion, free space, outputs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testgrove.core.worktrees.ownership import classify
from testgrove.errors import ExhaustedError, PreconditionError, TestgroveError, UnavailableError
from testgrove.system import deletion, files, outputs

ROOT = os.geteuid() == 0


@pytest.fixture
def tiny() -> Iterator[Path]:
    """A file system of 1 MB."""
    place = Path(tempfile.mkdtemp(prefix="testgrove-tiny-"))
    if not ROOT or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=False).returncode:
        place.rmdir()
        pytest.skip("cannot mount a small file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)
    place.rmdir()


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


# errors


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [(errno.ENOSPC, ExhaustedError, "disk-full"), (errno.EDQUOT, ExhaustedError, "disk-full"),
     (errno.EACCES, PreconditionError, "not-permitted"), (errno.EROFS, PreconditionError, "read-only"),
     (errno.ENOTDIR, PreconditionError, "path-unusable"), (errno.EIO, UnavailableError, "file-system")],
)  # fmt: skip
def test_an_os_error_becomes_an_expected_one(number: int, kind: type[TestgroveError], code: str) -> None:
    with pytest.raises(kind) as caught, files.explained("write the file", "/a/b"):
        raise OSError(number, os.strerror(number), "/a/b")
    assert caught.value.code == code
    assert caught.value.message == f"cannot write the file /a/b: {os.strerror(number).lower()}"
    assert caught.value.hint


def test_an_expected_error_passes_unchanged() -> None:
    with pytest.raises(PreconditionError, match="mine"), files.explained("do", "/a"):
        raise PreconditionError("x", "mine")


# atomic writes


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    files.atomic_write(path, "[]")
    stop, bad = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                json.loads(path.read_text())
            except ValueError as error:
                bad.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(100):
        files.atomic_write(path, json.dumps(list(range(n * 50))))
    stop.set()
    reader.join()
    assert not bad
    assert names_in(tmp_path) == ["data.json"]


def test_the_mode_is_exact_and_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("keep")
    (tmp_path / "link").symlink_to(target)
    old = os.umask(0o077)
    try:
        files.atomic_write(tmp_path / "link", b"new", 0o644)
        files.atomic_write(tmp_path / "secret", "x", 0o600)
    finally:
        os.umask(old)
    assert target.read_text() == "keep"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(PreconditionError):
        files.atomic_write(tmp_path / "folder", "x")
    with pytest.raises(PreconditionError):
        files.atomic_write(tmp_path / "missing" / "x", "x")
    (tiny / "kept").write_text("old")
    with pytest.raises(ExhaustedError) as caught:
        files.atomic_write(tiny / "kept", b"x" * 2_000_000)
    assert caught.value.code == "disk-full"
    assert names_in(tmp_path) == ["folder"]
    assert names_in(tiny) == ["kept"]
    assert (tiny / "kept").read_text() == "old"


# manifests


def test_a_manifest_tells_what_was_touched(tmp_path: Path) -> None:
    names = ["a", "sub/b", "new\nline", b"\xff".decode(errors="surrogateescape")]
    (tmp_path / "sub").mkdir()
    for name in names:
        (tmp_path / name).write_text("1")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "nest" / ".git").mkdir(parents=True)
    (tmp_path / "nest" / "file").write_text("1")
    names += ["link", "nest/", "deleted"]
    files.save_manifest(tmp_path / "manifest", files.take_manifest(tmp_path, names))
    manifest = files.load_manifest(tmp_path / "manifest")
    assert manifest is not None
    assert all(manifest.holds(entry) for entry in files.entries(tmp_path, names))
    (tmp_path / "a").write_text("2")
    (tmp_path / "sub/b").unlink()
    (tmp_path / "sub/b").write_text("1")
    (tmp_path / "nest" / ".git" / "COMMIT_EDITMSG").write_text("mine")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "deleted").write_text("")
    touched = {entry.path for entry in files.entries(tmp_path, names) if not manifest.holds(entry)}
    assert touched == {"a", "sub/b", "nest/", "link", "deleted"}
    assert {path for path, _ in classify(files.entries(tmp_path, names), manifest=manifest).theirs} == touched


def test_a_manifest_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    assert files.load_manifest(tmp_path / "missing") is None
    (tmp_path / "broken").write_bytes(b"\xff{")
    assert files.load_manifest(tmp_path / "broken") is None


# the trash


def test_the_trash_takes_equal_names_and_read_only_folders(tmp_path: Path) -> None:
    trash = tmp_path / "trash"
    places = set()
    for _ in range(3):
        (tmp_path / "x" / "in").mkdir(parents=True)
        (tmp_path / "x").chmod(0o555)
        places.add(deletion.move_to_trash(tmp_path / "x", trash))
        assert not (tmp_path / "x").exists()
    assert {place.parent for place in places} == {trash}
    assert len(places) == 3
    assert all((place / "in").is_dir() for place in places)
    place = deletion.trash_location(tmp_path / "y", trash)
    (tmp_path / "y").mkdir()
    assert deletion.move_to_trash(tmp_path / "y", trash, location=place) == place


def test_the_trash_refuses_what_is_missing_or_elsewhere(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(PreconditionError):
        deletion.move_to_trash(tmp_path / "missing", tmp_path / "trash")
    (tmp_path / "x").mkdir()
    with pytest.raises(PreconditionError) as caught:
        deletion.move_to_trash(tmp_path / "x", tiny / "trash")
    assert caught.value.code == "trash-elsewhere"
    assert (tmp_path / "x").exists()


# deletion


def test_a_tree_is_deleted_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep")
    tree = tmp_path / "trash" / "tree"
    (tree / "locked" / "in" / "deeper").mkdir(parents=True)
    (tree / "locked" / "in" / "file").write_text("")
    (tree / "to-folder").symlink_to(tmp_path / "precious")
    (tree / "to-file").symlink_to(tmp_path / "precious" / "file")
    (tree / "loop").symlink_to(tree)
    os.mkfifo(tree / "fifo")
    (tree / b"\xff\n".decode(errors="surrogateescape")).write_text("")
    for mode, name in ((0o000, "locked/in/deeper"), (0o555, "locked/in"), (0o000, "locked")):
        (tree / name).chmod(mode)
    deletion.delete_tree(tree, within=tmp_path / "trash")
    assert not tree.exists()
    assert (tmp_path / "precious" / "file").read_text() == "keep"
    deletion.delete_tree(tree, within=tmp_path / "trash")
    (tmp_path / "trash" / "link").symlink_to(tmp_path / "precious")
    deletion.delete_tree(tmp_path / "trash" / "link", within=tmp_path / "trash")
    assert (tmp_path / "precious" / "file").exists()
    assert names_in(tmp_path / "trash") == []


def test_a_tree_deeper_than_a_path_can_be_is_deleted(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    folder = os.open(tree, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep-folder", dir_fd=folder)
        inner = os.open("deep-folder", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    deletion.delete_tree(tree, within=tmp_path)
    assert names_in(tmp_path) == []


def test_files_that_appear_meanwhile_are_deleted_too(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for n in range(30):
        (tree / f"d{n}").mkdir(parents=True)
    until = time.monotonic() + 0.5

    def write() -> None:
        n = 0
        while time.monotonic() < until:
            n += 1
            try:
                (tree / f"d{n % 30}" / f"f{n}").write_text("")
            except OSError:
                continue

    writer = threading.Thread(target=write)
    writer.start()
    deletion.delete_tree(tree, within=tmp_path)
    writer.join()
    assert not tree.exists()


@pytest.mark.parametrize(
    "bad",
    [lambda t: t / "outside", lambda t: t / "trash", lambda t: t / "trash" / ".." / "outside", lambda t: Path("/"),
     lambda t: t / "trash" / "link" / "in", lambda t: Path("outside"), lambda t: t / "trash" / ".."],
)  # fmt: skip
def test_what_is_not_in_the_folder_for_it_is_refused(tmp_path: Path, bad: Callable[[Path], Path]) -> None:
    (tmp_path / "trash").mkdir()
    (tmp_path / "outside" / "in").mkdir(parents=True)
    (tmp_path / "trash" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(PreconditionError) as caught:
        deletion.delete_tree(bad(tmp_path), within=tmp_path / "trash")
    assert caught.value.code == "outside"
    assert (tmp_path / "outside" / "in").exists()


@pytest.mark.parametrize("path", ["/", "/usr", "/home", str(Path.home())])
def test_a_folder_of_the_system_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "_Deletion", None)  # should the check fail, nothing happens
    with pytest.raises(PreconditionError) as caught:
        deletion.delete_tree(Path(path))
    assert caught.value.code == "outside"


# free space


def test_free_space_is_that_of_the_nearest_folder_there_is(tmp_path: Path, tiny: Path) -> None:
    assert 0 < files.free_bytes(tiny / "not" / "yet") <= 1 << 20
    files.require_free(tiny, 1000)
    with pytest.raises(ExhaustedError) as caught:
        files.require_free(tiny, 10_000_000)
    assert caught.value.code == "disk-full"
    assert "10 MB" in caught.value.message
    assert files.free_bytes(tmp_path / "x" / "y") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)


# outputs


def test_outputs_are_moved_and_none_is_overwritten(tmp_path: Path) -> None:
    tree, kept = tmp_path / "tree", tmp_path / "artifacts" / "id"
    for turn in range(3):
        (tree / "htmlcov").mkdir(parents=True, exist_ok=True)
        for name in ("junit.xml", "htmlcov/index.html", ".coverage"):
            (tree / name).write_text(str(turn))
        (tree / "logs").symlink_to("elsewhere")
        moved = outputs.collect(["junit.xml", "htmlcov/index.html", ".coverage", "logs", "gone"], tree, kept)
        assert len(moved) == 4
    assert [(kept / n).read_text() for n in ("junit.xml", "junit.1.xml", "junit.2.xml")] == ["0", "1", "2"]
    assert [(kept / n).read_text() for n in (".coverage", ".coverage.1", "htmlcov/index.2.html")] == ["0", "1", "2"]
    assert (kept / "logs").is_symlink()
    assert [p for p in tree.rglob("*") if not p.is_dir()] == []


def test_outputs_move_to_another_file_system(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "junit.xml").write_text("x")
    (tmp_path / "junit-link.xml").symlink_to("junit.xml")
    outputs.collect(["junit.xml", "junit-link.xml"], tmp_path, tiny / "id")
    assert (tiny / "id" / "junit.xml").read_text() == "x"
    assert (tiny / "id" / "junit-link.xml").is_symlink()
    assert names_in(tmp_path) == []


def test_an_output_that_cannot_be_kept_stays(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "big.log").write_bytes(b"x" * 2_000_000)
    with pytest.raises(ExhaustedError):
        outputs.collect(["big.log"], tmp_path, tiny / "id")
    assert (tmp_path / "big.log").stat().st_size == 2_000_000
    assert names_in(tiny / "id") == []


# as an ordinary user

SCRIPT = """
import os, sys
from pathlib import Path
from testgrove.errors import TestgroveError
from testgrove.system import deletion, files, outputs

if os.geteuid() == 0:  # only now: an ordinary user may not be able to read this interpreter
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
base = Path(sys.argv[1])

def code(call):
    try:
        call()
    except TestgroveError as error:
        return error.code

tree = base / "tree"
(tree / "a" / "b").mkdir(parents=True)
(tree / "a" / "b" / "file").write_text("")
for path in (tree / "a" / "b", tree / "a", tree):
    path.chmod(0)
place = deletion.move_to_trash(tree, base / "trash")
deletion.delete_tree(place, within=base / "trash")
assert not place.exists()
(base / "locked").mkdir(mode=0o555)
assert code(lambda: files.atomic_write(base / "locked" / "x", "x")) == "not-permitted"
if not os.access(base / "roots", os.W_OK):
    assert code(lambda: deletion.delete_tree(base / "roots", within=base)) == "undeletable"
print("done")
"""


def test_read_only_trees_are_deleted_by_an_ordinary_user() -> None:
    base = Path(tempfile.mkdtemp(prefix="testgrove-user-"))
    try:
        (base / "roots" / "sub").mkdir(parents=True)
        (base / "roots" / "sub" / "file").write_text("")
        if ROOT:
            os.chown(base, 65534, 65534)
        words = [sys.executable, "-c", SCRIPT, str(base)]
        done = subprocess.run(words, cwd="/", capture_output=True, text=True, check=False)
        assert done.stdout == "done\n", done.stderr
    finally:
        shutil.rmtree(base)
