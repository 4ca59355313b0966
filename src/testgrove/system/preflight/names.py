"""A project's top-level names, read from its tree; nothing is imported."""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.core.environments.declared import parse_toml
from testgrove.core.frozen import frozen
from testgrove.system.files import explained, read_if_there

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NOT_PROJECT = frozenset(
    {"tests", "test", "testing", "docs", "doc", "examples", "example", "benchmarks", "scripts", "build"}
    | {"dist", "tools", "node_modules"}
)
_NOT_MODULES = frozenset({"setup", "conftest", "noxfile", "tasks", "manage", "fabfile"})
_DEEPEST = 4  # levels of namespace packages
_INI = {"pytest.ini": "pytest", ".pytest.ini": "pytest", "tox.ini": "pytest", "setup.cfg": "tool:pytest"}


@frozen
class Name:
    """A top-level name. explicit: the project's configuration names it.

    leaves: the dotted names of the packages and modules with code: the name itself, or, for a namespace package, those
    in it.
    """

    name: str
    explicit: bool
    leaves: tuple[str, ...]


def top_level_names(tree: Path) -> tuple[str, ...]:
    """The names that the project's own code is imported by, sorted."""
    return tuple(name.name for name in find_names(tree))


def find_names(tree: Path) -> tuple[Name, ...]:
    """Return the project's names: from its build configuration, else from its layout (src, flat)."""
    declared = dict(_declared(tree, read_toml(tree / "pyproject.toml")))
    if declared:
        return tuple(
            Name(name, explicit=True, leaves=tuple(_leaves(folder, name)) or (name,))
            for name, folder in sorted(declared.items())
        )
    src = tree / "src"
    layouts = [_flat(tree)] if (src / "__init__.py").exists() else [_listed(src), _flat(tree)]
    for layout in layouts:
        found = [Name(name, explicit=False, leaves=tuple(_leaves(folder, name))) for name, folder in layout]
        names = tuple(name for name in found if name.leaves and name.name not in sys.stdlib_module_names)
        if names:
            return names
    return ()


def project_name(tree: Path) -> str:
    """The name that the project's metadata gives it, or an empty string."""
    data = read_toml(tree / "pyproject.toml")
    return str(_table(data, "project").get("name") or _table(data, "tool", "poetry").get("name") or "")


def import_folders(tree: Path) -> tuple[Path, ...]:
    """The folders that pytest adds to sys.path for this tree: its ``pythonpath``, the root, ``src``."""
    folders = [tree / entry for entry in _pytest_pythonpath(tree)]
    return tuple(dict.fromkeys([*folders, tree, tree / "src"]))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the file's data; empty if it is missing or not TOML (the tools that need it will report that)."""
    try:
        return parse_toml(read_if_there(path) or b"")
    except ValueError:
        return {}


