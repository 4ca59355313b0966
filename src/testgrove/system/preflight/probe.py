"""Runs inside the tested interpreter: where would these names be imported from? Nothing is imported for it.

    python preflight_probe.py <count> <dotted name>… <folder that pytest would add>…

Stdlib only, Python 3.9 and later, and no import but os and sys: an interpreter's start is all that it costs.
The answer is the last line of stdout, a Python literal in ASCII.
"""

# pathlib would cost more than everything else here
# ruff: noqa: PTH118, PTH123, PTH208

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing as well
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from typing import Any

MARK = "testgrove-preflight:"


class Resolver:
    """Resolves names on the current sys.path. namespaces: the namespace packages found, and their portions."""

    def __init__(self) -> None:
        self.namespaces: dict[str, list[str]] = {}
        self._placeholders: list[str] = []

    def origin(self, dotted: str) -> str | None:
        """Return the file (or "built-in") that a name, or the regular package around it, would be loaded from."""
        path: list[str] | None = None
        parts = dotted.split(".")
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[:count])
            origin, portions = _loaded(name) if name in sys.modules else _found(name, path)
            if origin is not None:
                return origin
            if not portions:
                return None
            self.namespaces[name] = path = portions
            if name not in sys.modules:  # a nested namespace asks for its parent there
                sys.modules[name] = module = type(sys)(name)
                module.__path__ = portions
                self._placeholders.append(name)
        return None

    def forget(self) -> None:
        """Take the placeholders of namespace packages out of sys.modules."""
        for name in self._placeholders:
            del sys.modules[name]


def _loaded(name: str) -> tuple[str | None, list[str]]:
    module = sys.modules[name]
    spec = getattr(module, "__spec__", None)
    origin = getattr(module, "__file__", None) or getattr(spec, "origin", None)
    return origin, _portions(getattr(module, "__path__", None))


def _found(name: str, path: Sequence[str] | None) -> tuple[str | None, list[str]]:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find(name, path) if find else None
        if spec is not None:
            return spec.origin, _portions(spec.submodule_search_locations)
    return None, []


def _portions(path: Any) -> list[str]:
    return list(getattr(path, "_path", path) or ())  # a namespace package's searches again when iterated


def _distributions(names: set[str]) -> list[dict[str, Any]]:
    """The distributions on sys.path that were made from a folder or a file, or installed one of the names."""
    found = []
    for folder in dict.fromkeys(sys.path):
        try:
            entries = os.listdir(folder or ".")
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # nothing is imported from it
        for entry in entries:
            if entry.endswith((".dist-info", ".egg-info")):
                info = os.path.join(folder, entry)
                owns = _owned(info, names) if names else []
                url = _read(os.path.join(info, "direct_url.json"))
                if owns or url:
                    found.append({"info": info, "direct_url": url, "owns": owns})
    return found


def _owned(info: str, names: set[str]) -> list[str]:
    record = "\n" + _read(os.path.join(info, "RECORD")) + _read(os.path.join(info, "installed-files.txt"))
    top = _read(os.path.join(info, "top_level.txt")).split()
    return [
        name
        for name in sorted(names)
        if name in top or any(f"\n{name}{end}" in record for end in ("/", ".py", ".cpython", ".abi3", ".so"))
    ]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""  # any other error ends the check: what cannot be read must not count as missing


def main(arguments: Sequence[str]) -> None:
    """Print how the interpreter resolves the names."""
    count = int(arguments[0])
    names, folders = arguments[1 : 1 + count], arguments[1 + count :]
    plain = Resolver()
    origins = {name: plain.origin(name) for name in names}
    plain.forget()
    installed = {name.partition(".")[0] for name in names if "-packages" in (origins[name] or "")}
    sys.path[:0] = folders
    with_tree = Resolver()
    added = {name: with_tree.origin(name) for name in names if origins[name] is None}
    answer = {
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "version": ".".join(map(str, sys.version_info[:3])),
        "stdlib": sorted({*names} & {*getattr(sys, "stdlib_module_names", ())}),
        "path": sys.path[len(folders) :],
        "origins": origins,
        "namespaces": plain.namespaces,
        "added": added,
        "added_namespaces": with_tree.namespaces,
        "distributions": _distributions(installed),
    }
    sys.stdout.write("\n" + MARK + ascii(answer) + "\n")


if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # this file's folder, which no suite has
    main(sys.argv[1:])
