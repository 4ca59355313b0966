"""The everyday commands as their users type them: what is on stdout, the exit status, what a command inside sees."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grove import TESTGROVE, Grove, said
from testgrove.cli.main import COMMANDS

VALUES = {"GREETING": "hello", "AMOUNT": "$5", "QUOTE": "it's", "DOUBLE": '"x"', "EMPTY": "", "LINK": "${API_PORT}/x"}
CONFIG = "[env]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in VALUES.items())
DOCUMENT_KEYS = [
    "id", "purpose", "identifier", "status", "path", "branch", "commit", "created", "ports", "databases", "python",
    "env_file", "note",
]  # fmt: skip


@pytest.fixture(scope="module")
def project(shared_grove) -> Grove:
    """A project that stays as it is, without worktrees."""
    return shared_grove(config=CONFIG)


@pytest.fixture(scope="module")
def made(shared_grove) -> Grove:
    """A project that stays as it is, with the worktree test-unit-a, with ports and without an environment."""
    return with_worktree(shared_grove(config=CONFIG))


@pytest.fixture
def own(grove) -> Grove:
    """The like of `project` for a test that changes it."""
    return grove(config=CONFIG)


@pytest.fixture
def own_made(own) -> Grove:
    """The like of `made` for a test that changes it."""
    return with_worktree(own)


def with_worktree(project: Grove) -> Grove:
    project.create("test-unit", "a", "--ports", "--no-env")
    return project


# What stands on stdout


def test_every_document_is_alone_on_stdout_and_says_its_schema(own_made):
    document = own_made.json("create", "--purpose=review", "--identifier=b", "--branch=main", "--no-env")
    assert list(document["worktree"]) == DOCUMENT_KEYS
    assert document["worktree"]["id"] == "review-b"
    listed = own_made.json("list")
    assert [entry["id"] for entry in listed["worktrees"]] == ["test-unit-a", "review-b"]
    assert list(listed["worktrees"][0]) == DOCUMENT_KEYS
    shown = own_made.json("show", "a")
    assert shown["worktree"] == listed["worktrees"][0]
    assert own_made.json("path", "a") == {"schema_version": 1, "path": str(own_made.root / "test-unit-a")}
    assert own_made.json("env", "a")["variables"]["WORKTREE_ID"] == "test-unit-a"
    assert own_made.json("cleanup", "--max-age", "0")["would_remove"] == ["test-unit-a"]
    assert own_made.json("remove", "a", "b") == {
        "schema_version": 1,
        "removed": ["test-unit-a", "review-b"],
        "refused": {},
    }
    assert own_made.json("list") == {"schema_version": 1, "worktrees": []}
    for each in (document, listed, shown):
        assert each["schema_version"] == 1


def test_a_partly_refused_removal_says_both(own_made):
    own_made.create("review", "b")
    (own_made.root / "review-b/mine").touch()
    done = own_made.run("remove", "a", "b", "missing", "--json", check=False)
    assert done.returncode == 3, said(done)
    document = json.loads(done.stdout)
    assert document["removed"] == ["test-unit-a"]
    assert list(document["refused"]) == ["b", "missing"]
    assert "mine" in document["refused"]["b"]


@pytest.mark.parametrize("words", [["show", "nope"], ["create", "--purpose="], ["remove"], ["list", "--status=x"]])
def test_an_error_is_one_document_too(project, words):
    done = project.run(*words, "--json", check=False)
    error = json.loads(done.stdout)["error"]
    assert error["exit_status"] == done.returncode
    assert error["message"] in done.stderr
    assert set(error) == {"code", "message", "hint", "notes", "details", "exit_status"}


def test_the_json_of_an_inner_command_is_not_ours(made):
    done = made.run("exec", "nope", "--", "x", "--json", check=False)
    assert (done.returncode, done.stdout) == (3, "")


def test_list_has_a_line_for_each_worktree(own_made):
    own_made.git("branch", "topic")
    own_made.create("review", "b", branch="topic")
    commit = own_made.git("rev-parse", "--short=10", "HEAD").strip()
    lines = own_made.run("list").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["test-unit-a", "ready", commit, str(own_made.root / "test-unit-a")],
        ["review-b", "ready", "topic", str(own_made.root / "review-b")],
    ]
    start = own_made.ports.start
    assert own_made.run("list", "--ports", "--purpose", "test-unit").stdout.endswith(
        f"  app={start},api={start + 1},db={start + 2}\n"
    )
    assert "review-b" not in own_made.run("list", "--purpose", "test-unit").stdout
    assert own_made.run("list", "--status", "ready").stdout.count("\n") == 2
    assert own_made.run("list", "--status", "parked").stdout == ""


def test_list_without_worktrees_says_how_to_make_one(project):
    done = project.run("list")
    assert done.stdout == ""
    assert "testgrove create NAME" in done.stderr
    assert project.run("list", "--quiet").stderr == ""


def test_show_names_everything(made):
    lines = dict(line.split(maxsplit=1) for line in made.run("show", "a").stdout.splitlines() if "env file" not in line)
    start = made.ports.start
    assert lines == {
        "id": "test-unit-a",
        "status": "ready",
        "path": str(made.root / "test-unit-a"),
        "branch": "(detached)",
        "commit": made.git("rev-parse", "HEAD").strip(),
        "ports": f"app={start} api={start + 1} db={start + 2}",
    }


def test_path_prints_the_path_alone(made):
    assert made.run("path", "test-unit-a").stdout == f"{made.root}/test-unit-a\n"


def test_quiet_leaves_results_and_errors(own_made):
    done = own_made.create("review", "b", "--no-env", "--quiet")
    assert done.stderr == ""
    assert done.stdout.startswith("id        review-b\n")
    assert own_made.run("remove", "b", "--quiet").stderr == ""
    assert "worktree 'b' not found" in own_made.run("remove", "b", "--quiet", check=False).stderr


def test_another_folder_by_the_project_option(made, tmp_path):
    done = made.run("list", "--project", str(made.repo), cwd=tmp_path)
    assert "test-unit-a" in done.stdout
    assert "--project" not in made.run("list", cwd=tmp_path, check=False).stdout


# env


def expected_values(made: Grove) -> dict[str, str]:
    start = made.ports.start
    ports = {"APP_PORT": str(start), "API_PORT": str(start + 1), "DB_PORT": str(start + 2)}
    fixed = {"TEST_MODE": "true", "WORKTREE_ID": "test-unit-a", "COMPOSE_PROJECT_NAME": "test-unit-a"}
    return ports | fixed | VALUES | {"LINK": f"{start + 1}/x"}


def by_shell(made: Grove, script: str, text: str) -> dict[str, str]:
    """The variables that a shell has after a script that reads a text on its stdin."""
    show = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    done = subprocess.run(
        ["env", "-i", "PATH=/usr/bin:/bin", "bash", "-c", f"{script}; {show}"],
        input=text, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    return {name: found.get(name, "<missing>") for name in expected_values(made)}


def test_the_shell_form_goes_round_through_bash(made):
    text = made.run("env", "a", "--format", "shell").stdout
    assert by_shell(made, 'eval "$(cat)"', text) == expected_values(made)


def test_the_dotenv_form_is_the_file_and_is_read_by_every_reader(made):
    text = made.run("env", "a").stdout
    assert text == (made.root / "test-unit-a/.env.test").read_text()
    assert by_shell(made, "set -a; . /dev/stdin", text) == expected_values(made)
    assert by_shell(made, "export $(xargs)", text) == expected_values(made)


def test_the_json_and_github_forms_hold_the_same_values(made):
    assert json.loads(made.run("env", "a", "--format", "json").stdout) == expected_values(made)
    lines = made.run("env", "a", "--format", "github").stdout.splitlines()
    assert dict(line.split("=", 1) for line in lines) == expected_values(made)


def test_a_missing_env_file_is_named(own_made):
    (own_made.root / "test-unit-a/.env.test").unlink()
    for words in (["env", "a"], ["exec", "a", "--", "true"]):
        done = own_made.run(*words, check=False)
        assert done.returncode == 3
        assert f"cannot read {own_made.root}/test-unit-a/.env.test: No such file or directory" in done.stderr


# exec


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "exit 125"], 125),
        (["./README.md"], 126),
        (["/"], 126),
        (["no-such-command"], 127),
        (["./no-such-file"], 127),
        (["sh", "-c", "kill -KILL $$"], -9),
    ],
)
def test_exec_passes_the_status_on(made, command, status):
    done = made.run("exec", "a", "--", *command, check=False)
    assert done.returncode == status, said(done)
    assert "Traceback" not in done.stderr
    if status in (126, 127):
        assert command[0] in done.stderr


def test_exec_is_the_command_itself(made):
    done = made.run("exec", "a", "pwd")
    assert done.stdout == f"{made.root}/test-unit-a\n"
    with subprocess.Popen(
        [*TESTGROVE, "exec", "a", "--", "cat"], cwd=made.repo, env=made.env, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.communicate(b"through stdin\x00\xff")[0] == b"through stdin\x00\xff"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE])
def test_a_signal_reaches_the_command(made, number):
    process = made.start("exec", "a", "--", "sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == -number


def test_exec_gives_the_worktrees_variables_and_none_that_lead_elsewhere(made):
    lures = {
        "GIT_DIR": "/elsewhere", "PYTHONPATH": "/elsewhere", "PYTHONHOME": "/nowhere", "DATABASE_URL": "postgres://real",
        "PGHOST": "real", "REDIS_URL": "redis://real", "PYTEST_ADDOPTS": "-x", "VIRTUAL_ENV": "/elsewhere",
        "NEO4J_URI": "real",
    }  # fmt: skip
    kept = {"MY_OWN": "kept", "GIT_SSH_COMMAND": "kept", "LANG": "C.UTF-8"}
    # Started outside of Python's own reading of these: PYTHONHOME would stop any Python.
    lures.pop("PYTHONHOME")
    done = made.run("exec", "a", "--", "env", "-0", env=lures | kept)
    found = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert {name: found.get(name) for name in expected_values(made)} == expected_values(made)
    assert not lures.keys() & found.keys()
    assert {name: found[name] for name in kept} == kept


def test_a_commit_hook_hands_its_author_and_its_index_on_to_nobody(own_made):
    out = own_made.base / "seen"
    hook = own_made.repo / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f'#!/bin/sh\nenv -0 >{out}.hook\nexec {sys.executable} -m testgrove exec a -- sh -c "env -0 >{out}"\n'
    )
    hook.chmod(0o755)
    words = ["git", "commit", "--quiet", "--allow-empty", "--message=x", "--author=Hook <hook@example.invalid>"]
    subprocess.run(words, cwd=own_made.repo, env=own_made.env | {"GIT_COMMITTER_NAME": "CI"}, check=True)
    inherited, seen = (names_of(Path(f"{out}{end}")) for end in (".hook", ""))
    assert {"GIT_INDEX_FILE", "GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"} <= inherited
    assert [name for name in seen if name.startswith("GIT_")] == []


def names_of(written_by_env: Path) -> set[str]:
    return {entry.split("=", 1)[0] for entry in written_by_env.read_text().split("\0")}


def test_exec_activates_the_environment(own):
    own.create("test-unit", "env", "--quiet")
    tree = own.root / "test-unit-env"
    done = own.run("exec", "env", "--", "sh", "-c", 'echo "$VIRTUAL_ENV"; command -v python; command -v pip')
    assert done.stdout.split() == [f"{tree}/.venv", f"{tree}/.venv/bin/python", f"{tree}/.venv/bin/pip"]


def test_exec_keeps_the_commands_own_options(made):
    done = made.run("exec", "a", "echo", "--json", "-q", "--project", "x")
    assert done.stdout == "--json -q --project x\n"
    done = made.run("exec", "a", "--", "echo", "--", "--help")
    assert done.stdout == "-- --help\n"


# Ids


def test_an_identifier_alone_finds_its_worktree_and_a_near_one_is_named(made):
    assert made.run("path", "a").stdout == made.run("path", "test-unit-a").stdout
    done = made.run("path", "test-unti-a", check=False)
    assert done.returncode == 3
    assert "did you mean test-unit-a?" in done.stderr


def test_a_whole_id_wins_over_an_identifier(own):
    own.create("a", "b")
    own.create("c", "a-b")
    assert own.run("path", "a-b").stdout == f"{own.root}/a-b\n"


# cleanup


def test_cleanup_shows_first_and_removes_when_told(own_made):
    done = own_made.run("cleanup", "--max-age", "0")
    assert done.stderr.splitlines() == [
        "would remove test-unit-a",
        "nothing was removed; to remove: testgrove cleanup --max-age 0 --yes",
    ]
    assert own_made.run("cleanup").stderr == "nothing to remove: no worktrees older than 24 hours\n"
    assert list(own_made.worktrees()) == ["test-unit-a"]
    assert own_made.run("cleanup", "--max-age", "0", "--yes").stderr == "removed test-unit-a\n"
    own_made.auditor().assert_nothing()


@pytest.mark.parametrize("hours", ["-1", "nan", "inf", "1e30", "many"])
def test_cleanup_refuses_an_age_that_is_none(made, hours):
    done = made.run("cleanup", "--yes", "--max-age", hours, check=False)
    assert done.returncode == 2, said(done)
    assert "Invalid value for '--max-age'" in done.stderr
    assert list(made.worktrees()) == ["test-unit-a"]


def test_cleanup_of_what_is_merged(own_made):
    """The commit decides: on a branch or not, here or at origin; a purpose of the user's own stays."""
    for identifier in ("topic", "other"):
        own_made.create("test-unit", identifier, "--new-branch", "--no-env", branch=identifier)
        tree = str(own_made.root / f"test-unit-{identifier}")
        own_made.git("-C", tree, "commit", "--quiet", "--allow-empty", "-m", identifier)  # else both are one commit
    own_made.create("review", "r")
    assert (
        own_made.run("cleanup", "--merged").stderr == "nothing to remove: no worktrees older than 24 hours and merged\n"
    )
    assert own_made.json("cleanup", "--merged", "--max-age", "0")["would_remove"] == ["test-unit-a"]
    own_made.git("merge", "--quiet", "topic")
    done = own_made.run("cleanup", "--merged", "--max-age", "0")
    assert done.stderr.splitlines() == [
        "would remove test-unit-a",
        "would remove test-unit-topic",
        "nothing was removed; to remove: testgrove cleanup --merged --max-age 0 --yes",
    ]
    own_made.git("update-ref", "refs/remotes/origin/trunk", "other")
    own_made.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
    own_made.run("cleanup", "--merged", "--max-age", "0", "--yes")
    assert list(own_made.worktrees()) == ["review-r"]
    assert {"topic", "other"} <= set(own_made.git("branch", "--format=%(refname:short)").split())


