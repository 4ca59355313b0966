"""`testgrove ports`: who holds them, who listens on them, giving them back and getting others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from grove import Grove, said

LISTEN = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
sys.stdin.read()
"""
CONFIG = '[env]\nPAYMENT_URL = "http://127.0.0.1:${API_PORT}/x"\n'


@pytest.fixture
def project(grove) -> Grove:
    """A project with the worktree test-unit-a, which has ports."""
    return with_worktree(grove(config=CONFIG))


@pytest.fixture(scope="module")
def shared(shared_grove) -> Grove:
    """The same for tests that leave it as it is."""
    return with_worktree(shared_grove(config=CONFIG))


def with_worktree(planted: Grove) -> Grove:
    planted.create("test-unit", "a", "--ports", "--no-env")
    return planted


@pytest.fixture
def server() -> Iterator:
    """Starts something that listens: server(port, cwd)."""
    started = []

    def start(port, cwd="/"):
        process = subprocess.Popen(
            [sys.executable, "-c", LISTEN, str(port)], cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.communicate()


def block(project: Grove) -> list[int]:
    start = project.ports.start
    return [start, start + 1, start + 2]


def env_file(project: Grove, name: str = "test-unit-a") -> dict[str, str]:
    return dict(line.split("=", 1) for line in (project.root / name / ".env.test").read_text().splitlines())


def metadata(project: Grove) -> dict:
    return json.loads((project.root / "test-unit-a/.worktree-metadata.json").read_text())


def test_list_names_the_holders_of_all_projects(project):
    other = project.sibling("other")
    other.create("review", "b", "--ports", "--no-env")
    lines = [line.split() for line in project.run("ports", "list").stdout.splitlines()]
    first, second = block(project), [port + 3 for port in block(project)]
    assert lines == [
        [str(port), name, worktree, str(repo)]
        for ports, worktree, repo in ((first, "test-unit-a", project.repo), (second, "review-b", other.repo))
        for port, name in zip(ports, ("app", "api", "db"), strict=True)
    ]
    assert other.json("ports", "list")["ports"][0] == {
        "port": first[0], "name": "app", "holder": "test-unit-a", "project": str(project.repo),
    }  # fmt: skip


def test_check_names_who_listens_and_the_command_that_ends_it(shared, server):
    app, api, db = block(shared)
    inside, outside = server(app, shared.root / "test-unit-a"), server(api)
    done = shared.run("ports", "check", check=False)
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{app}  app  test-unit-a  pid {inside.pid} (")
    assert lines[0].endswith(f"in the worktree; to stop it: kill {inside.pid}")
    assert lines[1].endswith(f"outside the worktree; to stop it: kill {outside.pid}")
    assert lines[2] == f"{db}  db  test-unit-a  free"
    assert done.returncode == 3
    assert shared.run("ports", "check", str(db), str(app)).returncode == 0
    outside.communicate()
    assert shared.run("ports", "check", "a").stdout.splitlines()[1] == f"{api}  api  test-unit-a  free"


def test_check_takes_any_port(shared, server):
    free = shared.ports.stop - 1
    assert shared.run("ports", "check", str(free)).stdout == f"{free}  not leased  free\n"
    process = server(free)
    document = shared.json("ports", "check", str(free))["ports"]
    assert document[0]["worktree"] == ""
    assert [(one["pid"], one["end"]) for one in document[0]["listeners"]] == [(process.pid, f"kill {process.pid}")]


def test_released_ports_leave_every_file_and_can_be_leased_again(project):
    before = env_file(project)
    assert project.run("ports", "release", "a").stderr == f"released {' '.join(map(str, block(project)))} of a\n"
    assert "ports" not in metadata(project)
    assert "ports" not in project.registry()["worktrees"]["test-unit-a"]
    assert project.registry()["allocated_ports"] == []
    gone = {"APP_PORT", "API_PORT", "DB_PORT", "PAYMENT_URL"}
    assert env_file(project) == {name: value for name, value in before.items() if name not in gone}
    assert project.run("ports", "release", "a").stderr == "a has no ports\n"
    project.create("test-unit", "b", "--ports", "--no-env")
    assert list(metadata_of(project, "test-unit-b")["ports"].values()) == block(project)
    project.run("remove", "a", "b")
    project.auditor().assert_nothing()


def metadata_of(project: Grove, name: str) -> dict:
    return json.loads((project.root / name / ".worktree-metadata.json").read_text())


def test_a_port_in_use_is_not_released(project, server):
    app, api, db = block(project)
    process = server(api)
    done = project.run("ports", "release", "a", check=False)
    assert done.returncode == 3, said(done)
    assert f"port {api} of test-unit-a is in use by pid {process.pid}" in done.stderr
    assert f"kill {process.pid}" in done.stderr
    assert metadata(project)["ports"] == {"api": api}
    assert {name for name in env_file(project) if name.endswith("_PORT")} == {"API_PORT"}
    assert [entry["port"] for entry in project.json("ports", "list")["ports"]] == [api]
    assert (app, db) != (api, api)


def test_reassigned_ports_are_others_in_every_file_and_the_users_own_variables_stay(project):
    path = project.root / "test-unit-a/.env.test"
    path.write_text(path.read_text() + "MINE=kept\nDATABASE_URL=postgresql://u@h/d\n")
    old = block(project)
    new = project.json("ports", "reassign", "a")["ports"]
    assert list(new.values()) == [port + 3 for port in old]
    assert metadata(project)["ports"] == new == project.registry()["worktrees"]["test-unit-a"]["ports"]
    values = env_file(project)
    assert values["API_PORT"] == str(new["api"])
    assert values["PAYMENT_URL"] == f"http://127.0.0.1:{new['api']}/x"
    assert (values["MINE"], values["DATABASE_URL"]) == ("kept", "postgresql://u@h/d")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry["port"] for entry in project.json("ports", "list")["ports"]] == sorted(new.values())
    done = project.run("remove", "a", check=False)
    assert ".env.test (changed since" in done.stderr, "it has the user's variables in it"


def test_reassigning_and_releasing_ports_keep_what_was_edited_in_the_env_file(project):
    path = project.root / "test-unit-a/.env.test"
    old = env_file(project)
    edited = path.read_text().replace("TEST_MODE=true\n", "# by hand\nTEST_MODE=no\n")
    path.write_text(edited.replace(f"DB_PORT={old['DB_PORT']}\n", "DB_PORT=5432\n").replace("WORKTREE_ID", "#"))
    done = project.run("ports", "reassign", "a")
    assert "note: kept your edited DB_PORT in the env file" in done.stderr
    text = path.read_text()
    assert "# by hand\nTEST_MODE=no\n" in text
    assert "DB_PORT=5432\n" in text
    assert "WORKTREE_ID=" not in text
    assert f"API_PORT={metadata(project)['ports']['api']}\n" in text
    project.run("sync", "a")
    assert path.read_text() == text
    project.run("ports", "release", "a")
    assert "TEST_MODE=no\n" in path.read_text()
    assert "DB_PORT=5432\n" in path.read_text()
    assert "API_PORT" not in path.read_text()


def test_an_env_file_that_is_not_utf_8_is_read_and_keeps_its_bytes(project):
    path = project.root / "test-unit-a/.env.test"
    path.write_bytes(path.read_bytes() + b"MINE=gr\xfc\xdfe\x0c\r\nBROKEN=a\0b\n")
    assert project.json("doctor", check=False)["findings"]
    assert "MINE" in project.run("exec", "a", "--", "env").stdout.encode(errors="surrogateescape").decode("latin-1")
    project.run("ports", "reassign", "a")
    assert b"MINE=gr\xfc\xdfe\x0c\nBROKEN=a\0b\n" in path.read_bytes()
    project.run("sync", "a")


def test_a_worktree_without_ports_gets_some_by_reassigning(project):
    project.create("test-unit", "b", "--no-env")
    new = project.json("ports", "reassign", "b")["ports"]
    assert list(new) == ["app", "api", "db"]
    assert env_file(project, "test-unit-b")["APP_PORT"] == str(new["app"])
    project.run("remove", "a", "b")
    project.auditor().assert_nothing()


def test_where_no_ports_are_left_everything_stays(grove):
    project: Grove = grove()
    start = project.ports.start
    project.write({"testgrove.toml": f'[ports]\nrange = "{start}-{start + 3}"\n'}, commit="Few ports")
    project.create("test-unit", "a", "--ports", "--no-env")
    done = project.run("ports", "reassign", "a", check=False)
    assert done.returncode == 4, said(done)
    assert metadata(project)["ports"] == dict(zip(("app", "api", "db"), block(project), strict=True))
    assert project.worktrees()["test-unit-a"]["status"] == "ready"


@pytest.mark.parametrize("number", ["0", "65536", "99999", "9" * 5000])
def test_a_number_that_no_port_has_is_an_error(shared, number):
    done = shared.run("ports", "check", number, check=False)
    assert done.returncode == 2
    assert "is not a port\n  hint: use a number from 1 to 65535" in done.stderr


@pytest.mark.parametrize("words", [["release", "nope"], ["reassign", "nope"], ["check", "nope"]])
def test_an_unknown_worktree_is_an_error(shared, words):
    done = shared.run("ports", *words, check=False)
    assert done.returncode == 3
    assert "worktree 'nope' not found" in done.stderr


def test_a_deleted_env_file_is_an_error_and_the_ports_stay(project):
    (project.root / "test-unit-a/.env.test").unlink()
    done = project.run("ports", "release", "a", check=False)
    assert done.returncode == 3, said(done)
    assert ".env.test" in done.stderr
    assert [entry["port"] for entry in project.json("ports", "list")["ports"]] == block(project)


@pytest.mark.parametrize("name", ["list", "check", "release", "reassign"])
def test_every_subcommand_has_a_help_with_an_example(shared, name):
    assert f"testgrove ports {name}" in shared.run("ports", name, "--help").stdout.split("Example")[1]


def test_a_near_subcommand_is_named(shared):
    assert "Did you mean release?" in shared.run("ports", "relase", check=False).stderr


def test_the_variables_of_a_sub_project_stay_where_the_command_is_typed_at_the_top(grove):
    one = grove(files={"api/testgrove.toml": '[env]\nCOLOUR = "red"\n', "api/test_a.py": "def test_it(): pass\n"})
    one.run("create", "--identifier", "a", "--ports", "--no-env", cwd=one.repo / "api")
    before = env_file(one, "work-a")
    one.run("ports", "reassign", "a")
    after = env_file(one, "work-a")
    assert before["COLOUR"] == after["COLOUR"] == "red"
    assert before["API_PORT"] != after["API_PORT"]
