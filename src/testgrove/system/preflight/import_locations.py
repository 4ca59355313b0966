"""The location of a resolved file, what put it on the path, and the installation that it belongs to."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind = Literal["tree", "build", "environment", "foreign", "outside"]
_BUILDS = lazy_pattern(r"(build/lib[^/]*|.*\b(site|dist)-packages)/")


@frozen
class ImportLocation:
    """tree: this tree's files. build: an old build in it. environment: the worktree's own. foreign: another checkout of
    the repository, which is root. outside: anywhere else."""

    kind: Kind
    root: Path


class ImportLocations:
    """Finds the location of a path. Locations can be nested, like the environment in the tree: the innermost counts."""

    def __init__(self, tree: Path, environment: Path, foreign: Sequence[Path], *, start: Path) -> None:
        kinds: dict[Path, Kind] = {path.resolve(): "foreign" for path in foreign}
        kinds[tree.resolve()] = "tree"
        kinds[environment.resolve()] = "environment"
        self._kinds = kinds
        self._start = start

    def of(self, location: str) -> ImportLocation:
        """Return the location of a file or a folder; a relative one is in the folder that the suite starts in."""
        path = (self._start / location).resolve()
        for root in (path, *path.parents):
            kind = self._kinds.get(root)
            if kind == "tree" and _BUILDS.match(f"{path.relative_to(root).as_posix()}/"):
                return ImportLocation("build", root)
            if kind is not None:
                return ImportLocation(kind, root)
        return ImportLocation("outside", path)


@frozen
class Installation:
    """A distribution in an environment. source: what it was made from; None for a release from an index."""

    name: str
    version: str
    owns: tuple[str, ...]
    source: str | None
    editable: bool


def read_installations(distributions: Sequence[Mapping[str, Any]]) -> tuple[Installation, ...]:
    """The distributions that the probe has found."""
    return tuple(_installation(found) for found in distributions)


def _installation(found: Mapping[str, Any]) -> Installation:
    name, _, version = Path(found["info"]).stem.partition("-")
    source, editable = None, False
    try:
        direct: Any = json.loads(found["direct_url"] or "{}")
        url = urlsplit(str(direct.get("url", "")))
        source = unquote(url.path) if url.scheme == "file" else (url.geturl() or None)
        editable = bool(direct.get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError):
        pass  # violates the standard: treated as missing
    return Installation(name, version, tuple(found["owns"]), source, editable)


def normalised(name: str) -> str:
    """A distribution's or a module's name, so that both can be compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pythonpath_entry(location: str, tree: Path, env: Mapping[str, str]) -> str:
    """The entry of the suite's PYTHONPATH that leads to a location, or an empty string."""
    path = (tree / location).resolve()
    for entry in env.get("PYTHONPATH", "").split(os.pathsep):
        if entry and (tree / entry).resolve() in path.parents:
            return entry
    return ""


def pth_file(location: str, tree: Path, path: Sequence[str]) -> str:
    """The .pth file that leads to a location, or an empty string. path: the interpreter's sys.path."""
    parents = (tree / location).resolve().parents
    for folder in path:
        for file in sorted(Path(folder).glob("*.pth")) if "-packages" in folder else ():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(Path(line.strip()).resolve() in parents for line in lines if line.startswith("/")):
                return str(file)
    return ""
