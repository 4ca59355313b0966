"""The locks of other tools than uv, and how each is brought into words that uv reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

# In this order; each with the file without which it means nothing.
LOCKS = {
    "uv.lock": "pyproject.toml",
    "pylock.toml": "",
    "poetry.lock": "pyproject.toml",
    "pdm.lock": "pyproject.toml",
    "Pipfile.lock": "Pipfile",
}
_LOCAL = {
    "poetry.lock": lazy_pattern(rb'^type = "(?:directory|file)"', re.MULTILINE),
    "pdm.lock": lazy_pattern(rb'^path = "', re.MULTILINE),
    "Pipfile.lock": lazy_pattern(rb'"path":\s*"'),
    "pylock.toml": lazy_pattern(rb"\[packages\.directory\]|^directory = ", re.MULTILINE),
}
# The public index: uv's own settings may name a mirror of it. And what a tool says beside its answer.
_LEFT_OUT = lazy_pattern(
    r"(?:-i|--index-url)[\s=]+https://pypi\.org/simple/?|[A-Z][A-Za-z ]*: .*"
    r"|[A-Z]\w* +[^<>=!~@;(\[\s].*"  # a sentence: after a name comes a version, a place or a marker
)


@frozen
class Export:
    """The command that writes a lock as a requirements file to its standard output.

    lock: its name. packages: the distributions that bring the tool, itself first. reads: the files that it is run
    beside a copy of. environ: what keeps it from making environments and from looking for a newer version of itself.
    """

    lock: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    reads: tuple[str, ...]
    environ: tuple[tuple[str, str], ...] = ()


_POETRY_ENVIRON = (("POETRY_VIRTUALENVS_CREATE", "false"), ("POETRY_NO_INTERACTION", "1"))
_PDM_ENVIRON = (("PDM_USE_VENV", "false"), ("PDM_CHECK_UPDATE", "false"), ("PDM_IGNORE_SAVED_PYTHON", "1"))
_PIPENV_ENVIRON = (("PIPENV_IGNORE_VIRTUALENVS", "1"), ("PIPENV_NOSPIN", "1"), ("PIPENV_YES", "1"))


def find_lock(files: Mapping[str, bytes]) -> str:
    """The lock that counts among a tree's files; empty where there is none."""
    return next((name for name, beside in LOCKS.items() if name in files and (not beside or beside in files)), "")


def export_of(lock: str, extras: tuple[str, ...] | None, groups: tuple[str, ...] | None) -> Export | None:
    """Return how a lock is exported; None for one that uv reads by itself. extras, groups: None for all."""
    if lock == "poetry.lock":
        words = ["poetry", "export", "--without-hashes"]
        words += ["--all-extras"] if extras is None else [f"--extras={name}" for name in extras]
        words += ["--all-groups"] if groups is None else [f"--with={name}" for name in groups]
        reads = ("pyproject.toml", lock, "poetry.toml")
        return Export(lock, ("poetry", "poetry-plugin-export"), tuple(words), reads, _POETRY_ENVIRON)
    if lock == "pdm.lock":
        words = ["pdm", "export", "--no-hashes"]
        words += [f"--group={name}" for name in (*(extras or ()), *(groups or ()))]
        words += ["--group=:all"] if extras is None and groups is None else []
        return Export(lock, ("pdm",), tuple(words), ("pyproject.toml", lock), _PDM_ENVIRON)
    if lock == "Pipfile.lock":
        dev = () if groups == () else ("--dev",)
        return Export(lock, ("pipenv",), ("pipenv", "requirements", *dev), ("Pipfile", lock), _PIPENV_ENVIRON)
    return None


def takes_local(lock: str, content: bytes) -> bool:
    """Return whether a lock names distributions in folders or files of the tree."""
    return lock in _LOCAL and _LOCAL[lock].search(content) is not None


def exported(output: str, folder: str, tree: str) -> str:
    """Return an exporter's output as a requirements file. folder: where it was run, beside copies of its files.

    Paths lead into the tree.
    """
    lines = (line for line in output.splitlines() if not _LEFT_OUT.fullmatch(line.strip()))
    return "".join(f"{line.replace(folder, tree)}\n" for line in lines)
