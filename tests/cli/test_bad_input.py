"""Bad input and bad surroundings: a clear error, the exit status of the table, and nothing left."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

import local_packages
import needs
from grove import TESTGROVE, Grove, said
from testgrove.core.settings.parse import parse
from testgrove.errors import UsageError

CREATE = ("create", "--purpose=test-unit", "--identifier=a", "--branch=main", "--no-env")
ROOT = os.geteuid() == 0


@pytest.fixture
def project(grove) -> Grove:
    return grove(variables=local_packages.settings())


def refused(project: Grove, *words: str, status: int, **options) -> str:
    """Run a command that must fail in the proper way; what it said on stderr."""
    done = project.run(*words, check=False, **options)
    assert done.returncode == status, said(done)
    assert "Traceback" not in done.stdout + done.stderr, said(done)
    assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr or "\nError: " in done.stderr, said(done)
    return done.stderr


def nothing_is_left(project: Grove) -> None:
    """By git, processes, files and ports, by the commands, and in the store itself."""
    project.auditor().assert_nothing()
    assert project.git("branch", "--format=%(refname:short)").split() == ["main"]
    assert project.worktrees() == {}
    with closing(sqlite3.connect(project.state / "state.db")) as store:
        for table in ("worktrees", "leases", "runs", "holders"):
            assert store.execute(f"SELECT * FROM {table}").fetchall() == []
    registry = project.repo / "worktrees_registry.json"
    assert not registry.exists() or project.registry()["worktrees"] == {}


def with_config(project: Grove, text: str, name: str = "testgrove.toml") -> None:
    (project.repo / "testgrove.toml").unlink(missing_ok=True)
    (project.repo / name).write_text(text)


# Names and refs

NAMES = {
    "identifier": ["..", "../../../escaped", "a/b", "a b", "a'b", 'a"b', "a\nb", "a" * 200, "", "\x1b[31m"],
    "purpose": ["", "a/../b"],
}


@pytest.mark.parametrize("part", NAMES)
def test_what_cannot_be_a_name(project, part):
    for text in NAMES[part]:
        words = {"identifier": "a", "purpose": "test-unit", "branch": "main"} | {part: text}
        error = refused(project, "create", *(f"--{name}={value}" for name, value in words.items()), status=2)
        assert f"cannot be {'an' if part == 'identifier' else 'a'} {part}" in error
        assert "hint: use 1 to 50 letters, digits" in error
        assert len(error) < 300
        assert "\x1b" not in error
    nothing_is_left(project)


@pytest.mark.parametrize(
    ("ref", "hint"),
    [
        ("nope", "git branch -a"),
        ("mian", "did you mean main?"),
        ("-x", "git branch -a"),
        ("--upload-pack=x", "git branch -a"),
        ("main..main", "git branch -a"),
        ("HEAD:README.md", "git branch -a"),
        ("HEAD^{tree}", "git branch -a"),
        ("deadbeef" * 5, "git branch -a"),
    ],
)
def test_an_unknown_ref(project, ref, hint):
    for words in (["create", "--purpose=a", "--identifier=b", f"--branch={ref}", "--no-env"], ["test", f"--ref={ref}"]):
        error = refused(project, *words, status=3)
        assert f"branch, tag or commit {ref!r} not found" in error
        assert hint in error
    nothing_is_left(project)


@pytest.mark.parametrize(
    ("python", "status", "message"),
    [
        ("3.99", 3, r"Python 3\.99 not found \(available: .*3\.\d+"),
        ("/no/python", 3, "'/no/python' does not exist"),
        ("banana", 2, "invalid Python 'banana'"),
        ("", 2, "invalid Python ''"),
        ("/etc/passwd", 3, "/etc/passwd"),
    ],
)
def test_an_interpreter_that_is_not_there(project, python, status, message):
    error = refused(project, *CREATE[:-1], "--python", python, status=status)
    assert re.search(message, error), error
    nothing_is_left(project)


def test_usage_errors_of_a_run(project):
    for words, message in (
        (["test", "nope"], "suite 'nope' not found"),
        (["test", "-j", "0"], "-j 0: expected a number from 1"),
        (["test", "-j", "x"], "'x' is not a valid integer"),
        (["test", "--ref", ""], "--ref must not be empty"),
        (["test", "--ref", "main", "--python", ""], "invalid Python ''"),
        (["create", *CREATE[1:], "--base", "main"], "--base main requires --new-branch"),
        (["coordinate", "--timeout", "nan"], "nan is not a valid number of seconds"),
    ):
        assert message in refused(project, *words, status=2)
    error = refused(project, *CREATE, "--new-branch", "--base", "", status=3)
    assert "branch, tag or commit '' not found" in error
    nothing_is_left(project)


# The configuration

CONFIGURATIONS = {
    'rooot = "x"': ("'rooot': unknown key", "did you mean root?"),
    "park = 'many'": ("'park': expected a whole number, found \"many\"", ""),
    '[env]\nA = "${B}"\nB = "${A}"': ("'env.A': circular reference: A -> B -> A", ""),
    '[env]\nA = "${NOPE}"': ("'env.A': variable '${NOPE}' not found (available: A, API_PORT", ""),
    '[env]\nA = "two words"': ("'env.A': A: the value contains white space", ""),
    '[suites.x]\ncomand = "true"': ("'suites.x.comand': unknown key", "did you mean command?"),
    "[suites.y]\ncommand='x'\n[suites.x]\ncommand = 3": ("'suites.x.command': expected text, found 3", 'command = "3"'),
    "[suites.x]\ntimeout = 3": ("'suites.x.command': is missing", ""),
    "[suites.x]\ncommand = 'x'\npurpose = 'a b'": ("'suites.x.purpose': 'a b' cannot be a purpose", ""),
    "pythons = [3.12, '3.13']": ("'pythons[0]': expected text, found 3.12", 'pythons = ["3.12", "3.13"]'),
    "pythons = [3.10]": ("'pythons[0]': expected text, found 3.1", ""),
    "pythons = true": ("'pythons': expected a list, found true", ""),
    "[suites.x]\ncommand = 'x'\n[suites.x.env]\nA = 1": ("'suites.x.env.A': expected text, found 1", 'A = "1"'),
    "[suites.x]\ncommand = 'x'\ntimeout = '10 minutes'": (
        "'suites.x.timeout': expected seconds (a number), found \"10 minutes\"",
        "timeout = 600",
    ),
    "copy = '.env'": ("'copy': expected a list, found \".env\"", 'copy = [".env"]'),
    "[services.mongo]": (
        "'services.mongo': unknown key",
        'name its engine: engine = "…" (available: postgres, redis, sqlite)',
    ),
    '[ports]\nrange = "1-2"': ("'ports.range': expected 'low-high' between 1024 and 65535, found '1-2'", ""),
    'env_file = "../x"': ("'env_file': expected the name of a file at the top, found '../x'", ""),
    "park = ": ("not valid TOML: Invalid value (at ", "less +1 /p/testgrove.toml"),
    "park = 1\npark = 2": ("not valid TOML: Cannot overwrite a value (at ", "less +2 /p/testgrove.toml"),
}


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_what_a_configuration_error_says(text):
    message, hint = CONFIGURATIONS[text]
    with pytest.raises(UsageError) as caught:
        parse(text, Path("/p/testgrove.toml"), table=False)
    place, _, said = caught.value.message.partition(": ")
    assert said.startswith(message)
    assert re.fullmatch(r"/p/testgrove.toml:\d", place)
    assert caught.value.hint == hint


def test_a_configuration_that_cannot_be(project):
    for text in ('rooot = "x"', "park = 'many'", '[env]\nA = "${B}"\nB = "${A}"'):
        with_config(project, text)
        message, hint = CONFIGURATIONS[text]
        error = refused(project, *CREATE, status=2)
        line = 2 if text.startswith("[env]") else 1
        assert error.startswith(f"error: {project.repo}/testgrove.toml:{line}: {message}")
        assert not hint or f"hint: {hint}" in error
    with_config(project, "park = -1")
    assert "'park': expected a number from 0, found -1" in refused(project, "test", status=2)
    (project.repo / "testgrove.toml").unlink()
    with_config(project, "[tool.testgrove]\npark = -1\n", "pyproject.toml")
    assert "pyproject.toml:2: 'tool.testgrove.park': expected" in refused(project, "test", status=2)
    (project.repo / "pyproject.toml").unlink()
    nothing_is_left(project)


@pytest.mark.parametrize("root", [".", "..", "/", ".git/trees"])
def test_a_root_that_holds_the_repository(project, root):
    with_config(project, f'root = "{root}"')
    for words in (CREATE, ("test",)):
        assert f"root = '{root}'" in refused(project, *words, status=2)
    with_config(project, "")
    nothing_is_left(project)


def test_a_settings_file_that_cannot_be_read(project):
    path = project.repo / "testgrove.toml"
    path.unlink()
    for make, problem in (
        (lambda: path.write_bytes(b"\xff\xfe = 1"), "not valid UTF-8 at byte 0"),
        (path.mkdir, "not a regular file"),
        (lambda: os.mkfifo(path), "not a regular file"),
        (lambda: path.symlink_to(path), "not a regular file"),
    ):
        make()
        for words in (CREATE, ("test",)):
            error = refused(project, *words, status=2, timeout=30)
            assert f"cannot read {path}: {problem}\n  hint: ls -l {path}" in error
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    nothing_is_left(project)


@pytest.mark.skipif(ROOT, reason="root can read everything")
def test_a_settings_file_without_permission(project):
    path = project.repo / "testgrove.toml"
    path.chmod(0)
    assert f"cannot read {path}: permission denied" in refused(project, *CREATE, status=2)
    nothing_is_left(project)


@pytest.mark.slow
def test_names_that_the_project_tracks(project):
    suite = '[suites.unit]\ncommand = "true"\n'
    with_config(project, suite + (project.repo / "testgrove.toml").read_text())
    project.run("test")  # so that the next run finds a parked worktree
    for name, hint in (
        (".env.test", 'choose another name: [tool.testgrove] env_file = ".env.testgrove"'),
        (".worktree-metadata.json", "git rm --cached .worktree-metadata.json"),
    ):
        (project.repo / name).write_text("mine\n")
        project.git("add", "--force", name)
        project.git("commit", "--quiet", "--message", name)
        error = refused(project, *CREATE, status=3)
        assert f"{name} is tracked at main; refusing to overwrite it\n  hint: {hint}" in error
        done = project.run("test", check=False)
        assert done.returncode == 1
        assert f"{name} is tracked" in done.stdout
        assert project.git("show", f"HEAD:{name}") == "mine\n"
        project.git("rm", "--quiet", "--cached", name)
        project.git("commit", "--quiet", "--message", "gone")
    nothing_is_left(project)


# The repository


@pytest.mark.parametrize(
    "words", [["list"], CREATE, ["test"], ["remove", "x"], ["cleanup"], ["show", "x"]], ids=lambda words: words[0]
)
def test_where_no_project_is(project, tmp_path, words):
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "bare"], check=True)
    subprocess.run(["git", "init", "-q", tmp_path / "empty"], check=True)
    (tmp_path / "none").mkdir()
    for name, message, hint in (
        ("none", "is not in a git repository", "git init"),
        ("bare", "is a bare repository and has no files to test", "git worktree add ../main"),
        ("empty", "HEAD has no commit yet", "git add --all && git commit"),
        ("empty/.git", "is inside a .git folder", f"cd {tmp_path}/empty"),
    ):
        error = refused(project, *words, status=3, cwd=tmp_path / name)
        assert error.startswith(f"error: {tmp_path / name}")
        assert message in error
        assert f"hint: {hint}" in error
    assert "is not a directory" in refused(project, *words, "--project", "/no/such", status=3)
    assert list((tmp_path / "none").iterdir()) == []


def test_the_current_folder_was_deleted(project, tmp_path):
    script = ("sh", "-c", 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"', str(tmp_path / "gone"))
    for words in (("list",), ("init",), ("create", *CREATE[1:])):
        assert "the current folder was deleted" in refused(project, *words, status=3, program=(*script, *TESTGROVE))


def test_no_git(project):
    error = refused(project, "list", status=3, env={"PATH": "/nonexistent"})
    assert "error: git not found (searched: PATH)\n  hint: install git 2.38 or later" in error


# Surroundings


def test_folders_of_our_own_that_cannot_be_had(project):
    file = project.base / "file"
    file.write_text("")
    for name in ("STATE", "CACHE", "SCRATCH"):
        for place in (file, file / "below", Path("/proc/nowhere")):
            error = refused(project, "list", status=3, env={f"TESTGROVE_{name}_DIR": str(place)})
            why = f"cannot use {place}: " if place.parent == Path("/proc") else f"{file} is not a folder"
            assert f"error: {why}" in error
            assert "hint: " in error


@pytest.mark.skipif(ROOT, reason="root can write everywhere")
def test_a_state_folder_without_permission(project):
    project.state.mkdir(mode=0o500)
    assert "error: " in refused(project, "list", status=5)


def test_a_store_that_is_none_is_moved_aside(project):
    project.state.mkdir()
    store = project.state / "state.db"
    for why in ("file is not a database", "it is not a file"):
        if why.startswith("file"):
            store.write_bytes(b"not a database" * 1000)
        else:
            store.unlink()
            store.mkdir()
        done = project.run("list")
        assert f"warning: the store {store} was damaged ({why}): it was moved to " in done.stderr


@pytest.mark.parametrize("home", ["", "/proc/nowhere", "relative"])
def test_a_home_that_is_none(grove, home):
    project: Grove = grove(config='[suites.unit]\ncommand = "true"\n')
    env = {"HOME": home, "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path("~/.cache/uv").expanduser()))}
    project.run("test", env=env)
    project.run("cleanup", "--max-age", "0", "--yes", env=env)
    nothing_is_left(project)


def test_a_home_that_is_unset(project):
    """Where things are then: tests/faults/test_tricks_with_paths.py."""
    done = project.run("-c", f"unset HOME XDG_STATE_HOME; exec {' '.join(TESTGROVE)} list", program=("sh",))
    assert "no worktrees" in done.stderr


def test_every_port_is_taken(grove):
    project: Grove = grove(variables=local_packages.settings())
    low = project.ports.start
    config = f'[suites.unit]\ncommand = "true"\nports = true\n[ports]\nrange = "{low}-{low + 3}"\n'
    with_config(project, config)
    with ExitStack() as stack:
        for port in (low, low + 2):
            stack.enter_context(socket.create_server(("0.0.0.0", port)))
        error = refused(project, *CREATE, "--ports", status=4)
        assert f"error: no 3 consecutive free ports left in {low}-{low + 3}" in error
        assert "testgrove list --ports" in error
        done = project.run("test", check=False)
        assert done.returncode == 1
        assert "no 3 consecutive free ports" in done.stdout
    nothing_is_left(project)
    project.run(*CREATE, "--ports")
    assert "no 3 consecutive" in refused(project, *CREATE[:2], "--identifier=b", *CREATE[3:], "--ports", status=4)


# Suites and services: every one of these is a cell's error in a report, or is found before anything is made


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("no-such-command --flag", "command 'no-such-command' not found"),
        ("./no/such/file", "command './no/such/file' not found"),
        ("./README.md", "cannot execute './README.md': Permission denied"),
        ("'unbalanced", 'cannot split "\'unbalanced" into words'),
    ],
)
def test_a_test_command_that_cannot_run(grove, command, reason):
    project: Grove = grove(config=f'[suites.unit]\ncommand = "{command}"\nretries = 2\n')
    done = project.run("test", check=False)
    assert done.returncode == 1
    assert f"unit: error: {reason}" in done.stdout, said(done)
    assert "Traceback" not in done.stdout + done.stderr
    project.run("cleanup", "--max-age", "0", "--yes")
    nothing_is_left(project)


@pytest.mark.parametrize("engine", ["postgres", "redis"])
def test_a_server_that_is_not_to_be_found(grove, engine):
    suite = f'[suites.unit]\ncommand = "true"\nservices = ["{engine}"]\n'
    project: Grove = grove(config=f'[services.{engine}]\nversion = "99"\n{suite}')
    error = refused(project, "test", status=3)
    assert re.search(r"error: .* 99 not found \(available: .*; searched: ", error), error
    assert "hint: pip install 'testgrove[embedded]', or: apt install" in error
    nothing_is_left(project)


POSTGRES = '[services.postgres]\nmigrate = "{}"\n[suites.unit]\ncommand = "true"\nservices = ["postgres"]\n'


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize(
    ("migrate", "parts"),
    [
        ("echo broken revision >&2; exit 3", ["exited with status 3", "broken revision"]),
        ("no-such-tool upgrade", ["exited with status 127", "no-such-tool"]),
    ],
)
def test_a_migration_that_fails(grove, require_postgres, migrate, parts):
    project: Grove = grove(config=POSTGRES.format(migrate))
    for _ in range(2):  # a failed template is never taken for a good one
        done = project.run("test", check=False)
        assert done.returncode == 1, said(done)
        assert f"unit: error: the migration `{migrate}` failed" in done.stdout
        for part in parts:
            assert part in done.stdout
        assert "Traceback" not in done.stdout + done.stderr
    nothing_is_left(project)


@pytest.mark.postgres
def test_every_server_port_is_taken(grove, require_postgres):
    project: Grove = grove(variables=local_packages.settings())
    port = project.servers.start
    with_config(project, POSTGRES.format("true") + f'[ports]\nservers = "{port}-{port}"\n')
    with socket.create_server(("127.0.0.1", port)):
        done = project.run("test", check=False)
    assert done.returncode == 1, said(done)
    assert f"free ports left in {port}-{port}" in done.stdout
    nothing_is_left(project)


# Paths

SERVICES = (
    '[services.postgres]\n[services.redis]\n[suites.unit]\nservices = ["postgres", "redis"]\n'
    """command = "python -c 'import os; os.environ[\\"PGPORT\\"], os.environ[\\"REDIS_URL\\"]'"\n"""
)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.parametrize("name", ['it\'s a $HOME "pröject"; `x` & *', "n" * 200], ids=["strange", "long"])
def test_a_project_at_a_strange_path(grove, require_postgres, require_redis, name):
    project: Grove = grove(name=name, config=SERVICES)
    project.run("test")
    project.create("test-unit", "env", "--ports")
    done = project.run("exec", "env", "--", "python", "-c", "import sys; print(sys.prefix)")
    assert done.stdout == f"{project.root}/test-unit-env/.venv\n"
    assert project.run("exec", "env", "--", "pip", "--version").returncode == 0
    project.run("remove", "env")
    project.run("cleanup", "--max-age", "0", "--yes")
    nothing_is_left(project)


def test_a_project_path_with_a_line_break(grove):
    project: Grove = grove(name="two\nlines")
    project.create("test-unit", "a", "--ports", "--no-env")
    assert project.json("path", "a")["path"] == f"{project.root}/test-unit-a"
    project.run("remove", "a")
    nothing_is_left(project)


def test_a_project_path_that_is_not_text(grove):
    project: Grove = grove(variables=local_packages.settings())
    place = Path(os.fsdecode(os.fsencode(project.base) + b"/latin\xe9"))
    project.repo.rename(place)
    for words in (CREATE, ("list",), ("test",)):
        assert "is not valid UTF-8" in refused(project, *words, status=3, cwd=place)
    place.rename(project.repo)
    nothing_is_left(project)


def test_a_linked_project_path_is_the_same_project(project):
    link = project.base / "link"
    link.symlink_to(project.repo)
    project.run(*CREATE, cwd=link)
    assert project.run("path", "a").stdout == f"{project.root}/test-unit-a\n"
    assert project.run("path", "a", cwd=link).stdout == f"{project.root}/test-unit-a\n"
    project.run("remove", "a", cwd=link)
    nothing_is_left(project)


# File systems of their own


def mounted(project: Grove, mount: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command where a mount was made that nobody else sees; the files that it left in the root come last."""
    own = needs.mount_namespace()
    project.root.mkdir(exist_ok=True)
    script = f'{mount} || exit 99; "$@"; status=$?; ls -A "$ROOT" | sed "s/^/left: /" >&2; exit $status'
    env = {"ROOT": str(project.root), "REPO": str(project.repo), "STATE": str(project.state)}
    done = project.run("-c", script, "sh", *TESTGROVE, *words, program=(*own, "sh"), env=env, check=False)
    project.root.rmdir()
    assert "left: " not in done.stderr, said(done)
    assert "Traceback" not in done.stderr, said(done)
    return done


