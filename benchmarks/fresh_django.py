"""Django's workers, with clones and without: `python -m benchmarks.fresh_django [--workers N] [--rounds N]`.

200 tests of an app with 40 models from 100 migrations (--migrations), under xdist; whole sessions: pytest-django as it
is (each worker makes a database and migrates it), and with the recipe of docs/recipes.md (each gets a clone).
Both on PostgreSQL with durability off and the data in memory; pytest-django finds its server running, and testgrove
starts one.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.grove import Grove
from benchmarks.peers import PeerServer, peer_server
from benchmarks.projects import HERE, PORTS, UV, environment, git
from benchmarks.results import machine

VERSIONS = ("pytest", "pytest-xdist", "pytest-django", "django==5.2.*", "psycopg[binary]")
SETTINGS = """
import os
from urllib.parse import urlsplit

at = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": at.path[1:], "HOST": at.hostname, "PORT": at.port,
        "USER": at.username, "PASSWORD": at.password,
    }
}
INSTALLED_APPS = ["shop"]
SECRET_KEY = "benchmark"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
MODEL = """
class M{n}(models.Model):
    name = models.CharField(max_length=50, unique=True)
    other = models.IntegerField(default=0, db_index=True)
    at = models.DateTimeField(auto_now_add=True, db_index=True)
"""
TESTS = """
import pytest
from shop.models import M1

@pytest.mark.django_db
@pytest.mark.parametrize("n", range(200))
def test_it(n):
    M1.objects.create(name="same")
    assert M1.objects.count() == 1
"""
_MODELS = 40
KINDS = ("pytest-django", "testgrove")


def make(work: Path, migrations: int) -> tuple[Path, Path]:
    """The project, and the interpreter of its environment."""
    project, python = work / "shop", work / "venv/bin/python"
    ours = HERE / "packages/pytest-testgrove"
    subprocess.run((UV, "venv", "-q", "--python", sys.executable, work / "venv"), check=True, env=environment())
    subprocess.run((UV, "pip", "install", "-q", "--python", python, *VERSIONS, ours), check=True, env=environment())
    recipe = re.search(
        r"<!-- recipe: django -->\n```python\n(.*?)```", (HERE / "docs/recipes.md").read_text(), re.DOTALL
    )
    assert recipe is not None
    files = {
        "settings.py": SETTINGS,
        "manage.py": MANAGE,
        "shop/__init__.py": "",
        "shop/migrations/__init__.py": "",
        "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\n",
        "testgrove.toml": f'[services.postgres]\nmigrate = "{python} manage.py migrate"\n' + PORTS.format(prefix=""),
        "tests/test_it.py": TESTS,
        "recipe.py": recipe.group(1),
    }
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    env = environment(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    models = ["from django.db import models\n"]
    for step in range(migrations):
        if step < _MODELS:
            models.append(MODEL.format(n=step))
        else:
            models[step % _MODELS + 1] += f"    more{step} = models.IntegerField(default=0)\n"
        (project / "shop/models.py").write_text("".join(models))
        argv = (python, "-W", "ignore", "manage.py", "makemigrations", "-v0", "-n", f"step{step}", "shop")
        subprocess.run(argv, cwd=project, check=True, env=env)
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "A project")
    return project, python


def session(kind: str, project: Path, python: Path, workers: int, grove: Grove, server: PeerServer) -> float:
    """Seconds of a whole session."""
    url = f"postgresql://postgres@127.0.0.1:{server.env['PGPORT']}/postgres"
    env = environment(DATABASE_URL=url) | grove.env | {"TESTGROVE": grove.program}
    (project / "conftest.py").write_text((project / "recipe.py").read_text() if kind == "testgrove" else "")
    argv = (python, "-m", "pytest", "-q", "-n", str(workers), "tests")
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=project, env=env, text=True, capture_output=True, check=False)
    took = time.perf_counter() - began
    if "200 passed" not in done.stdout:
        raise SystemExit(done.stdout[-3000:] + done.stderr)
    return took


def main() -> None:
    """Measure and print."""
    about = "Django's workers, with clones and without."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fresh_django", description=about)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--migrations", type=int, default=100)
    chosen = parser.parse_args()
    print(machine())
    work = Path(tempfile.mkdtemp(prefix="tgb-", dir="/tmp"))
    work.chmod(0o755)
    grove = Grove(work)
    try:
        project, python = make(work, chosen.migrations)
        with peer_server(work) as server:
            session("testgrove", project, python, chosen.workers, grove, server)  # the template is built
            took: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for _ in range(chosen.rounds):
                for kind, found in took.items():
                    found.append(session(kind, project, python, chosen.workers, grove, server))
        for kind, found in took.items():
            print(f"{kind:14} {statistics.median(found):.2f} s ({min(found):.2f} … {max(found):.2f})")
        ratios = [theirs / ours for theirs, ours in zip(*took.values(), strict=True)]
        print(f"{chosen.workers} workers: {statistics.median(ratios):.1f} times faster")
    finally:
        shutil.rmtree(work)
        shutil.rmtree(Path("/dev/shm") / Grove.scratch_of(work).name, ignore_errors=True)


if __name__ == "__main__":
    main()
