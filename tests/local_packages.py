"""pytest for the environments of tests, from wheels with byte code: no index is asked, and nothing is compiled.

An environment with pytest costs a test a second of CPU, two thirds of it for the index and for compiling pytest. These
wheels are the distributions themselves, packed again with the byte code that this interpreter has of the same files.
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import importlib.util
import marshal
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from uv import find_uv_bin

from grove import new_base

_UNCHECKED = (1).to_bytes(4, "little")  # PEP 552: by its hash, and the source is not looked at
_OWN = Path(pytest.__file__).parents[1]
_SEEDS = ("pip", "setuptools", "wheel")  # of Pythons before 3.12


@cache
def settings(*packages: str) -> Mapping[str, str]:
    """The variables with which uv installs pytest and these packages, and seeds environments, from wheels of ours.

    The wheels are kept in the environment that runs the tests, beside the cache that uv fills from them.
    Empty where they cannot be had: then tests ask the index themselves.
    """
    place = _place()
    versions = sorted(f"{each.name} {each.version}" for each in distributions())
    key = hashlib.sha256(repr((sys.version, versions, packages)).encode()).hexdigest()[:16]
    if not (folder := place / key).is_dir():
        made = Path(tempfile.mkdtemp(dir=place))
        if _fill(made, packages):
            with suppress(OSError):  # another process was faster
                made.rename(folder)
        shutil.rmtree(made, ignore_errors=True)
    if not folder.is_dir():
        return {}
    return {"UV_FIND_LINKS": str(folder / "wheels"), "UV_NO_INDEX": "1", "UV_CACHE_DIR": str(folder / "cache")}


def _place() -> Path:
    """Where wheels are kept: on the file system of the groves, so that uv can link files."""
    kept, base = Path(sys.prefix, "testgrove-tests"), new_base()
    with suppress(OSError):
        kept.mkdir(exist_ok=True)
        if os.access(kept, os.W_OK) and kept.stat().st_dev == base.stat().st_dev:
            base.rmdir()
            return kept
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    return base


def _fill(folder: Path, packages: Sequence[str]) -> bool:
    """Install the packages into an environment, and make the wheels of it."""
    python = str(folder / "env/bin/python")
    for words in (
        ("venv", "--no-project", "--seed", "--python", sys.executable, str(folder / "env")),
        ("pip", "install", "--python", python, "pytest", *_SEEDS, *packages),
    ):
        if subprocess.run([find_uv_bin(), *words], capture_output=True, check=False).returncode:
            return False
    (site,) = (folder / "env/lib").glob("python*/site-packages")
    (folder / "wheels").mkdir()
    for info in site.glob("*.dist-info"):
        _pack(info, folder / "wheels")
    shutil.rmtree(folder / "env")
    return True


def _pack(info: Path, folder: Path) -> None:
    """Make a wheel of an installed distribution. info: its dist-info folder."""
    tag = next(line.split()[1] for line in (info / "WHEEL").read_text().splitlines() if line.startswith("Tag:"))
    record = []
    with zipfile.ZipFile(folder / f"{info.name.removesuffix('.dist-info')}-{tag}.whl", "w") as archive:
        for path, data in _files(info):
            archive.writestr(path, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(data)}")
        archive.writestr(f"{info.name}/RECORD", "\n".join([*record, f"{info.name}/RECORD,,", ""]))


def _files(info: Path) -> Iterator[tuple[str, bytes]]:
    for file in Distribution.at(info).files or ():
        name = file.as_posix()
        if name.startswith("..") or file.name in {"RECORD", "INSTALLER", "REQUESTED"} or file.suffix == ".pyc":
            continue
        source = (info.parent / name).read_bytes()
        yield name, source
        if file.suffix == ".py" and not info.name.startswith(_SEEDS) and (code := _byte_code(name, source)):
            yield Path(importlib.util.cache_from_source(name)).as_posix(), code


def _byte_code(name: str, source: bytes) -> bytes:
    """The byte code of a file, in a form that is valid in any environment; empty for what is no program."""
    own = _OWN / name
    compiled = Path(importlib.util.cache_from_source(str(own)))
    if own.is_file() and compiled.is_file() and own.read_bytes() == source:
        data = compiled.read_bytes()
        times = int(own.stat().st_mtime).to_bytes(4, "little") + len(source).to_bytes(4, "little")
        if data[:16] == importlib.util.MAGIC_NUMBER + bytes(4) + times:
            return _header(source) + data[16:]
    with suppress(SyntaxError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _header(source) + marshal.dumps(compile(source, name, "exec", dont_inherit=True))
    return b""


def _header(source: bytes) -> bytes:
    return importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(source)
