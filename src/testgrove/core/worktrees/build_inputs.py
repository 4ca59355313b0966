"""The inputs of build products in a tree: a hash over all files that can change them.

Python code does not count where the interpreter reads it from the tree, and neither do texts and tests. Everything else
does: what is not known to leave a build alone may change it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from testgrove.core.lazy_pattern import lazy_pattern

# Files that can name code that a build runs or compiles.
BUILD_FILES = ("setup.py", "setup.cfg", "pyproject.toml", "meson.build", "CMakeLists.txt", "build.rs", "Makefile")
_TEXTS = {".md", ".rst", ".pyi", ".typed"}
_NO_SOURCES = {"tests", "test", "docs", "doc", ".github"}
_COMPILED = {
    ".c", ".cc", ".cpp", ".cu", ".cxx", ".f", ".f90", ".go", ".h", ".hh", ".hpp", ".inc", ".pxd", ".pxi", ".pyx", ".rs",
}  # fmt: skip
_OWN_BUILD = lazy_pattern(r"backend-path|hooks\.custom|poetry\.build|custom-hook")
_IMPORT = lazy_pattern(r"^\s*(?:from|import)\s+([A-Za-z_]\w*)", re.MULTILINE)


def build_inputs(files: Mapping[str, str], texts: Mapping[str, str], built: Collection[str]) -> str:
    """A hash over the files of a tree that can change what was built in it.

    files: a name for the content of each, by path. texts: those of BUILD_FILES, wherever they are. built: the products.
    """
    packages = {path.rpartition("/")[0] for path in files if PurePosixPath(path).name == "__init__.py"}
    every = _python_is_compiled(built, files) or _build_imports(texts, packages)
    words = "\n".join(texts.values())
    whole = hashlib.blake2b(digest_size=20)
    for path in sorted(files):
        if every or not _is_read_from_the_tree(path, packages, words):
            whole.update(f"{path}\0{files[path]}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _is_read_from_the_tree(path: str, packages: Collection[str], words: str) -> bool:
    """Return whether a file cannot change a build. words: of the build's files."""
    folder, _, name = path.rpartition("/")
    suffix = PurePosixPath(name).suffix
    if name in BUILD_FILES or suffix in _COMPILED:
        return False
    if not _NO_SOURCES.isdisjoint(folder.split("/")[:1]) or suffix in _TEXTS:
        return True
    return suffix == ".py" and folder in packages and name not in words.replace("__init__.py", "")


def _python_is_compiled(built: Collection[str], files: Collection[str]) -> bool:
    """Return whether a product stands beside the Python file that it was made from, as those of mypyc do."""
    modules = (path.rpartition("/") for path in built if path.endswith(".so"))
    stems = {f"{folder}{slash}{name.partition('.')[0]}" for folder, slash, name in modules}
    return any(f"{stem}.py" in files or stem.endswith("__mypyc") for stem in stems)


def _build_imports(texts: Mapping[str, str], packages: Collection[str]) -> bool:
    """Return whether a setup.py imports the project's own code, or a build can run code that its files do not name."""
    if any(_OWN_BUILD.search(text) for path, text in texts.items() if path.endswith("pyproject.toml")):
        return True
    names = {name for folder in packages for name in folder.split("/")}
    return any(not names.isdisjoint(_IMPORT.findall(text)) for path, text in texts.items() if path.endswith("setup.py"))
