"""What attempts leave behind, found in real runs and told with the cell that left it."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from faults.tricky import FILES, KINDS
from grove import Grove, said

QUIET = """
import pytest, tempfile
from pathlib import Path

def test_quiet(tmp_path):
    Path("junit-more.xml").write_text("<testsuite/>")
    Path("build.log").write_text("ignored")
    Path("__pycache__").mkdir(exist_ok=True)
    Path("__pycache__/tracked.pyc").write_text("made again")  # as in a snapshot of a tree without a .gitignore
    with tempfile.TemporaryDirectory():
        pass

def test_nothing_more(capfd):
    pass
"""
UNTIDY = """
import os, tempfile, threading
from pathlib import Path

kept = []

def test_untidy():
    Path("left.txt").write_text("new")
    Path("README.md").write_text("changed")
    tempfile.mkdtemp(prefix="forgotten-")
    kept.append(open(__file__))
    threading.Thread(target=threading.Event().wait, name="pump", daemon=True).start()
"""
ORPHANS = """
import os, subprocess, sys, time
from pathlib import Path

def test_that_leaves_six_children():
    program = Path(__file__).with_name("children.py")
    folder = os.environ["HANG"]
    done = subprocess.Popen([sys.executable, "-S", program, folder])
    deadline = time.monotonic() + 60
    while len([name for name in os.listdir(folder) if "." not in name]) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""
SERVER = """
import os, subprocess, sys

SERVE = "import os, socket, sys; s = socket.create_server(('', int(sys.argv[1]))); print(flush=True); sys.stdin.read()"

def test_that_leaves_a_server():
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, os.environ["APP_PORT"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    )
    keep = os.dup(server.stdin.fileno())
    os.set_inheritable(keep, True)
    assert server.stdout.readline()
    subprocess.Popen(["sleep", "600"], close_fds=False, start_new_session=True)  # holds the server's stdin open
"""


def leaks_of(project: Grove, suite: str) -> list[dict[str, Any]]:
    document = json.loads((project.runs()[-1] / "report.json").read_text())
    (cell,) = [cell for cell in document["cells"] if cell["suite"] == suite]
    leaks: list[dict[str, Any]] = cell["leaks"]
    return leaks


def names(leaks: list[dict[str, Any]], kind: str) -> list[str]:
    return [leak["name"] for leak in leaks if leak["kind"] == kind]


