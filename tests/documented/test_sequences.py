"""The documents' own command sequences, to the letter."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from grove import said

ESSENTIAL = """
python scripts/worktree_create.py --purpose test-integration --identifier my-test --branch main --ports
cd worktrees/test-integration-my-test
source .venv/bin/activate
export $(cat .env.test | xargs)
python -m http.server $APP_PORT >/dev/null 2>&1 &
until python -c "import socket; socket.create_connection(('127.0.0.1', $APP_PORT))" 2>/dev/null; do kill -0 $!; done
cat .worktree-metadata.json | grep -A3 ports
which python
pytest tests/integration/ --junitxml=junit.xml --cov=src --cov-report=html >&2
kill $!
python ../../scripts/worktree_remove.py --identifier my-test
echo "status: $?"
"""


@pytest.mark.slow
def test_the_essential_commands(shell):
    done = shell.type(ESSENTIAL)
    project = shell.project
    start = project.ports.start
    assert f'"ports": {{\n    "app": {start},\n    "api": {start + 1},\n    "db": {start + 2}\n' in done.stdout
    tree = project.repo / "worktrees/test-integration-my-test"
    assert f"{tree}/.venv/bin/python\n" in done.stdout
    assert done.stdout.endswith("status: 0\n")
    assert not tree.parent.exists(), "the folder goes with its last worktree"
    kept = project.artifacts / "test-integration-my-test"
    assert {entry.name for entry in kept.iterdir()} == {"junit.xml", "htmlcov", ".coverage"}
    assert project.git("status", "--porcelain") == ""
    project.auditor().assert_nothing()


def test_the_committed_script_of_the_worktree_itself_removes_it(shell):
    """`cd worktrees/…`, and then `python scripts/worktree_remove.py` as the documents say."""
    create = "python scripts/worktree_create.py --purpose test-unit --identifier x --branch main --no-env"
    shell.type(f"{create}; cd worktrees/test-unit-x; python scripts/worktree_remove.py --identifier x")
    assert shell.project.worktrees() == {}
    shell.project.auditor().assert_nothing()


def test_removal_by_identifier_or_id_and_ambiguous_ones(shell):
    for purpose in ("test-unit", "test-matrix"):
        shell.project.create(purpose, "py3.9")
    done = shell.type("python scripts/worktree_remove.py --identifier py3.9", check=False)
    assert done.returncode == 3, said(done)
    assert "test-unit-py3.9" in done.stderr
    assert "test-matrix-py3.9" in done.stderr
    shell.type("python scripts/worktree_remove.py --identifier test-matrix-py3.9")
    shell.type("python scripts/worktree_remove.py --identifier py3.9")
    assert shell.project.worktrees() == {}
    assert shell.type("python scripts/worktree_remove.py --identifier py3.9", check=False).returncode == 3


def test_fresh_ports_for_the_same_worktree(shell):
    words = "--purpose test-integration --identifier api-endpoints --branch main --ports --no-env"
    create = f"python scripts/worktree_create.py {words}"
    shell.type(f"{create}; python scripts/worktree_remove.py --identifier api-endpoints; {create}")
    assert list(shell.project.worktrees()) == ["test-integration-api-endpoints"]


def test_the_list_for_grep(shell):
    shell.project.create("test-unit", "a")
    shell.project.create("review", "b")
    lines = shell.type("python scripts/worktree_list.py | grep test-").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["test-unit-a"]


def test_cleanup_removes_without_asking_only_old_test_worktrees_with_nothing_of_the_users(shell):
    project = shell.project
    for purpose, identifier in (("test-unit", "old"), ("test-unit", "dirty"), ("review", "old")):
        project.create(purpose, identifier)
    (project.repo / "worktrees/test-unit-dirty/mine").touch()
    assert "older than 24" in shell.type("python scripts/cleanup_test_worktrees.py --max-age 24").stderr
    done = shell.type("python scripts/cleanup_test_worktrees.py --max-age 0")
    assert "removed test-unit-old" in done.stderr
    assert "skipped test-unit-dirty" in done.stderr
    assert list(project.worktrees()) == ["test-unit-dirty", "review-old"]


SNIPPET = """
import json
from datetime import datetime, timedelta
from worktree_remove import remove_worktree

with open('worktrees_registry.json') as f:
    registry = json.load(f)

cutoff = datetime.now() - timedelta(hours={hours})

