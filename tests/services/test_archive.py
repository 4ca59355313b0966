"""Archives of data directories: what comes out is what went in, and tar reads them."""

import subprocess
import tarfile

import pytest

from testgrove.services.archive import pack, read_manifest, unpack

LONG = f"{'f' * 90}/{'n' * 90}"
FILES = {"PG_VERSION": b"18\n", "base/1/1255": b"x" * 700, "base/5/1255": b"x" * 700, "empty": b"", LONG: b"long"}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "data/pg_wal").mkdir()
    return tmp_path / "data"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_packed_is_unpacked_in_two_parts(folder, tmp_path):
    pack(folder, tmp_path / "one.tar", {"database": "x"}, last=("base/1", "base/5"))
    assert (tmp_path / "one.tar").stat().st_mode & 0o777 == 0o600
    manifest = read_manifest(tmp_path / "one.tar")
    assert manifest == {"database": "x", "last": ["base/1", "base/5"]}
    rest = unpack(tmp_path / "one.tar", tmp_path / "copy", None, last=tuple(manifest["last"]))
    assert not (tmp_path / "copy/base/1").exists()
    assert (tmp_path / "copy/pg_wal").is_dir()
    rest()
    assert contents(tmp_path / "copy") == FILES


def test_tar_reads_it_and_each_content_is_in_it_once(folder, tmp_path):
    pack(folder, tmp_path / "one.tar", {})
    (tmp_path / "copy").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "one.tar", "-C", tmp_path / "copy"], check=True)
    with tarfile.open(tmp_path / "one.tar") as tar:
        links = [(member.name, member.linkname) for member in tar if member.islnk()]
    assert {name: content for name, content in contents(tmp_path / "copy").items() if name != "testgrove.json"} == FILES
    assert links == [("base/5/1255", "base/1/1255")]


def test_a_damaged_one_has_no_manifest(folder, tmp_path):
    pack(folder, tmp_path / "one.tar", {})
    whole = (tmp_path / "one.tar").read_bytes()
    for place in (600, len(whole) // 2):
        (tmp_path / "one.tar").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_manifest(tmp_path / "one.tar") is None


def test_a_name_that_does_not_fit_is_refused(folder, tmp_path):
    (folder / ("n" * 101)).touch()
    with pytest.raises(ValueError, match="too long"):
        pack(folder, tmp_path / "one.tar", {})
