"""A data directory as one file: an uncompressed tar whose last member is a manifest with a checksum.

An archive is complete or absent: the manifest is written last, and the file gets its name after that. It is read
without tarfile because every run reads one: tarfile takes 60 ms for a thousand files, this takes 20.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import tarfile
import zlib
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_BLOCK = 512
_MANIFEST = "testgrove.json"


def pack(folder: Path, target: Path, manifest: dict[str, Any], *, last: tuple[str, ...] = ()) -> None:
    """Write folder (files and folders only) and manifest to target, which its user alone can read.

    last: folders in it whose members come at the end. A file that is like an earlier one is stored as a link to
    it.
    """
    target.touch(mode=0o600, exist_ok=False)
    seen: dict[bytes, str] = {}
    with target.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
        for name in sorted(names, key=lambda name: (_is_in(name, last), name)):
            _add(tar, folder / name, name, seen)
        file.flush()
        text = json.dumps(manifest | {"last": last, "checksum": zlib.crc32(_map(target))}).encode()
        member = tarfile.TarInfo(_MANIFEST)
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))


def _add(tar: tarfile.TarFile, path: Path, name: str, seen: dict[bytes, str]) -> None:
    if path.is_dir():
        tar.add(path, name, recursive=False)
        return
    content = path.read_bytes()
    member = tarfile.TarInfo(name)
    first = seen.setdefault(hashlib.blake2b(content).digest(), name)
    if first != name:
        member.type, member.linkname = tarfile.LNKTYPE, first
        tar.addfile(member)
        return
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a whole archive; None when there is none, or it is cut short or damaged."""
    try:
        mapped = _map(path)
        view = memoryview(mapped)
        header = mapped.rfind(_MANIFEST.encode())  # no other member comes after it
        name, _, start, size = next(_members(view[header:]))
        manifest: dict[str, Any] = json.loads(bytes(view[header + start : header + start + size]))
        whole = name == _MANIFEST and manifest.pop("checksum") == zlib.crc32(view[:header])
    except (OSError, ValueError, LookupError, StopIteration):
        return None
    return manifest if whole else None


def unpack(
    path: Path, folder: Path, owner: tuple[int, int] | None, *, last: tuple[str, ...] = ()
) -> Callable[[], None]:
    """Unpack an archive whose manifest has been read into a new folder, up to the members that were packed last.

    owner: whose everything becomes. Returns what unpacks the rest.
    """
    view = memoryview(_map(path))
    members = _members(view)
    where: dict[str, tuple[int, int]] = {}

    def unpack_one(name: str, link: str | None, start: int, size: int) -> None:
        start, size = where[link] if link else (start, size)
        where[name] = (start, size)
        target = f"{folder}/{name}"
        if link == "":
            os.mkdir(target, 0o700)  # noqa: PTH102 - a Path for each of a thousand files costs 5 ms
            _own(target, owner)
        else:
            _write(target, view[start : start + size], owner)

    def rest() -> None:
        for member in chain(held, members):
            if member[0] != _MANIFEST:
                unpack_one(*member)

    folder.mkdir(mode=0o700)
    _own(folder, owner)
    held = []
    for member in members:
        if member[0] == _MANIFEST or _is_in(member[0], last):
            held.append(member)
            break
        unpack_one(*member)
    return rest


def _own(path: Path | str | int, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        os.chown(path, *owner)


def _is_in(name: str, folders: tuple[str, ...]) -> bool:
    return name.startswith(tuple(f"{folder}/" for folder in folders)) or name in folders


def _write(target: str, data: memoryview, owner: tuple[int, int] | None) -> None:
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(file, data) :]
        _own(file, owner)
    finally:
        os.close(file)


def _members(view: memoryview) -> Iterator[tuple[str, str | None, int, int]]:
    """Name, the name it is a link to ("" for a folder, None for a file), where its content starts, its length.

    Raises ValueError or LookupError when the archive is damaged.
    """
    at = 0
    while view[at]:
        header = bytes(view[at : at + _BLOCK])
        name, kind, size = _text(header[:100]), header[156:157], int(header[124:135], 8)
        if header[345]:
            name = f"{_text(header[345:500])}/{name}"
        if size < 0:
            raise ValueError(f"a member of {size} bytes")
        at += _BLOCK
        link = "" if kind == b"5" else _text(header[157:257]) if kind == b"1" else None
        yield name.rstrip("/"), link, at, size
        at += -(-size // _BLOCK) * _BLOCK


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode()


def _map(path: Path) -> mmap.mmap:
    """A file's bytes. Raises ValueError for an empty file."""
    # The map is closed with its last slice; close() fails while a traceback still holds one.
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