for worktree_id, info in registry.get('worktrees', {{}}).items():
    if not info['purpose'].startswith('test-'):
        continue

    created = datetime.fromisoformat(info['created'])

    if created < cutoff:
        print(f"Removing old test worktree: {{worktree_id}}")
        remove_worktree(worktree_id)
"""


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_the_snippet_that_reads_the_registry(shell, zone):
    project = shell.project
    shell.env["TZ"] = zone
    for purpose, identifier in (("test-unit", "a"), ("test-unit", "dirty"), ("review", "b")):
        project.create(purpose, identifier, env={"TZ": zone})
    (project.repo / "worktrees/test-unit-dirty/mine").touch()
    assert shell.python(SNIPPET.format(hours=24)) == ""
    out = shell.python(SNIPPET.format(hours=-1))
    assert [line for line in out.splitlines() if line.startswith("Removing")] == [
        "Removing old test worktree: test-unit-a", "Removing old test worktree: test-unit-dirty",
    ]  # fmt: skip
    assert list(project.worktrees()) == ["test-unit-dirty", "review-b"]
    assert project.registry()["allocated_ports"] == []


RELEASE = """
import json

def release_ports(worktree_id):
    with open('worktrees_registry.json', 'r') as f:
        registry = json.load(f)

    # Get worktree info
    worktree = registry['worktrees'].get(worktree_id)
    if not worktree or 'ports' not in worktree:
        return

    # Remove from allocated ports
    allocated = registry.get('allocated_ports', [])
    for port in worktree['ports'].values():
        if port in allocated:
            allocated.remove(port)

    registry['allocated_ports'] = allocated

    with open('worktrees_registry.json', 'w') as f:
        json.dump(registry, f, indent=2)
