"""A repository with the documented scripts, as its users have it: testgrove on PATH, a Python 3.9 active."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import needs
from grove import Grove

FILES = {
    ".gitignore": "__pycache__/\n",
    "src/app/__init__.py": "def answer():\n    return 42\n",
    "requirements.txt": "",
    "requirements-test.txt": "pytest\npytest-cov\n",
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\n',
    **{
        f"tests/{name}/test_{name}.py": "import app\n\n\ndef test_it():\n    assert app.answer() == 42\n"
        for name in ("unit", "integration", "performance")
    },
}


@dataclass
class Shell:
    """Types commands into a bash, as the documents do; every one of them must succeed."""

    project: Grove
    env: dict[str, str] = field(default_factory=dict)
    user: tuple[str, ...] = ()  # the words before a command that make it an ordinary user's

    def type(self, script: str, *, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run lines as they would be typed at the top of the repository."""
        done = subprocess.run(
            [*self.user, "bash", "-e", "-o", "pipefail", "-c", script],
            cwd=cwd or self.project.repo, env=self.env, text=True, capture_output=True, stdin=subprocess.DEVNULL,
            timeout=240, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def python(self, *lines: str, cwd: Path | None = None) -> str:
        """What Python prints, with scripts/ on its path as when a script there runs."""
        text = "\n".join(("import sys", "sys.path.insert(0, 'scripts')", *lines))
        return self.type(f"python -c {shlex.quote(text)}", cwd=cwd).stdout


@pytest.fixture(scope="session")
def python39(tmp_path_factory) -> Path:
    """An environment of Python 3.9 with nothing in it."""
    folder = tmp_path_factory.mktemp("py39") / "venv"
    subprocess.run([needs.interpreter("3.9"), "-m", "venv", "--without-pip", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def testgrove_folder(tmp_path_factory) -> Path:
    """A folder for PATH that holds testgrove and nothing else."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "testgrove").symlink_to(Path(sys.executable).with_name("testgrove"))
    return folder


@pytest.fixture
def with_scripts(python39, testgrove_folder):
    """Makes a project's scripts, commits them, and gives a shell in it."""

    def make(project: Grove) -> Shell:
        project.run("init", "--scripts")
        project.git("add", "--all")
        project.git("commit", "--quiet", "--message", "Scripts")
        path = os.pathsep.join([str(python39 / "bin"), str(testgrove_folder), "/usr/local/bin:/usr/bin:/bin"])
        return Shell(project, project.env | {"PATH": path, "VIRTUAL_ENV": str(python39)})

    return make


@pytest.fixture
def shell(grove, with_scripts) -> Shell:
    """A small project with three suites."""
    return with_scripts(grove(files=FILES))
