"""Suites that reach for a server of somebody else's: an error that says where to and why, by every route; and none
where it is their own affair. The stranger's servers are real and are started here."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import users_server
from grove import Grove
from users_server import UsersPostgres

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis]

SERVICES = """
[services.postgres]
[services.redis]
"""
SUITE = """
[suites.{name}]
command = "{command}"
services = ["postgres", "redis"]
timeout = 60
retries = 1
"""


@pytest.fixture(scope="module")
def postgres(require_postgres) -> Iterator[UsersPostgres]:
    with users_server.users_postgres(require_postgres) as server:
        yield server


@pytest.fixture(scope="module")
def redis_port(require_redis) -> Iterator[int]:
    with users_server.users_redis(require_redis) as port:
        yield port


@pytest.fixture
def run(grove, drivers):
    """Run suites in the checkout, in the environment with the drivers; status and reason of each by its name."""

    def run(files: dict[str, str], commands: dict[str, str], config: str = "") -> dict[str, tuple[str, str]]:
        suites = "".join(SUITE.format(name=name, command=command) for name, command in commands.items())
        top = config if config.startswith("allow") else ""
        project: Grove = grove(files={"README.md": "x\n", **files}, config=top + SERVICES + suites + config[len(top) :])
        project.run("test", "--here", env={"VIRTUAL_ENV": str(drivers)}, check=False, timeout=240)
        project.auditor().assert_no_leftovers(within=2.0)
        events = [json.loads(line) for line in (project.runs()[-1] / "events.jsonl").read_text().splitlines()]
        ended = [event for event in events if event["type"] == "cell_finished"]
        assert len([event for event in events if event["type"] == "attempt_started"]) == len(ended), (
            "it was tried again"
        )
        assert [event for event in events if event["type"] == "leak_found" and event["kind"] == "descriptor"] == []
        return {event["cell"].split("@")[0].split(" ")[0]: (event["status"], event["reason"]) for event in ended}

    return run


def test_variables_that_lead_to_another_server_are_an_error_and_say_who_has_set_them(run, postgres):
    where = f"127.0.0.1:{postgres.port}"
    url = f"postgresql://ci:{users_server.QUOTED}@{where}/postgres"
    wait = "import time\ndef test_it():\n    time.sleep(20)\n"
    found = run(
        {
            "a/conftest.py": f"import os\nos.environ['DATABASE_URL'] = '{url}'\n",
            "a/test_a.py": wait,
            ".env.dev": f"DATABASE_URL={url}\n",
            "b/conftest.py": "import dotenv\ndotenv.load_dotenv('.env.dev', override=True)\n",
            "b/test_b.py": wait,
            "c/pytest.ini": f"[pytest]\nenv =\n    DATABASE_URL={url}\n",
            "c/test_c.py": wait,
            "d/test_d1.py": "import os\ndef test_it():\n    os.environ['PGPORT'] = '5431'\n",
            "d/test_d2.py": wait,
            "e/test_e.py": wait,
        },
        {
            "conftest": "pytest a",
            "dotenv": "pytest b",
            "env": "pytest -c c/pytest.ini c",
            "module": "pytest d",
            "shell": "env REDIS_URL=redis://cache.invalid/3 pytest e",
        },
    )
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(found, "error")
    for name, parts in {
        "conftest": ("$DATABASE_URL leads to postgres", where, "set by a/conftest.py", "allow_connections"),
        "dotenv": ("$DATABASE_URL leads to postgres", where, "set by b/conftest.py as .env.dev has it"),
        "env": ("$DATABASE_URL leads to postgres", where, "set by pytest-env"),
        "module": ("$PGPORT leads to postgres 127.0.0.1:5431", "set by d/test_d1.py"),
        "shell": (
            "$REDIS_URL leads to redis cache.invalid:6379 database '3'",
            "which does not belong to this worktree;",
        ),
    }.items():
        for part in parts:
            assert part in found[name][1], (name, found[name])
        assert users_server.QUOTED not in found[name][1]


def test_connections_to_another_server_are_an_error_whoever_makes_them(run, postgres, redis_port, require_postgres):
    where = f"127.0.0.1:{postgres.port}"
    url = f"postgresql://ci:{users_server.QUOTED}@{where}/postgres"
    redis = f"redis://:{users_server.QUOTED}@localhost:{redis_port}/1"
    psql, sleep = require_postgres.bindir / "psql", "SELECT pg_sleep(20)"
    wait = "    time.sleep(20)\n"
    config = SUITE.format(name="process", command="pytest d") + 'processes = ["app"]\n'
    config += '[processes.app]\ncommand = "python app.py"\nready = "log:ready"\n'
    found = run(
        {
            "a/settings.py": f"URL = '{url}'\n",
            "a/conftest.py": "import sys\nsys.path.insert(0, 'a')\n",
            "a/test_a.py": "import psycopg, settings, time\n"
            f"def test_it():\n    psycopg.connect(settings.URL).close()\n{wait}",
            "b/test_b.py": f"import redis, time\ndef test_it():\n    redis.from_url('{redis}').ping()\n{wait}",
            "c/test_c.py": "import subprocess\ndef test_it():\n"
            f"    subprocess.run(['{psql}', '{url}', '-c', '{sleep}'])\n",
            "app.py": f"import psycopg\nprint('ready', flush=True)\npsycopg.connect('{url}').execute('{sleep}')\n",
            "d/test_d.py": f"import time\ndef test_it():\n{wait}",
            "e/test_e.py": "import subprocess\ndef test_it():\n"
            f"    words = ['-h', '{postgres.folder}', '-p', '{postgres.port}', '-U', 'postgres', '-c', '{sleep}']\n"
            f"    subprocess.run(['{psql}', *words])\n",
        },
        {"fixed": "pytest a", "redis": "pytest b", "psql": "pytest c", "socket": "pytest e"},
        config,
    )
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(found, "error")
    for name, parts in {
        "fixed": ("a driver connected to postgres", where, "a/test_a.py:3, in a/test_a.py::test_it", where),
        "redis": (f"a driver connected to redis localhost:{redis_port} database '1'", "b/test_b.py:3"),
        "psql": ("psql", "connected to", where, f'allow_connections = ["{where}"]'),
        "process": ("python app.py` connected to", where),
        "socket": ("psql", f"{postgres.folder}/.s.PGSQL.{postgres.port}"),
    }.items():
        for part in parts:
            assert part in found[name][1], (name, found[name])
        assert "s3cret" not in found[name][1]


OWN = """
import os, socket, subprocess, psycopg, redis, sqlite3, http.server, threading, urllib.request
ENGINE = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)  # open when pytest ends, as an application's are
CACHE = redis.from_url(os.environ["REDIS_URL"])
CACHE.ping()

