"""Finds loaded modules that come from another checkout of the repository.

Called once, when pytest ends, for all of sys.modules: only one lstat for each file and each folder.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SHOWN = 20
_INSTALLED = ("/site-packages/", "/dist-packages/")


class Checkouts:
    """Finds the checkout that contains a path. Checkouts can be nested: the innermost one counts."""

    def __init__(self, tree: str, foreign: Sequence[str]) -> None:
        ours = os.path.realpath(tree)
        others = {os.path.realpath(path) for path in foreign} - {ours}
        roots = [(f"{ours}/", ""), *((f"{path}/", path) for path in others)]
        self._roots = sorted(roots, key=lambda root: -len(root[0]))
        self._library = os.path.dirname(os.path.realpath(os.__file__)) + "/"  # noqa: PTH120 - compared with text
        self._own = os.path.dirname(os.path.realpath(__file__)) + "/"  # noqa: PTH120 - compared with text
        self._real: dict[str, str] = {"": "", "/": ""}
        self._owners: dict[str, tuple[str, bool]] = {}

    def owner(self, file: str) -> str:
        """Return the foreign checkout that contains the file, with links resolved; else an empty string."""
        owner, may_be_linked = self._owner_of_folder(file.rpartition("/")[0])
        if may_be_linked:
            try:
                if stat.S_ISLNK(os.lstat(file).st_mode):
                    return self._by_root(os.path.realpath(file))
            except OSError:
                pass  # in a zip file, or already deleted
        return owner

    def owner_of_folder(self, folder: str) -> str:
        """As owner(), for a folder: one portion of a package's path."""
        return self._owner_of_folder(folder)[0]

    def _owner_of_folder(self, folder: str) -> tuple[str, bool]:
        known = self._owners.get(folder)
        if known is None:
            known = self._owners[folder] = self._look_up(folder)
        return known

    def _look_up(self, folder: str) -> tuple[str, bool]:
        """Return the owner, and whether single files in the folder may be links to other places.

        Files inside installed packages are not: tools that link into a checkout link a complete package, or a module
        directly in site-packages. This saves most of this module's time.
        """
        within = f"{folder}/"
        if not folder.startswith("/") or "/./" in within or "/../" in within or "//" in within:
            real = os.path.realpath(folder)
        else:
            real = self._resolve(folder)
        within = f"{real}/"
        installed = any(name in within for name in _INSTALLED)
        if within.startswith(self._own) or (within.startswith(self._library) and not installed):
            return "", False  # this plugin, the standard library
        return self._by_root(within), not any(name in real for name in _INSTALLED)

    def _resolve(self, folder: str) -> str:
        """realpath() that remembers every folder on the way."""
        known = self._real.get(folder)
        if known is not None:
            return known
        parent, _, name = folder.rpartition("/")
        real = f"{self._resolve(parent)}/{name}"
        try:
            if stat.S_ISLNK(os.lstat(real).st_mode):
                real = os.path.realpath(real)
        except OSError:
            pass  # deleted, or in a zip file
        self._real[folder] = real
        return real

    def _by_root(self, path: str) -> str:
        for root, checkout in self._roots:
            if path.startswith(root):
                return checkout
        return ""


def find(modules: Mapping[str, Any], checkouts: Checkouts) -> list[dict[str, str]]:
    """The modules that come from a foreign checkout: name, file (or a package's portion), checkout."""
    found = []
    for name, module in list(modules.items()):
        try:
            # never getattr: lazy modules would import, and sys.modules can contain any object
            attributes = object.__getattribute__(module, "__dict__")
        except AttributeError:
            continue
        file = attributes.get("__file__")
        if not isinstance(file, str):
            file = _origin(attributes)
        checkout = checkouts.owner(file) if file else ""
        if not checkout and "__path__" in attributes:
            for file in _portions(attributes["__path__"]):
                checkout = checkouts.owner_of_folder(file)
                if checkout:
                    break
        if checkout:
            found.append({"module": str(name), "file": file, "checkout": checkout})
    return found


def _origin(attributes: Mapping[str, Any]) -> str:
    origin = getattr(attributes.get("__spec__"), "origin", None)
    return origin if isinstance(origin, str) and "/" in origin else ""  # not "built-in" or "frozen"


def _portions(path: Any) -> Iterable[str]:
    path = getattr(path, "_path", path)  # a namespace package's path searches again when it is iterated
    if not isinstance(path, (list, tuple)):
        return []
    return [portion for portion in path if isinstance(portion, str) and portion.startswith("/")]


def find_loaded(tree: str, others: Sequence[str]) -> list[dict[str, str]]:
    """find() over what this process has loaded."""
    return find(sys.modules, Checkouts(tree, others)) if others else []