def test_cleanup_of_what_is_merged_knows_a_worktree_without_its_folder(own_made):
    """git cannot say what is checked out in it: the commit on record decides."""
    shutil.rmtree(own_made.root / "test-unit-a")
    assert own_made.json("cleanup", "--merged", "--max-age", "0")["would_remove"] == ["test-unit-a"]


def test_cleanup_where_nothing_is_known_to_be_the_main_branch(own_made):
    own_made.git("branch", "--move", "main", "trunk")
    done = own_made.run("cleanup", "--merged", "--max-age", "0", "--yes", check=False)
    assert done.returncode == 3, said(done)
    assert "git remote set-head origin --auto" in done.stderr
    assert list(own_made.worktrees()) == ["test-unit-a"]


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_an_example(project, command):
    text = project.run(command, "--help").stdout
    assert text.startswith(f"Usage: testgrove {command} ")
    assert re.search(rf"^  Examples?:\n(    .*\n)*    .*testgrove {command}", text, re.MULTILINE), text
    options = [line for line in text.splitlines() if line.startswith("  -")]
    assert [line for line in options if not re.search(r"\S  +\S|[A-Z\]]$", line)] == [], "an option without a word"
    assert project.run(command, "-h").stdout == text


def test_the_help_lists_every_command_and_the_version_is_told(project):
    text = project.run("--help").stdout
    assert all(re.search(rf"^  {command} +\S", text, re.MULTILINE) for command in COMMANDS)
    assert re.fullmatch(r"testgrove, version \d+\.\d+\.\d+\S*\n", project.run("--version").stdout)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["creat"], "create"),
        (["lst"], "list"),
        (["tests"], "test"),
        (["create", "--purpos", "x"], "--purpose"),
        (["cleanup", "--maxage", "1"], "--max-age"),
        (["list", "--jsn"], "--json"),
    ],
)
def test_a_near_match_is_named(project, words, near):
    done = project.run(*words, check=False)
    assert done.returncode == 2
    assert re.search(rf"did you mean.*{near}\b", done.stderr, re.IGNORECASE), done.stderr


