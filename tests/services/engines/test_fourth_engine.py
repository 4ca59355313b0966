"""An engine of another distribution: a wheel, found by its entry point, with no change in testgrove."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from users_server import free_port, wait_until_ready

SOURCE = Path(__file__).with_name("kv")
METADATA = "Metadata-Version: 2.1\nName: testgrove-kv\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
CONTRACT = """
from testgrove.testing import EngineContract
from testgrove_kv.engine import ask

class TestKv(EngineContract):
    name = "kv"
    script = "SET migrated 1"

    def write(self, access):
        ask(access.host, access.port, access.password.reveal(), "SET a 1")

    def is_empty(self, access):
        return ask(access.host, access.port, access.password.reveal(), "COUNT") == ["0"]
"""
CONFIG = """
[services.kv]
[services.queue]
engine = "kv"
[services.seeded]
engine = "kv"
migrate = "python seed.py"
migrate_to = "python seed.py ${REVISION}"
inputs = ["seed.py"]
[suites.unit]
command = "pytest tests"
services = ["kv", "queue", "seeded"]
"""
TESTS = """
import os, socket

def ask(url, *commands):
    password, _, where = url.removeprefix("kv://default:").partition("@")
    host, _, port = where.partition("/")[0].partition(":")
    with socket.create_connection((host, int(port))) as connection, connection.makefile("rw") as lines:
        def say(command):
            lines.write(command + "\\n")
            lines.flush()
            return lines.readline().strip()
        return [say(command) for command in ("AUTH " + password, *commands)][1:]

def test_each_service_has_its_own():
    assert os.environ["KV_PORT"] in os.environ["KV_URL"] != os.environ["QUEUE_URL"]
    assert ask(os.environ["KV_URL"], "SET a 1", "COUNT") == ["OK", "1"]
    assert ask(os.environ["QUEUE_URL"], "COUNT") == ["0"]

def test_a_test_has_its_own(testgrove_service):
    queue = testgrove_service("queue")
    assert queue.url not in (os.environ["QUEUE_URL"], testgrove_service("kv").url)
    assert ask(queue.url, "COUNT", "SET a 1") == ["0", "OK"]

def test_the_next_one_too(testgrove_service):
    assert ask(testgrove_service("queue").url, "COUNT") == ["0"]

def test_one_is_migrated(testgrove_service):
    for url in (os.environ["SEEDED_URL"], testgrove_service("seeded").url):
        assert ask(url, "COUNT", "GET seed") == ["1", "newest"]
"""
# In the environment of the tests, as a driver is.
DRIVER = """
class Client:
    living = []

    @classmethod
    def connect(cls, url, auth):
        assert isinstance(auth, tuple)
        made = cls()
        made.url, made.password = url, auth[1]
        assert made.password in url and not cls.living
        cls.living.append(made)
        return made

    def close(self):
        self.living.remove(self)
"""
FIXTURES = """
import pytest
from kv_driver import Client
from test_kv import ask

@pytest.fixture(scope="session")
def filled(kv_client):
    ask(kv_client.url, "SET first 1")
    yield Client.living
    assert Client.living == [kv_client]

@pytest.mark.parametrize("number", range(2))
def test_it_is_emptied_before_each_test(kv_client, kv_url, testgrove_kv_url, number):
    assert kv_client.url == kv_url == testgrove_kv_url
    assert ask(kv_url, "COUNT", "SET a 1") == ["0", "OK"]

def test_a_fixture_of_the_projects_can_use_it(filled, kv_url):
    assert ask(kv_url, "COUNT") == ["1"]