"""


def test_the_snippet_that_edits_the_registry_releases_the_ports(shell):
    """Of an idle worktree alone, and only where the file leaves no doubt."""
    project = shell.project
    for identifier in ("a", "b"):
        project.create("test-integration", identifier, "--ports", "--no-env")
    file = project.repo / "worktrees_registry.json"
    written = project.registry()
    ports = {name: list(entry["ports"].values()) for name, entry in written["worktrees"].items()}
    a, b = "test-integration-a", "test-integration-b"

    shell.python(RELEASE, f"release_ports({a!r})")
    assert project.registry()["allocated_ports"] == ports[b]
    project.create("review", "next", "--ports", "--no-env")
    after = project.registry()
    assert after["worktrees"]["review-next"]["ports"] == written["worktrees"][a]["ports"], "they are free for others"
    assert "ports" not in after["worktrees"][a]
    assert "APP_PORT" not in project.json("env", a)["variables"]

    held = {"worktrees": {}, "allocated_ports": []}  # an older state, another shape, what is no JSON, half of the ports
    other = {**after, "allocated_ports": [], "worktrees": {b: {**after["worktrees"][b], "ports": {"app": 1}}}}
    half = {**after, "allocated_ports": ports[b][:1]}
    for text in ({**after, **held}, other, half, {**after, "allocated_ports": None}):
        file.write_text(json.dumps(text))
        project.run("sync", b)
        assert project.registry()["worktrees"][b]["ports"] == written["worktrees"][b]["ports"]
    with socket.create_server(("127.0.0.1", ports[b][0])):  # in use: this one stays
        shell.python(RELEASE, f"release_ports({b!r})")
        project.run("sync", b)
        assert list(project.registry()["worktrees"][b]["ports"].values()) == ports[b][:1]


def test_the_functions(shell):
    """One worktree through all of them, from inside another one."""
    project = shell.project
    project.create("test-unit", "a", "--ports", "--no-env")
    tree = project.repo / "worktrees/test-unit-a"
    (tree / "htmlcov").mkdir()
    (tree / "htmlcov/index.html").touch()
    (tree / "junit-a.xml").touch()
    (tree / "logs").mkdir()
    (tree / "logs/app.log").touch()
    out = shell.python(
        "from collect_test_artifacts import collect_artifacts",
        "from release_ports import release_ports",
        "from cleanup_test_worktrees import cleanup_old_test_worktrees",
        "from worktree_remove import cleanup_test_database, remove_worktree",
        "import json",
        "metadata = json.load(open('worktrees/test-unit-a/.worktree-metadata.json'))",
        "print(collect_artifacts('test-unit-a'), collect_artifacts('test-unit-a', output_dir='out'))",
        "print(cleanup_test_database(metadata))",
        "print(release_ports('test-unit-a'), release_ports('nope'))",
        "print(cleanup_old_test_worktrees(max_age_hours=24))",
        "print(remove_worktree('test-unit-a'), remove_worktree('test-unit-a'))",
    )
    assert out.split() == ["True", "True", "True", "True", "False", "True", "True", "False"]
    for folder in (project.artifacts, project.repo / "out"):
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert {f"test-unit-a/{name}" for name in ("coverage/index.html", "junit-a.xml", "logs/app.log")} <= found
    assert project.registry()["allocated_ports"] == []


def test_the_functions_as_a_package_of_the_top(shell):
    """`from scripts.worktree_remove import …`, and `python -m scripts.worktree_list`."""
    shell.project.create("test-unit", "a")
    assert shell.type("python -m scripts.worktree_list").stdout.startswith("test-unit-a ")
    text = "from scripts.worktree_remove import remove_worktree; print(remove_worktree('a'))"
    assert shell.type(f'python -c "{text}"').stdout == "True\n"


# Where testgrove is


def test_where_testgrove_is_looked_for(shell, tmp_path):
    shell.project.create("test-unit", "a")
    found, shell.env["PATH"] = shell.env["PATH"], re.sub(r"[^:]*/bin\d*(?=:/usr/local)", "/nowhere", shell.env["PATH"])
    done = shell.type("python scripts/worktree_list.py", check=False)
    assert done.returncode == 1, said(done)
    assert done.stderr == "testgrove was not found: install it, put it on PATH, or set TESTGROVE to its path\n"

    uvx = tmp_path / "uvx"
    uvx.write_text('#!/bin/sh\necho "uvx $*"\n')
    uvx.chmod(0o755)
    path, shell.env["PATH"] = shell.env["PATH"], f"{shell.env['PATH']}:{tmp_path}"
    assert shell.type("python scripts/worktree_list.py --ports").stdout == "uvx testgrove list --ports\n"

    # $TESTGROVE wins, a path with a blank in it as well as a command with words
    odd = tmp_path / "a b"
    odd.write_text('#!/bin/sh\necho "odd $*"\n')
    odd.chmod(0o755)
    shell.env["TESTGROVE"] = str(odd)
    assert shell.type("python scripts/worktree_list.py").stdout == "odd list\n"
    shell.env["TESTGROVE"] = "sh -c 'echo words $0' x"
    assert shell.type("python scripts/worktree_list.py").stdout == "words x\n"
    del shell.env["TESTGROVE"]

    # one in a worktree's own environment comes last
    own = shell.project.repo / "worktrees/test-unit-a/.venv/bin"
    own.mkdir(parents=True)
    (own / "testgrove").write_text("#!/bin/sh\necho own\n")
    (own / "testgrove").chmod(0o755)
    shell.env["PATH"] = f"{own}:{found}"
    assert shell.type("python scripts/worktree_list.py").stdout.startswith("test-unit-a ")
    shell.env["PATH"] = f"{own}:{path}"
    assert shell.type("python scripts/worktree_list.py").stdout == "own\n"


@pytest.mark.parametrize(
    "env",
    [{"PYTHONPATH": "{repo}/lure"}, {"GIT_DIR": "/nowhere"}, {"GIT_INDEX_FILE": "/nowhere", "GIT_WORK_TREE": "/"}],
    ids=str,
)
def test_what_is_set_around_the_scripts_leads_nowhere_else(shell, env):
    shell.project.write({"lure/click.py": "raise SystemExit('the wrong click')\n"})
    shell.project.create("test-unit", "a")
    shell.env |= {name: value.format(repo=shell.project.repo) for name, value in env.items()}
    assert shell.type("python scripts/worktree_list.py").stdout.startswith("test-unit-a ")


def test_the_author_of_a_commit_whose_hook_calls_a_script_stays_behind(shell):
    question = ("import testgrove_scripts", "print([n for n in testgrove_scripts.environment() if n[:7] == 'GIT_AUT'])")
    shell.env |= {"GIT_AUTHOR_NAME": "Somebody"}
    assert shell.python(*question) == "['GIT_AUTHOR_NAME']\n"  # as CI sets it
    shell.env |= {"GIT_INDEX_FILE": ".git/index"}
    assert shell.python(*question) == "[]\n"


# Parallel suites


@pytest.mark.slow
def test_parallel_suites_one_of_which_fails(shell):
    project = shell.project
    assert shell.type("scripts/run_parallel_tests.sh", check=False).returncode == 0
    project.write({"tests/integration/test_integration.py": "def test_it(): assert False\n"}, commit="Break it")
    done = shell.type("bash scripts/run_parallel_tests.sh", check=False)
    assert done.returncode == 1, said(done)
    assert "3 cells: 2 passed, 1 failed" in done.stdout
    assert shell.type("scripts/run_parallel_tests.sh unit", check=False).returncode == 0
    project.auditor().assert_no_leftovers()


@pytest.mark.slow
def test_three_creations_and_removals_side_by_side(shell):
    """The documents' own run_parallel_tests.sh."""
    shell.type(
        """
        python scripts/worktree_create.py --purpose test-unit --identifier suite1 --branch main &
        python scripts/worktree_create.py --purpose test-integration --identifier suite2 --branch main --ports &
        python scripts/worktree_create.py --purpose test-performance --identifier suite3 --branch main --ports &
        wait
        (cd worktrees/test-unit-suite1 && source .venv/bin/activate && pytest tests/unit/ && touch ok1) &
        (cd worktrees/test-integration-suite2 && source .venv/bin/activate && pytest tests/integration/) &
        (cd worktrees/test-performance-suite3 && source .venv/bin/activate && pytest tests/performance/) &
        wait
        test -e worktrees/test-unit-suite1/ok1
        rm worktrees/test-unit-suite1/ok1
        python scripts/worktree_remove.py --identifier suite1 &
        python scripts/worktree_remove.py --identifier suite2 &
        python scripts/worktree_remove.py --identifier suite3 &
        wait
        """
    )
    assert shell.project.worktrees() == {}
    shell.project.auditor().assert_nothing()


