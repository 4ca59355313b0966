"""Suites that run in a pytest process of their own, with the plugin injected as a run injects it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import forked
from testgrove.system.plugin import injected_environment, place_plugin

UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))

UNUSED = [word for name in ("cacheprovider", "hypothesispytest", "valkey") for word in ("-p", f"no:{name}")]


@dataclass
class Result:
    """How a suite ended, and what it wrote into its session's folder."""

    status: int
    output: str
    records: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["type"] == kind]

    def outcomes(self) -> dict[str, str]:
        """Outcomes by the name behind the file's; each test must have been written once."""
        found = [(record["nodeid"].partition("::")[2], record["outcome"]) for record in self.of("test")]
        assert len(found) == len(dict(found)), found
        return dict(found)

    def test(self, name: str) -> dict[str, Any]:
        (record,) = [record for record in self.of("test") if record["nodeid"].endswith(name)]
        return record


@dataclass
class Suite:
    """A tree, the other checkouts of its repository, and the environment that its tests run in."""

    base: Path
    plugin: Path
    python: str = sys.executable
    foreign: list[Path] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    inject: bool = True
    _runs: int = 0

    @property
    def tree(self) -> Path:
        return self.base / "tree"

    def write(self, root: Path | None = None, /, **files: str) -> Path:
        """Files by their names, with ``__`` for a slash (but not at the ends) and without ``.py``."""
        root = root or self.tree
        for name, text in files.items():
            path = root / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    def session(self) -> Path:
        self._runs += 1
        folder = self.base / f"session{self._runs}"
        folder.mkdir()
        return folder

    def environment(self, session: Path) -> dict[str, str]:
        kept = ("PATH", "HOME", "LANG", "TMPDIR")
        env = {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONDONTWRITEBYTECODE": "1"}
        env |= self.env
        return injected_environment(env, self.plugin, session, self.tree, self.foreign) if self.inject else env

    def run(self, *arguments: str, **files: str) -> Result:
        """Write the files into the tree and run pytest there."""
        self.write(**files)
        return self.command(self.python, "-m", "pytest", *UNUSED, *arguments)

    def command(self, *argv: str) -> Result:
        session = self.session()
        status, output = self._run(argv, self.environment(session))
        log = session / "tests.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return Result(status, output, [json.loads(line) for line in lines])

    def _run(self, argv: Sequence[str], env: dict[str, str]) -> tuple[int, str]:
        process = forked.start(argv, cwd=self.tree, env=env, merged=True)
        if process:
            with process:
                output, _ = process.communicate(120)
            return process.returncode, output
        done = subprocess.run(
            argv, cwd=self.tree, env=env, timeout=120, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        return done.returncode, done.stdout


@pytest.fixture(scope="session")
def plugin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin's folder, with the bytecode in it that a suite's pytest may not write."""
    suite = Suite(tmp_path_factory.mktemp("plugin"), place_plugin(tmp_path_factory.mktemp("cache")))
    suite.env = {"PYTHONDONTWRITEBYTECODE": ""}
    suite.run(test_a="")
    return suite.plugin


@pytest.fixture
def suite(tmp_path: Path, plugin_folder: Path) -> Suite:
    """A suite in this interpreter's environment, where pytest-testgrove and xdist are installed."""
    (tmp_path / "tree").mkdir()
    return Suite(tmp_path, plugin_folder)


def environment(folder: Path, python: str, *packages: str) -> str:
    """An environment with these packages; its interpreter."""
    for arguments in (
        ["venv", "--python", python, str(folder)],
        ["pip", "install", "--python", str(folder / "bin/python"), *packages],
    ):
        done = subprocess.run([UV, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return str(folder / "bin/python")


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment where pytest and xdist are installed, and nothing of testgrove."""
    python = environment(tmp_path_factory.mktemp("bare") / "env", sys.executable, "pytest", "pytest-xdist")
    forked.interpreters.add(python)
    return python


PLUGINS = ("xdist", "randomly", "random-order", "rerunfailures", "cov", "timeout", "asyncio", "django")
DRIVERS = ("psycopg[binary]", "sqlalchemy[asyncio]>=2", "asyncpg", "django>=5,<6")
PACKAGE = Path(__file__).parents[2] / "packages" / "pytest-testgrove"


@pytest.fixture(scope="session")
def plugged_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment where pytest-testgrove is installed beside every plugin and driver that users have with it."""
    plugins = [f"pytest-{name}" for name in PLUGINS]
    return environment(
        tmp_path_factory.mktemp("plugged") / "env", sys.executable, "pytest", *plugins, *DRIVERS, str(PACKAGE)
    )


@pytest.fixture
def bare_suite(suite: Suite, bare_python: str) -> Suite:
    suite.python = bare_python
    return suite


@pytest.fixture
def make_environment(tmp_path: Path):
    """environment(), in a folder of the test's own."""
    return lambda python, *packages: environment(tmp_path / "env", python, *packages)