"""
UNKNOWN = "def test_another(kv_url, kv_uri): ..."
PLUGGED = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")


SEED = """
import os, sys
sys.path.append("tests")
from test_kv import ask
assert os.environ["KV_URL"] == os.environ["SEEDED_URL"]
ask(os.environ["KV_URL"], "SET seed " + " ".join(sys.argv[1:] or ["newest"]))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where the wheel is installed."""
    folder = tmp_path_factory.mktemp("kv")
    wheel, site = folder / "testgrove_kv-1.0-py3-none-any.whl", folder / "site"
    info = "testgrove_kv-1.0.dist-info"
    files = {f"testgrove_kv/{path.name}": path.read_text() for path in (SOURCE / "testgrove_kv").glob("*.py")}
    files |= {f"{info}/METADATA": METADATA, f"{info}/WHEEL": WHEEL}
    files[f"{info}/entry_points.txt"] = "[testgrove.engines]\nkv = testgrove_kv.declaration:ENGINE\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in files)
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "pip", "install", "-q", "--offline", "--no-deps", "--target", site, wheel], check=True)
    return site


def test_it_is_small():
    files = [path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(len(path.read_text().splitlines()) for path in files) <= 150


def test_it_fulfils_the_contract(site, tmp_path):
    (tmp_path / "test_kv.py").write_text(CONTRACT)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_kv.py"]
    env = {"PYTHONPATH": str(site)}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "8 passed, 1 skipped" in done.stdout, done.stdout + done.stderr


def test_a_project_that_names_it_without_the_wheel_is_told(grove):
    done = grove(config=CONFIG).run("test", check=False)
    assert done.returncode == 2
    assert "'services.kv': unknown key" in done.stderr


@pytest.mark.slow
def test_runs_worktrees_and_commands_use_it(site, grove):
    files = {
        "tests/test_kv.py": TESTS,
        "tests/kv_driver.py": DRIVER,
        "tests/test_fixtures.py": FIXTURES,
        "seed.py": SEED,
    }
    project = grove(files={**files, "requirements.txt": "pytest\n"}, config=CONFIG)

    def run(*arguments: str, status: int = 0) -> str:
        process = project.start(*arguments, env={"PYTHONPATH": str(site)})
        out, err = process.communicate(timeout=120)
        assert process.returncode == status, out + err
        return out

    run("test")
    create = ("create", "--purpose", "test-unit", "--branch", "HEAD", "--migrate-to", "seeded=older")
    run(*create, "--identifier", "a")

    def seed() -> str:
        ask = "from test_kv import *; print(*ask(os.environ['SEEDED_URL'], 'GET seed'))"
        return run("exec", "test-unit-a", "--", "env", "PYTHONPATH=tests", "python", "-c", ask).strip()

    assert seed() == "older"
    run("db", "reset", "test-unit-a", "--service", "seeded")
    assert seed() == "newest"
    found = json.loads(run("db", "list", "--json"))["databases"]
    assert [(each["service"], each["engine"]) for each in found] == [("kv", "kv"), ("queue", "kv"), ("seeded", "kv")]
    urls = {name: run("db", "url", "test-unit-a", "--service", name).strip() for name in ("kv", "queue")}
    assert urls["kv"] != urls["queue"]
    run("exec", "test-unit-a", "--", "python", "-c", TESTS + "\nask(os.environ['QUEUE_URL'], 'SET a 1')")
    run("db", "reset", "test-unit-a", "--service", "queue")
    run("exec", "test-unit-a", "--", "python", "-c", TESTS + "\nassert ask(os.environ['QUEUE_URL'], 'COUNT') == ['0']")
    assert run("db", "shell", "test-unit-a", "--service", "queue").strip() == urls["queue"]
    assert {each["name"] for each in json.loads(run("services", "list", "--json"))["services"]} == {
        "kv-test-unit-a",
        "queue-test-unit-a",
        "seeded-test-unit-a",
    }
    run("db", "drop", "test-unit-a", "--service", "kv")
    assert [each["service"] for each in json.loads(run("db", "list", "--json"))["databases"]] == ["queue", "seeded"]
    run("remove", "test-unit-a")
    project.auditor().assert_no_leftovers(within=5.0)


@pytest.mark.slow
def test_plain_pytest_learns_its_fixtures_from_the_broker(site, grove):
    files = {"tests/test_kv.py": TESTS, "tests/kv_driver.py": DRIVER, "tests/test_fixtures.py": FIXTURES}
    project = grove(files=files, config=CONFIG)
    env = {"TESTGROVE": f"env PYTHONPATH={site} {Path(sys.executable).with_name('testgrove')}"}
    done = project.run("-q", "tests/test_fixtures.py", program=PLUGGED, env=env, check=False)
    assert done.stdout.strip().splitlines()[-1].startswith("3 passed"), done.stdout
    project.write({"tests/test_fixtures.py": UNKNOWN})
    done = project.run("-q", "tests/test_fixtures.py", program=PLUGGED, env=env, check=False)
    assert "fixture 'kv_uri' not found" in done.stdout
    project.auditor().assert_nothing(within=5.0)


@pytest.mark.slow
def test_an_external_server_that_cannot_be_divided_is_shared_or_refused(site, grove, tmp_path):
    password = tmp_path / "password"
    password.write_text("p")
    port = free_port()
    url = f"kv://default:p@127.0.0.1:{port}/main"
    config = f'[services.kv]\nhost = "{url}"\n[suites.unit]\ncommand = "env"\nservices = ["kv"]\n'
    project = grove(files={"README.md": ""}, config=config)

    def run(status: int) -> str:
        process = project.start("test", "-v", env={"PYTHONPATH": str(site)})
        out, err = process.communicate(timeout=60)
        assert process.returncode == status, out + err
        return out + err

    assert "an external KV server has one database for all worktrees and tests" in run(2)
    project.write({"testgrove.toml": config.replace("[suites", 'isolation = "none"\n[suites')})
    assert f"cannot connect to kv at 127.0.0.1:{port}" in run(5)
    server = subprocess.Popen([sys.executable, SOURCE / "testgrove_kv" / "server.py", str(port), password])
    try:
        wait_until_ready(lambda: socket.create_connection(("127.0.0.1", port)).close(), OSError)
        run(0)
    finally:
        server.kill()
        server.wait()
    (log,) = project.runs()[-1].glob("*/output.log")
    assert f"KV_URL={url}" in log.read_text()