def test_the_matrix_job(shell):
    """As in the workflow: create, an environment by hand, pytest with JUnit, removal by `--identifier py3.9`."""
    create = "python scripts/worktree_create.py --purpose test-matrix --identifier py3.9 --branch main --ports"
    done = shell.type(f"{create}; worktrees/test-matrix-py3.9/.venv/bin/python --version")
    assert done.stdout.splitlines()[-1].startswith("Python 3.9.")
    shell.type("python scripts/worktree_remove.py --identifier py3.9")


def test_metadata_has_what_the_snippets_read(shell):
    shell.project.create("test-integration", "x", "--ports", "--no-env")
    metadata = json.loads((shell.project.repo / "worktrees/test-integration-x/.worktree-metadata.json").read_text())
    assert set(metadata["ports"]) == {"app", "api", "db"}
    entry = shell.project.registry()["worktrees"]["test-integration-x"]
    assert abs(datetime.fromisoformat(entry["created"]).timestamp() - time.time()) < 300
    assert Path(entry["path"]).is_dir()


def test_a_testgrove_in_the_worktrees_own_environment_does_not_remove_it(shell):
    """It would import from what is gone."""
    project = shell.project
    project.create("test-unit", "a")
    own = project.repo / "worktrees/test-unit-a/.venv"
    text = f"import sys; sys.prefix = {str(own)!r}; from testgrove.cli.main import main; main(['remove', 'a'])"
    done = project.run("-c", text, program=(sys.executable,), check=False)
    assert done.returncode == 3, said(done)
    assert "this testgrove is installed in its environment" in done.stderr
    assert project.worktrees()["test-unit-a"]["status"] == "ready"


@pytest.mark.slow
def test_setting_up_the_environment_again(shell):
    """By the script, in the worktree and from the top, and by the function: packages that were added are there."""
    project = shell.project
    shell.type("python scripts/worktree_create.py --purpose test-unit --identifier a --branch main")
    tree = project.repo / "worktrees/test-unit-a"
    shell.type("rm -rf .venv; python scripts/setup_test_env.py; .venv/bin/python -m pytest -q tests/unit >&2", cwd=tree)
    shell.type("rm -rf worktrees/test-unit-a/.venv; python scripts/setup_test_env.py worktrees/test-unit-a")
    assert (tree / ".venv/bin/pytest").is_file()
    text = "from setup_test_env import setup_test_environment; print(setup_test_environment('worktrees/test-unit-a'))"
    assert shell.python(text).splitlines()[-1] == "True"
    done = shell.type("python scripts/setup_test_env.py", check=False)
    assert done.returncode == 1, said(done)
    assert "is not one of testgrove's worktrees" in done.stderr
