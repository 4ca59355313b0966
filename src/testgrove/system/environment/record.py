"""An environment's record: its state when it was made, and whether that still holds."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from testgrove.core.environments.declared import normal
from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testgrove.core.environments.plan import EnvironmentPlan

FOLDER = ".venv"
WORKTREE_MODULE = "testgrove_worktree"  # testgrove's own addition to an environment: see worktree_programs
# Everything that installing a pure editable distribution writes, except metadata: a .pth, a finder, scripts.
_POINTERS = lazy_pattern(r"[^/]+\.pth|[^/]*editable[^/]*\.py|(\.\./){3}bin/[^/]+|(.*/)?__pycache__/.*")


@frozen
class EnvironmentRecord:
    """An environment as it was built. Can be stored as JSON.

    python: its full version. interpreter: its base executable. prefix: its location. settings: its pyvenv.cfg.
    distributions: those built from the tree. editable: nothing was built into the tree (built: those files) or copied
    out of it, so the tree's code is what runs. seal: a signature of the installed packages. notes: for the user. deps:
    the name of the dependency set, empty for the project's default. version_source: identifies the commit and tags of
    a version from git; empty for other versions. products: a signature of the files that were built into the tree,
    where all else that is installed merely points there. made_from: a hash over all that can change them.
    """

    fingerprint: str
    tree_hash: str
    python: str
    interpreter: str
    prefix: str
    settings: str
    distributions: tuple[str, ...]
    editable: bool
    built: tuple[str, ...]
    seal: str
    notes: tuple[str, ...] = ()
    deps: str = ""
    version_source: str = ""
    products: str = ""
    made_from: str = ""

    def to_json(self) -> dict[str, Any]:
        """For json.dumps, and from_json()."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> EnvironmentRecord | None:
        """Parse a record; return None if it is invalid or of another version: then the environment is rebuilt."""
        if not isinstance(data, dict):
            return None
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        try:
            return cls(**values)
        except TypeError:
            return None


def check(tree: Path, plan: EnvironmentPlan, record: EnvironmentRecord, made_from: str = "") -> str | None:
    """Return None if the tree's environment can be used unchanged, else the reason to rebuild it.

    made_from: what products in the tree would be made from now. Takes a few ms and runs nothing.
    """
    return next(_problems(tree, plan, record, made_from), None)


def signature(tree: Path, built: Sequence[str]) -> str:
    """A signature of files in a tree as they are; empty where one is missing."""
    whole = hashlib.blake2b(digest_size=20)
    for path in built:
        try:
            status = os.lstat(tree / path)
        except OSError:
            return ""
        line = f"{path}\0{status.st_mode}\0{status.st_size}\0{status.st_mtime_ns}\0"
        whole.update(line.encode(errors="surrogateescape"))
    return whole.hexdigest()


def outdated(tree: Path, plan: EnvironmentPlan, record: EnvironmentRecord) -> str | None:
    """Return None if the environment of a user's worktree can stay unchanged, else the reason to rebuild it.

    Another environment with the same Python, or other packages, are the user's decision.
    """
    if not (tree / FOLDER / "pyvenv.cfg").is_file() or not os.access(tree / FOLDER / "bin/python", os.X_OK):
        return "it was missing"
    if record.fingerprint != plan.fingerprint:
        return "the dependencies, the interpreter or the settings have changed"
    if not record.editable and record.tree_hash != plan.tree_hash and is_as_made(tree, record):
        return "the project in it was built from another tree"
    return None


def is_as_made(tree: Path, record: EnvironmentRecord) -> bool:
    """Return whether the tree's environment is the one that the record is of; packages may have come and gone."""
    folder = tree / FOLDER
    return (
        record.prefix == os.path.realpath(folder)
        and os.access(folder / "bin/python", os.X_OK)
        and os.path.realpath(folder / "bin/python") == record.interpreter
        and _settings(tree) == record.settings
    )


def _problems(tree: Path, plan: EnvironmentPlan, record: EnvironmentRecord, made_from: str) -> Iterator[str]:
    """In this order: each question may be asked only where those before it found nothing."""
    folder = tree / FOLDER
    if folder.is_symlink() or not (folder / "pyvenv.cfg").is_file():
        yield "it is missing"
    if record.prefix != os.path.realpath(folder):
        yield f"it was created at {record.prefix}"
    if not os.access(folder / "bin/python", os.X_OK):
        yield f"its Python, {record.interpreter}, is missing"
    if os.path.realpath(folder / "bin/python") != record.interpreter or _settings(tree) != record.settings:
        yield "it was replaced by another one"
    if record.fingerprint != plan.fingerprint:
        yield "the dependencies, the interpreter or the settings have changed"
    if seal(tree) != record.seal:
        yield "its packages were changed"
    if any(not os.path.lexists(tree / path) for path in record.built):
        yield "files that were built in the tree are missing"
    if record.products and signature(tree, record.built) != record.products:
        yield "files that were built in the tree were changed"
    kept = bool(record.products) and record.made_from == made_from
    if not record.editable and not kept and record.tree_hash != plan.tree_hash:
        yield "the project in it was built from another tree"