def lives(pid: int) -> bool:
    """Whether it is still one of the six."""
    try:
        return "children.py" in str(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_each_leak_is_told_with_the_cell_that_left_it(grove):
    project = grove(
        files={
            "README.md": "A project.\n",
            ".gitignore": "*.log\n",
            "__pycache__/tracked.pyc": "old",
            "quiet/test_quiet.py": QUIET,
            "untidy/test_untidy.py": UNTIDY,
        },
        config='[suites.quiet]\ncommand = "pytest quiet"\n[suites.untidy]\ncommand = "pytest untidy"\n',
    )
    done = project.run("test", "--fail-on-leak", check=False)
    assert done.returncode == 6, said(done)
    assert leaks_of(project, "quiet") == []
    found = leaks_of(project, "untidy")
    assert {(leak["name"], leak["detail"]) for leak in found if leak["kind"] == "file"} == {
        ("left.txt", ""),
        ("README.md", "a tracked file was changed"),
    }
    assert [name.startswith("forgotten-") for name in names(found, "temporary")] == [True]
    assert [Path(name).name for name in names(found, "descriptor")] == ["test_untidy.py"]
    assert names(found, "thread") == ["pump (daemon)"]
    assert len(found) == 5
    assert "left behind: file left.txt" in done.stdout
    assert "5 leaks" in done.stdout
    assert "left.txt" in (project.runs()[-1] / "report.html").read_text()
    again = project.run("report", "show")
    assert "5 leaks" in again.stdout
    project.run("test", "quiet", "--fail-on-leak")
    fast = project.run("test", "untidy", "--leak-checks", "fast")
    assert sorted({leak["kind"] for leak in leaks_of(project, "untidy")}) == ["descriptor", "temporary", "thread"]
    assert "3 leaks" in fast.stdout
    project.run("test", "--leak-checks", "off", "--fail-on-leak")
    assert leaks_of(project, "untidy") == []
    project.auditor().assert_no_leftovers()


@pytest.mark.slow
def test_six_kinds_of_children_that_outlive_their_tests_are_ended_and_told(grove, tmp_path):
    folder = tmp_path / "children"
    folder.mkdir()
    project = grove(
        files={
            "README.md": "A project.\n",
            "tests/children.py": FILES["tests/children.py"],
            "tests/test_a.py": ORPHANS,
        },
        config=f'[env]\nHANG = "{folder}"\n',
    )
    done = project.run("test", "--fail-on-leak", check=False)
    assert done.returncode == 6, said(done)
    pids = {kind: int((folder / kind).read_text()) for kind in KINDS}
    told = {int(name.split()[0]) for name in names(leaks_of(project, "tests"), "process")}
    assert told == set(pids.values())
    assert not [kind for kind, pid in pids.items() if lives(pid)]


@pytest.mark.slow
def test_six_kinds_of_children_that_outlive_their_scenario_are_told_as_its_own(grove, tmp_path):
    folder = tmp_path / "children"
    folder.mkdir()
    project = grove(
        files={
            "README.md": "A project.\n",
            "tests/children.py": FILES["tests/children.py"],
            "tests/test_a.py": ORPHANS,
            "tests/test_b.py": "def test_it(): pass\n",
        },
        config=f'[env]\nHANG = "{folder}"\n',
    )
    project.root.mkdir()
    project.git("worktree", "add", "--quiet", "-b", "one", str(project.root / "one"))
    scenarios = [
        {"name": name, "worktree": "one", "test_file": f"tests/test_{name}.py", "shareable": True} for name in "ab"
    ]
    (project.repo / "scenarios.json").write_text(json.dumps({"scenarios": scenarios}))
    words = ("coordinate", "--fail-on-leak", "--workers", "2", "--leak-checks", "fast")
    done = project.run(*words, check=False, env={"VIRTUAL_ENV": sys.prefix})
    assert done.returncode == 6, said(done)
    document = json.loads((project.artifacts / "latest/integration_report.json").read_text())
    pids = {int((folder / kind).read_text()) for kind in KINDS}
    assert {(leak["scenario"], leak["type"]) for leak in document["resource_leaks"]} == {("a", "process")}
    assert {int(leak["what"].split()[0]) for leak in document["resource_leaks"]} == pids
    assert not [pid for pid in pids if lives(pid)]


@pytest.mark.slow
def test_a_server_that_a_test_leaves_on_a_port_is_told_with_its_port(grove):
    project = grove(
        files={"README.md": "A project.\n", "tests/test_a.py": SERVER},
        config='[suites.tests]\ncommand = "pytest tests"\nports = true\n',
    )
    done = project.run("test", "--fail-on-leak", check=False)
    assert done.returncode == 6, said(done)
    (leak,) = [leak for leak in leaks_of(project, "tests") if leak["kind"] == "port"]
    assert int(leak["name"]) in project.ports
    assert "create_server" in leak["detail"]
    assert len(names(leaks_of(project, "tests"), "process")) == 2


@pytest.mark.slow
def test_a_strangers_server_on_a_leased_port_is_no_leak_of_the_attempt(grove, tmp_path):
    """It comes while the suite runs, from a process that testgrove has not started."""
    told = tmp_path / "port"
    suite = f"echo $APP_PORT >{told}.new; mv {told}.new {told}; until [ -e {told}.taken ]; do sleep 0.02; done"
    project = grove(config=f'[suites.tests]\ncommand = "{suite}"\nports = true\n')
    run = project.start("test", "--fail-on-leak")
    deadline = time.monotonic() + 60
    while not told.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with socket.create_server(("127.0.0.1", int(told.read_text()))):
        Path(f"{told}.taken").touch()
        out, err = run.communicate(timeout=60)
    assert run.returncode == 0, out + err
    assert leaks_of(project, "tests") == []
    assert f"port {told.read_text().strip()} is in use by pid {os.getpid()} (" in out


@pytest.mark.slow
@pytest.mark.postgres
def test_a_database_that_tests_made_and_left_is_told(grove, require_postgres):
    make = """
import os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as one:
    one.execute("CREATE DATABASE left_behind")
    one.execute("CREATE DATABASE dropped")
    one.execute("DROP DATABASE dropped")
"""
    project = grove(
        files={"README.md": "A project.\n", "make.py": make},
        config=f'[services.postgres]\n[suites.db]\ncommand = "{sys.executable} make.py"\nservices = ["postgres"]\n',
    )
    done = project.run("test", "--fail-on-leak", check=False)
    assert done.returncode == 6, said(done)
    found = leaks_of(project, "db")
    assert [(leak["kind"], leak["name"]) for leak in found] == [("database", "left_behind")]


@pytest.mark.slow
def test_a_scenarios_leaks_are_its_own_and_not_its_neighbours_or_its_users(grove):
    """Two scenarios in one worktree one after the other, a third one in another; a user's file lies there already."""
    leaver = (
        "from pathlib import Path\n"
        "def test_it():\n"
        "    for name in ('left-by-{0}', 'users-{0}.txt'):\n"
        "        Path(name).write_text('x')\n"
        "    kept.append(open(__file__))\n"
    )
    project = grove(
        files={
            "README.md": "A project.\n",
            **{f"tests/test_{name}.py": "kept = []\n" + leaver.format(name) for name in "ab"},
            "tests/test_c.py": "def test_it(): pass\n",
        }
    )
    for name in ("one", "two"):
        path = project.root / name
        project.root.mkdir(exist_ok=True)
        project.git("worktree", "add", "--quiet", "-b", name, str(path))
        for each in ("users.txt", "users-a.txt", "users-b.txt"):
            (path / each).write_text("here before")
    scenarios = [
        {"name": name, "worktree": worktree, "test_file": f"tests/test_{name}.py"}
        for name, worktree in (("a", "one"), ("b", "one"), ("c", "two"))
    ]
    (project.repo / "scenarios.json").write_text(json.dumps({"scenarios": scenarios}))
    words = ("coordinate", "--fail-on-leak", "--workers", "2")
    done = project.run(*words, check=False, env={"VIRTUAL_ENV": sys.prefix})
    assert done.returncode == 6, said(done)
    document = json.loads((project.artifacts / "latest/integration_report.json").read_text())
    found = sorted((leak["scenario"], leak["worktree"], leak["type"]) for leak in document["resource_leaks"])
    assert found == [(name, "one", kind) for name in "ab" for kind in ("descriptor", "file", "file")]
    files = {(leak["scenario"], leak["what"], leak["detail"]) for leak in document["resource_leaks"]}
    changed = "it existed before and was changed"
    for name in "ab":
        assert {(name, f"left-by-{name}", ""), (name, f"users-{name}.txt", changed)} <= files
