"""A project that needs a server: what a first run says, and a run after `testgrove init` without another line."""

from __future__ import annotations

import json
import sys

import pytest

from grove import Grove, said

PING = """
import os, socket

HOST, PORT = os.environ.get("REDIS_HOST", "localhost"), int(os.environ.get("REDIS_PORT", 6379))

def test_it():
    with socket.create_connection((HOST, PORT)) as client:
        client.sendall(b"PING\\r\\n")
        assert client.recv(100) == b"+PONG\\r\\n"
"""
REFUSED = """
import os

def test_it():
    assert "REDIS_HOST" in os.environ, "Error 111 connecting to localhost:6379. Connection refused."
"""


def run(project: Grove) -> tuple[str, str]:
    """The status of the only cell, and all that was said."""
    done = project.run("test", "--here", "--json", env={"VIRTUAL_ENV": sys.prefix}, check=False)
    assert done.stdout, said(done)
    return json.loads(done.stdout)["cells"][0]["status"], done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.redis
def test_redis_by_host_and_port(grove, require_redis):
    project = grove(files={"requirements.txt": "redis\npytest\n", "tests/test_a.py": REFUSED})
    ports = (project.repo / "testgrove.toml").read_text()
    (project.repo / "testgrove.toml").unlink()
    status, words = run(project)
    assert status == "failed"
    assert "nothing listens on port 6379" in words
    assert '"hint": "run `testgrove init`, or declare [services.redis] in testgrove.toml"' in words
    project.write({"tests/test_a.py": PING})
    project.run("init")
    written = (project.repo / "testgrove.toml").read_text()
    project.write({"testgrove.toml": written + ports})
    assert run(project)[0] == "passed"
    project.auditor().assert_nothing()


DJANGO = {
    "README.md": "A site.\n",
    ".gitignore": "__pycache__\n",
    "requirements.txt": "django\n",
    "manage.py": "import os, sys\nfrom django.core.management import execute_from_command_line\n"
    "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_settings')\nexecute_from_command_line(sys.argv)\n",
    "site_settings.py": "SECRET_KEY = 'x'\nINSTALLED_APPS = ['posts']\n"
    "DEFAULT_AUTO_FIELD = 'django.db.models.AutoField'\n"
    "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'db.sqlite3'}}\n",
    "posts/__init__.py": "",
    "posts/models.py": "from django.db import models\n\n\nclass Post(models.Model):\n    title = models.TextField()\n",
    "posts/migrations/__init__.py": "",
    "posts/migrations/0001_initial.py": "from django.db import migrations, models\n\n\n"
    "class Migration(migrations.Migration):\n    operations = [migrations.CreateModel('Post', "
    "[('id', models.AutoField(primary_key=True)), ('title', models.TextField())])]\n",
    "posts/tests.py": "from django.test import TestCase\nfrom posts.models import Post\n\n\n"
    "class PostTest(TestCase):\n    def test_it(self):\n        Post.objects.create(title='a')\n"
    "        self.assertEqual(Post.objects.count(), 1)\n",
}


@pytest.mark.slow
def test_django_with_its_own_file_of_tests(grove, tools):
    project = grove(files=DJANGO)
    ports = (project.repo / "testgrove.toml").read_text()
    (project.repo / "testgrove.toml").unlink()
    project.run("init")
    written = (project.repo / "testgrove.toml").read_text()
    assert 'command = "python manage.py test"' in written
    assert "\n[services." not in written  # its database is a file of its own in each worktree
    assert "runserver --noreload 127.0.0.1:${APP_PORT}" in written
    project.write({"testgrove.toml": written + ports})
    done = project.run("test", "--here", "--json", env={"VIRTUAL_ENV": str(tools)}, check=False)
    (cell,) = json.loads(done.stdout)["cells"]
    assert (cell["status"], cell["reason"].partition(";")[0]) == ("passed", "1 tests ran"), said(done)
