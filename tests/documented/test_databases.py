"""The documents' database snippets: the example project by hand, and the conftest that makes its database anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import needs
from grove import Grove

SHOP = Path(__file__).parents[2] / "examples/shop"
pytestmark = [pytest.mark.slow, pytest.mark.postgres]

# Their conftest, to the letter; the project's own migration stands in for Django's.
CONFTEST = '''
import os
import json
import subprocess

import pytest


def call_command(name):
    assert name == 'migrate'
    table = 'CREATE TABLE users (name text)'
    subprocess.run(['psql', '-q', '-v', 'ON_ERROR_STOP=1', '-c', table, os.environ['DATABASE_NAME']], check=True)


@pytest.fixture(scope='session')
def test_database():
    """Get test database name from worktree metadata"""

    with open('.worktree-metadata.json') as f:
        metadata = json.load(f)

    return metadata['database']


@pytest.fixture(scope='session', autouse=True)
def setup_test_database(test_database):
    """Create fresh test database"""

    # Drop if exists
    subprocess.run(['dropdb', '--if-exists', test_database])

    # Create fresh
    subprocess.run(['createdb', test_database], check=True)

    # Run migrations
    os.environ['DATABASE_URL'] = f'postgresql://localhost/{test_database}'
    call_command('migrate')

    yield

    # Cleanup after all tests
    subprocess.run(['dropdb', test_database])
'''
TEST = """
import subprocess

def test_users(test_database):
    for statement in ("INSERT INTO users VALUES ('a')", "SELECT count(*) FROM users"):
        words = ['psql', '-At', '-d', f'postgresql://localhost/{test_database}', '-c', statement]
        assert subprocess.run(words, check=True, capture_output=True, text=True).stdout in ('1\\n', 'INSERT 0 1\\n')
"""


@pytest.fixture(autouse=True)
def clients(require_postgres):
    if shutil.which("psql", path="/usr/local/bin:/usr/bin:/bin") is None:
        needs.missing("psql", "there is no psql on PATH")


def test_the_conftest_that_drops_and_creates_its_database(grove, with_scripts):
    files = {"tests/integration/conftest.py": CONFTEST, "tests/integration/test_users.py": TEST}
    config = '[services.postgres]\n[suites.integration]\ncommand = "pytest"\nservices = ["postgres"]\n'
    shell = with_scripts(grove(files=files, config=config))
    shell.type(
        """
        python scripts/worktree_create.py --purpose test-integration --identifier api-endpoints --branch main --ports
        cd worktrees/test-integration-api-endpoints
        source .venv/bin/activate
        export $(cat .env.test | xargs)
        psql -l | grep testdb_integration_api_endpoints
        psql testdb_integration_api_endpoints -c "SELECT current_user;"
        pytest tests/integration/ -v >&2
        ! psql -l | grep testdb_
        createdb testdb_integration_api_endpoints
        pytest tests/integration/ -v >&2
        """
    )
    shell.type("python scripts/worktree_remove.py --identifier api-endpoints")
    shell.project.auditor().assert_nothing(within=15)


def example(grove) -> Grove:
    """The example project, with ports that no other test has."""
    config = SHOP / "pyproject.toml"
    left_out = {".venv", "test-artifacts", "__pycache__", "pyproject.toml"}
    files = {
        str(path.relative_to(SHOP)): path.read_text()
        for path in SHOP.rglob("*")
        if path.is_file() and not left_out & set(path.relative_to(SHOP).parts)
    }
    project = grove(files=files)
    ports = (project.repo / "testgrove.toml").read_text().replace("[ports]", "[tool.testgrove.ports]")
    (project.repo / "testgrove.toml").unlink()
    project.write({"pyproject.toml": config.read_text() + ports})
    return project


def test_the_example_project_by_hand(grove, with_scripts, require_redis):
    project = example(grove)
    shell = with_scripts(project)
    done = shell.type(
        """
        python scripts/worktree_create.py --purpose test-integration --identifier my-test --branch main --ports
        cd worktrees/test-integration-my-test
        source .venv/bin/activate
        export $(cat .env.test | xargs)
        uvicorn --factory shop.api:create_app --port $APP_PORT >&2 &
        until python -c "import socket; socket.create_connection(('127.0.0.1', $APP_PORT))" 2>&-; do kill -0 $!; done
        python -c "import urllib.request as r; print(r.urlopen('http://127.0.0.1:$APP_PORT/health').read().decode())"
        psql -l | grep testdb_ | cut -d'|' -f1
        pytest tests/integration/ --junitxml=junit.xml >&2
        kill $!
        python ../../scripts/worktree_remove.py --identifier my-test
        """
    )
    assert '{"status":"ok"}\n testdb_integration_my_test' in done.stdout
    assert [path.name for path in (project.artifacts / "test-integration-my-test").iterdir()] == ["junit.xml"]
    assert project.git("status", "--porcelain") == ""
    project.auditor().assert_nothing(within=15)


def test_the_example_project_without_exported_variables(grove, with_scripts, require_redis):
    if shutil.which("redis-cli", path="/usr/local/bin:/usr/bin:/bin") is None:
        needs.missing("redis", "there is no redis-cli on PATH")
    project = example(grove)
    shell = with_scripts(project)
    done = shell.type(
        """
        python scripts/worktree_create.py --purpose test-integration --identifier my-test --branch main --ports
        cd worktrees/test-integration-my-test
        source .venv/bin/activate
        psql -l | grep testdb_ | cut -d'|' -f1
        redis-cli PING
        redis-cli CONFIG GET port | tail -1
        pytest tests/integration/ >&2
        python ../../scripts/worktree_remove.py --identifier my-test
        """
    )
    named, pong, port = done.stdout.splitlines()[-3:]
    assert (named.strip(), pong) == ("testdb_integration_my_test", "PONG")
    assert port != "6379"
    project.auditor().assert_nothing(within=15)


def test_cleanup_test_database(grove, with_scripts):
    config = '[services.postgres]\n[suites.integration]\ncommand = "pytest"\nservices = ["postgres"]\n'
    shell = with_scripts(grove(config=config))
    project = shell.project
    shell.type("python scripts/worktree_create.py --purpose test-integration --identifier a --branch main")
    out = shell.python(
        "from worktree_remove import cleanup_test_database",
        "import json",
        "metadata = json.load(open('worktrees/test-integration-a/.worktree-metadata.json'))",
        "print(cleanup_test_database(metadata), cleanup_test_database({}))",
    )
    assert out.split()[-2:] == ["True", "True"]
    assert "database" not in project.registry()["worktrees"]["test-integration-a"]
    assert "DATABASE_URL" not in project.json("env", "a")["variables"]
    project.run("remove", "a")
    project.auditor().assert_nothing(within=15)