# Readers that go away, and streams that are not there


def test_a_reader_that_goes_away_ends_a_command_quietly(made):
    for words in (["list"], ["list", "--json"], ["show", "a"], ["env", "a"]):
        process = made.start(*words)
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(10) in (0, 141)
        assert error == ""
        process.stderr.close()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_no_harm(own_made, closed):
    words = " ".join(TESTGROVE)
    script = f"{words} create --purpose review --identifier b --branch main --no-env {closed}"
    done = subprocess.run(["sh", "-c", script], cwd=own_made.repo, env=own_made.env, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert set(own_made.worktrees()) == {"test-unit-a", "review-b"}


def test_a_full_output_is_an_error_and_no_bug(made):
    done = subprocess.run(
        ["sh", "-c", f"unset PYTHONUNBUFFERED; {' '.join(TESTGROVE)} list >/dev/full"], cwd=made.repo, env=made.env,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (5, "error: cannot write to standard output: no space left on device\n")


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "en_US.ISO-8859-1"},
        {"PYTHONIOENCODING": "ascii", "TERM": "dumb"},
        {"NO_COLOR": "1", "TERM": ""},
    ],
    ids=str,
)
def test_terminals_and_locales_do_not_matter(grove, env):
    project: Grove = grove(name="prøject ✓")
    project.create("test-unit", "a", env=env)
    path = f"{project.root}/test-unit-a"
    assert project.run("path", "a", env=env).stdout == f"{path}\n"
    assert path in project.run("list", env=env).stdout
    assert project.json("show", "a", env=env)["worktree"]["path"] == path
    project.run("remove", "a", env=env)


def test_ctrl_c_during_a_creation_leaves_nothing(own):
    process = own.start("create", "--purpose=test-unit", "--identifier=a", "--branch=main", "--ports")
    assert process.stderr.readline() == "worktree …\n"
    time.sleep(0.05)  # somewhere in the middle; wherever it is, nothing may be left
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    if process.returncode == 0:
        pytest.skip("it was faster")
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert own.worktrees() == {}
    own.auditor().assert_nothing()


def test_a_list_has_a_header_on_a_terminal_only(made):
    assert made.run("list").stdout.startswith("test-unit-a  ready  ")
    reader, writer = os.openpty()
    subprocess.run([*TESTGROVE, "list"], cwd=made.repo, env=made.env, stdout=writer, check=True, timeout=60)
    os.close(writer)
    with os.fdopen(reader, "rb") as terminal:
        lines = terminal.read1(4096).decode().split("\r\n")
    assert lines[0].split() == ["ID", "STATUS", "BRANCH", "OR", "COMMIT", "PATH"]
    assert lines[1].startswith("test-unit-a  ready   ")
    assert lines[1].index("ready") == lines[0].index("STATUS")
