"""The repositories that are measured: the example, a large one that nobody here wrote, and small made-up ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).with_name("uv")
BASE_PYTHON = os.path.realpath(sys._base_executable)  # the interpreter that environments are made from
REAL_PROJECT = "django==5.2.*"
# Far from the defaults, so that a measurement does not meet somebody's tests.
PORTS = '[{prefix}ports]\nrange = "17100-17399"\nservers = "17400-17799"\n'
_IGNORED = shutil.ignore_patterns(".venv", "__pycache__", ".*_cache", "*.egg-info", "test-artifacts")
_IDENTITY = ("-c", "user.name=benchmarks", "-c", "user.email=benchmarks@example.invalid", "-c", "commit.gpgsign=false")


@dataclass(frozen=True)
class Repository:
    """path: its main checkout. install: what the uv recipe installs with. pip_install: the same for pip. migrate: the
    migration command, run in the environment."""

    path: Path
    install: str
    pip_install: str
    migrate: str

    @property
    def files(self) -> int:
        """How many files git tracks."""
        return len(git(self.path, "ls-files").splitlines())


def environment(**more: str) -> dict[str, str]:
    """Ours without what points somewhere else, and with byte code, which a person's shell writes."""
    foreign = (
        "GIT_",
        "PG",
        "UV_PYTHON",
        "TESTGROVE_",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "PYTHONDONTWRITEBYTECODE",
        "DATABASE_URL",
    )
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | more


def git(where: Path, *words: str) -> str:
    """Run git; its output."""
    argv = ("git", "-C", str(where), *_IDENTITY, *words)
    return subprocess.run(argv, check=True, text=True, capture_output=True, env=environment()).stdout


def commit_all(path: Path) -> None:
    """Make a repository of a folder, with everything in one commit."""
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", "--all", "--force")
    git(path, "commit", "--quiet", "--message", "as it came")


def example(folder: Path) -> Repository:
    """examples/shop in a repository of its own. Its suites give way to one that only says when it starts."""
    path = folder / "shop"
    shutil.copytree(HERE / "examples/shop", path, ignore=_IGNORED)
    source = path / "pyproject.toml"
    text = source.read_text()
    ready = '[tool.testgrove.suites.ready]\ncommand = "date +%s.%N"\nservices = ["postgres", "redis"]\nports = true\n\n'
    head, mark, tail = text.partition("[tool.testgrove.suites.")
    source.write_text(head + ready + PORTS.format(prefix="tool.testgrove.") + "\n" + mark + tail)
    commit_all(path)
    pins = folder / "shop-pins.txt"
    export = (
        UV,
        "export",
        "--frozen",
        "--no-hashes",
        "--no-emit-project",
        "--quiet",
        "--python",
        BASE_PYTHON,
        "--output-file",
        pins,
    )
    subprocess.run(export, cwd=path, check=True, capture_output=True, env=environment())
    return Repository(
        path,
        'uv sync --frozen --quiet --python "$BASE_PYTHON"',
        f".venv/bin/python -m pip install --quiet -r {pins} -e .",
        "alembic upgrade head",
    )


_SETTINGS = """\
import os
from urllib.parse import urlsplit

_at = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _at.path[1:],
        "USER": _at.username,
        "PASSWORD": _at.password,
        "HOST": _at.hostname,
        "PORT": _at.port,
    }
}
SECRET_KEY = "measured"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [f"django.contrib.{name}" for name in (
    "admin", "auth", "contenttypes", "flatpages", "redirects", "sessions", "sites", "messages", "staticfiles"
)]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
"""
_MIGRATE = "python -m django migrate --skip-checks --verbosity 0"
_REAL = """\
[services.postgres]
migrate = "{migrate}"
inputs = ["bench/*.py", "django/contrib/*/migrations/*.py"]

[env]
DJANGO_SETTINGS_MODULE = "bench.settings"

[suites.ready]
command = "date +%s.%N"
services = ["postgres"]
ports = true

"""


def real(folder: Path) -> Repository:
    """Django's source distribution in a repository, with three files added: settings, a requirements file, ours."""
    path = download(folder, REAL_PROJECT).rename(folder / "django")
    (path / "bench").mkdir()
    (path / "bench/settings.py").write_text(_SETTINGS)
    (path / "requirements.txt").write_text("-e .\nasgiref==3.8.1\nsqlparse==0.5.1\npsycopg[binary]==3.2.3\npytest\n")
    (path / "testgrove.toml").write_text(_REAL.replace("{migrate}", _MIGRATE) + PORTS.format(prefix=""))
    commit_all(path)
    return Repository(
        path,
        'uv venv -q --python "$BASE_PYTHON" && uv pip install -q --python .venv/bin/python -r requirements.txt',
        ".venv/bin/python -m pip install --quiet -r requirements.txt",
        f"DJANGO_SETTINGS_MODULE=bench.settings {_MIGRATE}",
    )


def download(folder: Path, requirement: str) -> Path:
    """Return the unpacked source distribution of a requirement."""
    there = {*folder.iterdir()}
    pip = (os.fspath(UV), "tool", "run", "--quiet", "--python", BASE_PYTHON, "pip")  # the interpreter may have none
    argv = (*pip, "download", "--quiet", "--no-deps", "--no-binary", ":all:", requirement)
    subprocess.run(argv, cwd=folder, check=True, env=environment())
    (archive,) = {*folder.iterdir()} - there
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()
    (unpacked,) = {*folder.iterdir()} - there
    return unpacked


def made_up(path: Path, files: Mapping[str, str], settings: str) -> Path:
    """A project that needs nothing but pytest, with these files and this ``testgrove.toml``."""
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    (path / "requirements.txt").write_text("pytest\n")
    (path / "testgrove.toml").write_text(settings + PORTS.format(prefix=""))
    commit_all(path)
    return path