def test_databases_made_by_hand_on_the_own_server():
    for name in ("testdb_by_hand", "any_gw0"):
        ENGINE.execute(f"CREATE DATABASE {name}")
        port = os.environ["PGPORT"]
        psycopg.connect(f"dbname={name}").close()
        psycopg.connect(f"postgresql://localhost/{name}").close()
        psycopg.connect(f"postgresql://[::1]:{port}/{name}?host=127.0.0.1").close()
        ENGINE.execute(f"DROP DATABASE {name} WITH (FORCE)")

def test_variables_for_one_test(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://production.example/shop")

def test_files_and_nobody(tmp_path, monkeypatch):
    sqlite3.connect(tmp_path / "x.db").close()
    try:
        psycopg.connect("postgresql://localhost:1/x", connect_timeout=1)
    except psycopg.OperationalError:
        pass

def test_a_server_of_the_tests_own():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(["REDIS", "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.1), 50))
    client.ping()
    client.close()
    server.kill()
    server.wait()

def test_http_is_nobodys_affair():
    web = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=web.handle_request).start()
    urllib.request.urlopen(f"http://127.0.0.1:{web.server_port}").close()
    web.server_close()

def test_what_the_settings_name():
    psycopg.connect("STRANGER").close()
    psycopg.connect(os.environ["WAREHOUSE_URL"]).close()
"""
# The conftest of the documents that this project started from, to the letter but for its imports and the migration.
DOCUMENTED = """
import json, os, pytest, subprocess

@pytest.fixture(scope='session')
def test_database():
    \"\"\"Get test database name from worktree metadata\"\"\"

    with open('.worktree-metadata.json') as f:
        metadata = json.load(f)

    return metadata['database']

@pytest.fixture(scope='session', autouse=True)
def setup_test_database(test_database):
    \"\"\"Create fresh test database\"\"\"

    # Drop if exists
    subprocess.run(['dropdb', '--if-exists', test_database])

    # Create fresh
    subprocess.run(['createdb', test_database], check=True)

    # Run migrations
    os.environ['DATABASE_URL'] = f'postgresql://localhost/{test_database}'

    yield

    # Cleanup after all tests
    subprocess.run(['dropdb', test_database])
"""


DJANGO = """
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes"]
OURS = dict(ENGINE="django.db.backends.postgresql", HOST="localhost", USER=os.environ["PGUSER"],
            PASSWORD=os.environ["PGPASSWORD"])
DATABASES = {"default": OURS | {"NAME": os.environ["DATABASE_NAME"]}, "other": OURS | {"NAME": "other"}}
"""
DJANGO_TEST = """
import pytest
from django.contrib.contenttypes.models import ContentType

@pytest.mark.django_db(databases=["default", "other"])
def test_both():
    for alias in ("default", "other"):
        ContentType.objects.using(alias).create(app_label=alias, model="x")
"""


def test_what_is_the_suites_own_affair_is_no_error_and_no_leak(run, postgres, require_postgres, require_redis):
    stranger = f"postgresql://ci:{users_server.QUOTED}@127.0.0.1:{postgres.port}/postgres"
    own = OWN.replace("STRANGER", stranger).replace('REDIS"', f'{require_redis.path}"')
    metadata = '{"database": "testdb_by_hand"}'
    found = run(
        {
            "own/test_own.py": own,
            "documented/conftest.py": DOCUMENTED.replace('\\"', '"'),
            "documented/test_it.py": "import os, psycopg\ndef test_it():\n"
            "    with psycopg.connect(os.environ['DATABASE_URL']) as c:\n"
            "        assert c.info.dbname == 'testdb_by_hand'\ndef test_more(): pass\n",
            ".worktree-metadata.json": metadata,
            "django/settings.py": DJANGO,
            "django/pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\n",
            "django/test_both.py": DJANGO_TEST,
        },
        {
            "own": "pytest own",
            "django": "pytest -n 2 -c django/pytest.ini django",
            "documented": f"PATH={require_postgres.bindir}:$PATH pytest documented",
        },
        f'allow_connections = ["localhost:{postgres.port}"]\n[env]\nWAREHOUSE_URL = "{stranger}"\n',
    )
    assert found == dict.fromkeys(("own", "django", "documented"), ("passed", ""))


def test_scenarios_and_suites_in_worktrees_of_their_own_are_watched_alike(grove, drivers, redis_port):
    hold = f"import socket, time; s = socket.create_connection(('127.0.0.1', {redis_port})); time.sleep(20)"
    files = {
        "README.md": "x\n",
        "tests/conftest.py": f"import os\nos.environ['REDIS_URL'] = 'redis://localhost:{redis_port}/1'\n",
        "tests/test_it.py": "import time\ndef test_it(): time.sleep(20)\n",
        "hold.py": hold,
    }
    project = grove(files=files, config='[services.redis]\n[suites.hold]\ncommand = "python hold.py"\nretries = 1\n')
    project.root.mkdir()
    project.git("worktree", "add", "--quiet", "-b", "one", str(project.root / "one"))
    it = {"name": "it", "worktree": "one", "test_file": "tests/test_it.py", "services": ["redis"], "retries": 1}
    (project.repo / "scenarios.json").write_text(json.dumps({"scenarios": [it]}))
    for words in (("coordinate",), ("test", "hold")):
        assert project.run(*words, env={"VIRTUAL_ENV": str(drivers)}, check=False).returncode == 1
        (cell,) = json.loads((project.artifacts / "latest/report.json").read_text())["cells"]
        assert cell["status"] == "error"
        assert f":{redis_port}" in cell["reason"]
        assert "which does not belong to this worktree" in cell["reason"]
        assert len(cell["attempts"]) == 1
