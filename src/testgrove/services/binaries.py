"""Search for server programs of any engine: PATH, wheels and versions."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EMBEDDED = "pip install 'testgrove[embedded]'"


def package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name) if name else None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def on_path(names: Sequence[str], path: str | None) -> list[Path]:
    """Return the folders of the programs in a PATH, with links resolved."""
    folders = (os.environ.get("PATH", "") if path is None else path).split(os.pathsep)
    files = [Path(folder, name) for folder in folders if folder for name in names]
    return [file.resolve().parent for file in files if is_program(file)]


def is_program(file: Path) -> bool:
    # In this order: is_file() raises for files in a folder without permission, such as another user's on PATH.
    return os.access(file, os.X_OK) and file.is_file()


def unique(folders: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def asked_version(version: str, *, minimum: int) -> tuple[int, ...]:
    if not version:
        return ()
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        raise UsageError("invalid-version", f"invalid server version '{version}': expected one like '16' or '16.4'")
    asked = numbers(version)
    if asked[0] < minimum:
        raise UsageError("invalid-version", f"unsupported version {version}: the oldest supported version is {minimum}")
    return asked


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def matches(version: str, asked: tuple[int, ...]) -> bool:
    return numbers(version)[: len(asked)] == asked