def _table(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        data = data.get(key, {})
        if not isinstance(data, dict):
            return {}
    return data


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _declared(tree: Path, project: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield names and their folders, from the tables of the build backends."""
    yield from _setuptools(tree, _table(project, "tool", "setuptools"))
    for path in _strings(_table(project, "tool", "hatch", "build", "targets", "wheel").get("packages")):
        yield Path(path).name, (tree / path).parent
    packages = _table(project, "tool", "poetry").get("packages")
    for package in packages if isinstance(packages, list) else []:
        first = str(package.get("include", "")).partition("/")[0].removesuffix(".py")
        if first.isidentifier():
            yield first, tree / str(package.get("from", ""))
    for module in _strings(_table(project, "tool", "flit", "module").get("name")):
        yield module.partition(".")[0], _base(tree, module)
    backend = _table(project, "tool", "uv", "build-backend")
    for module in _strings(backend.get("module-name")):
        yield module.partition(".")[0], tree / str(backend.get("module-root", "src"))


def _base(tree: Path, module: str) -> Path:
    name = module.partition(".")[0]
    return tree / "src" if (tree / "src" / name).exists() or (tree / "src" / f"{name}.py").exists() else tree


def _setuptools(tree: Path, table: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    folders = _table(table, "package-dir")
    root = tree / str(folders.get("", ""))
    packages = table.get("packages")
    for name in [*_strings(packages), *_strings(table.get("py-modules")), *(key for key in folders if key)]:
        yield name.partition(".")[0], root
    find = packages.get("find") if isinstance(packages, dict) else None
    if isinstance(find, dict):
        include, exclude = _strings(find.get("include")) or ["*"], _strings(find.get("exclude"))
        for where in _strings(find.get("where")) or ["."]:
            for name, folder in _flat(tree) if where == "." else _listed(tree / where):
                if _matches(name, include) and not _matches(name, exclude):
                    yield name, folder
    elif not packages and "" in folders:
        yield from _listed(root)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a pattern for packages, such as ``shop*`` or ``ns.shop``, speaks of this top-level name."""
    return any(fnmatchcase(name, pattern.partition(".")[0]) for pattern in patterns)


def _listed(folder: Path) -> Iterator[tuple[str, Path]]:
    """Everything in a folder that can be imported."""
    for name in _children(folder):
        yield name, folder


def _flat(tree: Path) -> Iterator[tuple[str, Path]]:
    """Return the names that can be imported from a tree's root, except those that by custom are not the project."""
    for name in _children(tree):
        folder = tree / name
        if folder.is_dir():
            is_package = (folder / "__init__.py").exists()
            if name not in _NOT_PROJECT and (is_package or _holds_package(folder, _DEEPEST)):
                yield name, tree
        elif name not in _NOT_MODULES:
            yield name, tree


def _children(folder: Path) -> Iterator[str]:
    """The names of the modules and of the folders that could be packages, sorted."""
    with explained("look for packages in", folder):
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return  # tests cannot import from it, either
    seen = set()
    for entry in entries:
        name = entry.name.removesuffix(".py")
        is_folder = entry.is_dir()
        if not name.isidentifier() or name in seen or name in {"__pycache__", "__init__"}:
            continue
        if is_folder == entry.name.endswith(".py") or (is_folder and _is_elsewhere(Path(entry.path))):
            continue
        seen.add(name)
        yield name


def _is_elsewhere(folder: Path) -> bool:
    """A virtual environment or another repository."""
    return (folder / "pyvenv.cfg").exists() or (folder / ".git").exists()


def _holds_package(folder: Path, levels: int) -> bool:
    children = [folder / name for name in _children(folder) if (folder / name).is_dir()]
    return any((child / "__init__.py").exists() for child in children) or (
        levels > 1 and any(_holds_package(child, levels - 1) for child in children)
    )


def _leaves(folder: Path, name: str, prefix: str = "", levels: int = _DEEPEST) -> Iterator[str]:
    """Return the dotted names of the code of a top-level name."""
    path = folder / name
    if (path / "__init__.py").exists() or (folder / f"{name}.py").exists():
        yield prefix + name
    elif levels and path.is_dir():
        for child in _children(path):
            yield from _leaves(path, child, f"{prefix}{name}.", levels - 1)


def _pytest_pythonpath(tree: Path) -> list[str]:
    data = read_toml(tree / "pyproject.toml")
    tables = [_table(data, "tool", "pytest", "ini_options"), _table(data, "tool", "pytest")]
    tables += [_table(read_toml(tree / name), "pytest") for name in ("pytest.toml", ".pytest.toml")]
    entries = []
    for table in tables:
        value = table.get("pythonpath")
        entries += value.split() if isinstance(value, str) else _strings(value)
    for file, section in _INI.items():
        if (tree / file).is_file():
            entries += _ini_value(tree / file, section).split()
    return entries


def _ini_value(path: Path, section: str) -> str:
    import configparser  # noqa: PLC0415 - few trees have such a file

    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string((read_if_there(path) or b"").decode())
    except (configparser.Error, UnicodeDecodeError):
        return ""
    return parser.get(section, "pythonpath", fallback="")