def observe(tree: Path, plan: EnvironmentPlan, notes: tuple[str, ...]) -> EnvironmentRecord:
    """The record of an environment that has just been made."""
    local = list(local_distributions(tree))
    built = tuple(sorted(_written(tree))) if local else ()
    points = all(each.points for each in local)
    return EnvironmentRecord(
        fingerprint=plan.fingerprint,
        tree_hash=plan.tree_hash,
        python=plan.python_version,
        interpreter=os.path.realpath(tree / FOLDER / "bin/python"),
        prefix=os.path.realpath(tree / FOLDER),
        settings=_settings(tree),
        distributions=tuple(sorted(normal(each.info.name.split("-")[0]) for each in local)),
        editable=not built and points,
        products=signature(tree, built) if built and points else "",
        built=built,
        seal=seal(tree),
        notes=notes,
        deps=plan.deps,
    )


def resealed(tree: Path, record: EnvironmentRecord) -> EnvironmentRecord:
    """Return the record after set-up commands, which may have installed packages or replaced the environment."""
    folder = tree / FOLDER
    if not (folder / "pyvenv.cfg").is_file():
        return record  # preflight reports it
    interpreter = os.path.realpath(folder / "bin/python")
    return replace(record, seal=seal(tree), settings=_settings(tree), interpreter=interpreter)


def has_distribution(tree: Path, name: str) -> bool:
    """Return whether a distribution is installed, in whatever way."""
    return bool(version_of(tree, name))


def version_of(tree: Path, name: str) -> str:
    """The version of an installed distribution; empty where there is none."""
    names = (path.name.removesuffix(".dist-info") for site in _site_packages(tree) for path in site.glob("*.dist-info"))
    found = (each.partition("-") for each in names)
    return next((version for found_name, _, version in found if normal(found_name) == normal(name)), "")


def seal(tree: Path) -> str:
    """A signature of what is installed in a tree's environment; see seal_of()."""
    return seal_of(tree / FOLDER)


def seal_of(prefix: Path) -> str:
    """Return a signature of the installed packages, which changes when one is added, removed or replaced.

    A package's own folder is ignored: its time changes when its first __pycache__ is written.
    """
    lines = []
    for site in sorted(prefix.glob("lib/*/*-packages")):
        for entry in sorted(os.scandir(site), key=lambda entry: entry.name):
            if entry.name == "__pycache__" or entry.name.startswith(f"{WORKTREE_MODULE}."):
                continue
            status = entry.stat(follow_symlinks=False)
            line = entry.name
            if not entry.is_dir() or entry.name.endswith((".dist-info", ".egg-info")):
                line += f" {status.st_mtime_ns}"
            if entry.name.endswith((".pth", ".egg-link")):
                line += f" {Path(entry.path).read_bytes()!r}"
            lines.append(line)
    return hashlib.blake2b("\n".join(lines).encode(errors="surrogateescape"), digest_size=16).hexdigest()


def _site_packages(tree: Path) -> list[Path]:
    return sorted((tree / FOLDER / "lib").glob("*/site-packages"))


def _settings(tree: Path) -> str:
    return (tree / FOLDER / "pyvenv.cfg").read_text(errors="replace")


class LocalDistribution(NamedTuple):
    """A distribution installed from a folder of the tree. info: its metadata. points: it merely points at the
    folder."""

    info: Path
    folder: str
    points: bool


def local_distributions(tree: Path) -> Iterator[LocalDistribution]:
    """Return what is installed from folders of the tree."""
    root = os.path.realpath(tree)
    for site in _site_packages(tree):
        for info in site.glob("*.dist-info"):
            try:
                origin = json.loads((info / "direct_url.json").read_bytes())
                record = (info / "RECORD").read_text(errors="replace")
            except FileNotFoundError:  # from an index
                continue
            folder = os.path.realpath(unquote(urlsplit(origin.get("url", "")).path))
            if "dir_info" in origin and (folder == root or folder.startswith(f"{root}/")):
                paths = [line.rsplit(",", 2)[0].strip('"') for line in record.splitlines()]
                others = [path for path in paths if not path.startswith(f"{info.name}/")]
                points = all(_POINTERS.fullmatch(path) for path in others)
                yield LocalDistribution(info, folder, points and bool(origin["dir_info"].get("editable")))


def _written(tree: Path) -> Iterator[str]:
    """The files, relative to the tree, that appeared or changed since its environment was begun.

    Both times come from the same file system's clock. Metadata of setuptools and byte code do not count.
    """
    begun = (tree / FOLDER / "pyvenv.cfg").stat().st_ctime_ns
    todo = [str(tree)]
    while todo:
        for entry in os.scandir(todo.pop()):
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in {".git", FOLDER, "__pycache__"} and not entry.name.endswith(".egg-info"):
                    todo.append(entry.path)
            elif entry.name != ".git" and entry.stat(follow_symlinks=False).st_ctime_ns > begun:
                yield os.path.relpath(entry.path, tree)