def test_a_disk_without_room_is_found_early(project):
    for words in (CREATE, ("test",)):
        done = mounted(project, 'mount -t tmpfs -o size=1m none "$ROOT"', *words)
        assert done.returncode == 4, said(done)
        assert re.search(rf"error: {project.root}: needs \d+ MB of free disk space, only \d+ MB available", done.stderr)
        assert "hint: testgrove cleanup" in done.stderr
    nothing_is_left(project)


def test_a_disk_that_becomes_full(project):
    project.write({"big.txt": "full of it\n" * (8 << 20)}, commit="big")
    done = mounted(project, 'mount -t tmpfs -o size=72m none "$ROOT"', *CREATE, "--ports")
    assert done.returncode == 4, said(done)
    assert f"error: {project.root}/test-unit-a: no disk space left" in done.stderr
    nothing_is_left(project)


def test_a_full_disk_under_the_store(project):
    project.state.mkdir()
    mount = 'mount -t tmpfs -o size=64k,mode=700 none "$STATE"; cat /dev/zero >"$STATE/full" 2>/dev/null; true'
    done = mounted(project, mount, *CREATE)
    assert done.returncode == 4, said(done)
    assert f"error: no disk space left for the store {project.state}/state.db" in done.stderr
    assert f"hint: df -h {project.state}" in done.stderr
    nothing_is_left(project)


def test_a_root_that_cannot_be_written(project):
    done = mounted(project, 'mount -t tmpfs -o ro none "$ROOT"', *CREATE, "--ports")
    assert done.returncode == 3, said(done)
    assert f"error: cannot create the folder {project.root}/test-unit-a: read-only file system" in done.stderr
    assert f"hint: findmnt -T {project.root}" in done.stderr
    nothing_is_left(project)


@pytest.mark.skipif(ROOT, reason="root can write everywhere")
def test_a_root_without_permission(project):
    project.root.mkdir(mode=0o500)
    error = refused(project, *CREATE, status=3)
    assert f"error: cannot create the folder {project.root}/test-unit-a: permission denied" in error
    nothing_is_left(project)


def test_a_repository_that_cannot_be_written(project):
    mount = 'mount --bind "$REPO" "$REPO" && mount -o remount,ro,bind "$REPO"'
    for words in (CREATE, ("test",)):
        done = mounted(project, mount, *words)
        assert done.returncode == 3, said(done)
        assert re.search(rf"error: .*{project.repo}.*: read-only file system", done.stderr), said(done)
    assert mounted(project, mount, "list").returncode == 0
    nothing_is_left(project)
