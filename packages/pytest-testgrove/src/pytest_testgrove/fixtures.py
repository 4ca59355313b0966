"""Fixtures that read what testgrove gave this worktree. A project's own of these names override them.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Dict

import pytest

from pytest_testgrove.names import POSTGRES, both_names

TREE_VARIABLE = "TESTGROVE_TREE"
ID_VARIABLE = "WORKTREE_ID"
PORTS_VARIABLE = "TESTGROVE_PORTS"
PROCESSES_VARIABLE = "TESTGROVE_PROCESSES"
METADATA = ".worktree-metadata.json"


class Worktree:
    """The worktree that the tests run in.

    id: ``<purpose>-<identifier>``. path: its folder. metadata: the content of ``.worktree-metadata.json``, read on
    first use.
    """

    def __init__(self, path: Path, id: str = "") -> None:  # noqa: A002 - the word users know
        self.path = path
        self._id = id
        self._metadata: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Worktree({self.id!r}, {str(self.path)!r})"

    @property
    def id(self) -> str:
        """The worktree's name; empty if neither the environment nor the metadata contain it."""
        return self._id or str(self.metadata.get("id", ""))

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata; empty where the worktree has no such file."""
        if self._metadata is None:
            try:
                self._metadata = dict(json.loads((self.path / METADATA).read_text(encoding="utf-8")))
            except FileNotFoundError:
                self._metadata = {}
        return self._metadata


def find_worktree(start: Path) -> Worktree | None:
    """The worktree that the environment names, or the one that contains `start`, or None."""
    tree = os.environ.get(TREE_VARIABLE)
    if tree:
        return Worktree(Path(tree), os.environ.get(ID_VARIABLE, ""))
    for folder in (start, *start.parents):
        if (folder / METADATA).is_file():
            return Worktree(folder)
    return None


def _fail(fixture: str, why: str, command: str = "testgrove test") -> Any:
    pytest.fail(f"fixture '{fixture}': {why}; run the tests with `{command}`", pytrace=False)


def _worktree(pytestconfig: pytest.Config) -> Worktree:
    """The worktree that the tests run in: id, path, metadata."""
    found = find_worktree(pytestconfig.rootpath)
    if found is None:
        _fail("worktree", f"{TREE_VARIABLE} is not set, and no {METADATA} found above {pytestconfig.rootpath}")
        raise AssertionError  # _fail has raised
    return found


worktree, testgrove_worktree = both_names(_worktree, "worktree", "session")


def _ports(pytestconfig: pytest.Config) -> dict[str, int]:
    """The worktree's ports by name: ``ports["api"]`` is ``$API_PORT``."""
    names = os.environ.get(PORTS_VARIABLE, "").replace(",", " ").split()
    if names:
        return {name: _port(name) for name in names}
    found = find_worktree(pytestconfig.rootpath)
    leased = found.metadata.get("ports") if found else None
    if not leased:
        _fail(
            "ports",
            f"{PORTS_VARIABLE} is not set, and no worktree with ports was found "
            "(`ports = true` in the suite's table, or `testgrove create --ports`)",
        )
        raise AssertionError  # _fail has raised
    return {str(name): int(port) for name, port in leased.items()}


ports, testgrove_ports = both_names(_ports, "ports", "session")


def _port(name: str) -> int:
    variable = f"{name.upper()}_PORT"
    value = os.environ.get(variable, "")
    if not value.isdigit():
        _fail("ports", f"{PORTS_VARIABLE} names '{name}', but {variable} is {value or 'not set'!r}")
    return int(value)


class ProcessUrls(Dict[str, str]):
    """URLs by process name. A name without a URL fails the test; the message lists the names that have one."""

    def __missing__(self, name: str) -> str:
        there = ", ".join(self) or "none"
        _fail(
            "process_urls",
            f"process '{name}' with an address not found (available: {there}) "
            f'(`processes = ["{name}"]` in the suite\'s table)',
        )
        raise AssertionError  # _fail has raised


def _process_urls() -> ProcessUrls:
    """URLs of the application processes that run with the suite: ``process_urls["api"]`` is ``$API_URL``."""
    if PROCESSES_VARIABLE not in os.environ:
        _fail("process_urls", f"{PROCESSES_VARIABLE} is not set: no process was started for these tests")
    names = os.environ[PROCESSES_VARIABLE].split(",")
    urls = {name: os.environ.get(f"{re.sub('[^A-Za-z0-9]', '_', name).upper()}_URL", "") for name in names}
    return ProcessUrls({name: url for name, url in urls.items() if url})


process_urls, testgrove_process_urls = both_names(_process_urls, "process_urls", "session")


def _database_url(pytestconfig: pytest.Config) -> str:
    """The URL of the worktree's database."""
    return url_of_worktree(pytestconfig, "database_url", "DATABASE_URL", POSTGRES)


database_url, testgrove_database_url = both_names(_database_url, "database_url", "session")


def url_of_worktree(config: pytest.Config, fixture: str, variable: str, service: str) -> str:
    """The value of a variable.

    Only inside a worktree: elsewhere it may name a real database of the user.
    """
    if not os.environ.get(ID_VARIABLE) and find_worktree(config.rootpath) is None:
        _fail(fixture, f"neither {ID_VARIABLE} nor {TREE_VARIABLE} is set, so {variable} is not trusted")
    value = os.environ.get(variable, "")
    if not value:
        _fail(fixture, f'{variable} is not set (`services = ["{service}"]` in the suite\'s table)')
    return value
