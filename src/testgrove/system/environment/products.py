"""Build products in a tree: what they were made from, and keeping them while the tree is cleaned.

A product is kept as long as it is the file that the build wrote, and nothing that can change it has changed: files of
the tree, the compilers, and the variables that builds read. The interpreter and the build's settings are a part of the
environment's fingerprint.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.core.worktrees.build_inputs import BUILD_FILES, build_inputs
from testgrove.system.deletion import delete_tree
from testgrove.system.environment.record import FOLDER, signature
from testgrove.system.files import explained
from testgrove.system.git.blobs import blobs_at

if TYPE_CHECKING:
    from testgrove.system.environment.record import EnvironmentRecord

_ASIDE = f"{FOLDER}/.testgrove-built"
_TOOLS = (
    "cc", "gcc", "c++", "g++", "clang", "ld", "rustc", "cargo", "gfortran", "cmake", "meson", "ninja", "pkg-config",
)  # fmt: skip
_VARIABLES = lazy_pattern(
    r"CC|CXX|CPP|FC|LD|AR|\w*FLAGS|\w*INCLUDE_PATH|LIBRARY_PATH|PKG_CONFIG\w*|CMAKE_\w+|SKBUILD\w*|MESON\w*|CARGO\w*"
    r"|RUST\w*|CYTHON\w*|SETUPTOOLS\w*|DISTUTILS\w*"
)
_NAME = lazy_pattern(r"\b[A-Z][A-Z0-9_]{2,}\b")


def made_from(tree: Path, commit: str, built: Sequence[str], copied: Mapping[str, Path]) -> str:
    """A hash over all that can change what is built from a commit in a tree.

    copied: files that the commit does not have: by their paths in the tree, where they are now.
    """
    files = blobs_at(tree, commit)
    names = [path for path in files if path.rpartition("/")[2] in BUILD_FILES]
    with explained("read the build's files in", tree):
        texts = {path: (tree / path).read_text(errors="replace") for path in names if (tree / path).is_file()}
    whole = hashlib.blake2b(build_inputs(files, texts, built).encode(), digest_size=20)
    if any(path.endswith(".py") for path in built):  # such as a version that was written from git
        whole.update(commit.encode())
    for path in built:
        if path in files:  # tracked, and rewritten by the build: put_back() replaces it
            whole.update(f"{path}\0{files[path]}\0".encode(errors="surrogateescape"))
    with explained("read the copied files of", tree):
        others = [_state(path, copied[path]) for path in sorted(copied.keys() - files)]
    for line in (*_tools(), *_variables(os.environ, texts), *others):
        whole.update(f"{line}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _state(path: str, file: Path) -> str:
    """A file as it is; a copy has the size and time of its source."""
    status = file.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def _tools() -> Iterator[str]:
    for name in (*_TOOLS, *filter(None, (os.environ.get("CC"), os.environ.get("CXX")))):
        if found := shutil.which(name):
            path = Path(found).resolve()
            status = path.stat()
            yield f"{name} {path} {status.st_size} {status.st_mtime_ns}"


def _variables(environ: Mapping[str, str], texts: Mapping[str, str]) -> Iterator[str]:
    """The variables that builds read by custom, and those that a file of this build names."""
    named = {name for text in texts.values() for name in _NAME.findall(text)}
    for name, value in sorted(environ.items()):
        if _VARIABLES.fullmatch(name) or name in named:
            yield f"{name}={value}"


def set_aside(tree: Path, record: EnvironmentRecord) -> bool:
    """Move the products into the environment, which is not cleaned, if they are still those that were built."""
    aside = tree / _ASIDE
    with explained("set the build products aside in", tree):
        if (tree / FOLDER).is_symlink():  # it leads out of the tree, and is made again
            return False
        if aside.is_dir():
            delete_tree(aside, within=tree / FOLDER)
        if not record.products or signature(tree, record.built) != record.products:
            return False
        for path in record.built:
            target = aside / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (tree / path).rename(target)
    return True


def put_back(tree: Path, record: EnvironmentRecord, commit: str, copied: Mapping[str, Path]) -> None:
    """Move the products back if the commit that is checked out now would build the same; else delete them.

    What is there already is the commit's: a file that the build rewrites, and would rewrite again. copied: see
    made_from().
    """
    aside = tree / _ASIDE
    with explained("put the build products back in", tree):
        if made_from(tree, commit, record.built, copied) == record.made_from:
            for path in record.built:
                target = tree / path
                free = not os.path.lexists(target) or (target.is_file() and not target.is_symlink())
                if free and target.parent.resolve().is_relative_to(tree.resolve()):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    (aside / path).rename(target)
        delete_tree(aside, within=tree / FOLDER)
