"""Of each failure of a first run, the last three lines name the cause, and what they show works when it is typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from uv import find_uv_bin

from first_runs.cases import AT_ONCE, IN_PLACE, NO_PYTEST, NO_PYTHON, WORKTREES, Case
from first_runs.typed import environ, replace_line, type_hint
from grove import Grove, make_wheel, said

WHO = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
IDENTITY = dict.fromkeys(WHO, "tester@example.invalid")


def plugin_wheel(folder: Path, name: str, code: str) -> None:
    """A distribution with a plugin for pytest."""
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    files = {
        f"{module}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[pytest11]\n{module} = {module}\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """A folder of wheels in the place of an index."""
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in (("tgnope", "1.0"), ("tgnope", "2.0"), ("tgsix", "1.0")):
        make_wheel(folder, name, version)
    plugin_wheel(folder, "pytest-cov", "def pytest_addoption(parser):\n    parser.addoption('--cov')\n")
    plugin_wheel(folder, "pytest-mock", "import pytest\n\n\n@pytest.fixture\ndef mocker(): pass\n")
    return folder


@pytest.fixture
def environment(tmp_path, index) -> Mapping[str, str]:
    """The variables of a shell in an environment of the user's, with the pytest of this one."""
    folder = tmp_path / "env"
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--python", sys.executable, folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (here,) = {Path(pytest.__file__).parent.parent}
    (packages / "tests.pth").write_text(f"{here}\n")
    script = folder / "bin/pytest"
    script.write_text(f"#!{folder}/bin/python\nimport pytest\nraise SystemExit(pytest.console_main())\n")
    script.chmod(0o755)
    return {"VIRTUAL_ENV": str(folder), "UV_FIND_LINKS": str(index), "UV_NO_INDEX": "1"}


def check(project: Grove, case: Case, env: Mapping[str, str]) -> None:
    if case.prepare:
        case.prepare(project)
    cwd = Path(os.path.normpath(project.repo / case.where))
    env = {**environ(case.env), **IDENTITY, **env}
    words = list(case.words)
    done = project.run(*words, cwd=cwd, env=env, check=False, timeout=300)
    assert done.returncode != 0, said(done)
    assert "Traceback" not in done.stderr, said(done)
    last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-3:]
    assert re.search(case.cause, "\n".join(last)), last
    hint = last[-1].strip().removeprefix("hint: ")
    assert re.search(case.hint, hint), last
    assert last[-1].startswith("  hint: ") or "Error: " in last[-1], last
    if case.after is None:
        show_again(case, hint, project.env | env, cwd)
        return
    if case.change:
        settings = project.repo / "testgrove.toml"
        old = settings.read_text().splitlines()[case.change - 1]
        meant = re.match(r"did you mean (\w+)\?", hint)
        replace_line(settings, case.change, f"{meant[1]} = {old.partition(' = ')[2]}" if meant else hint)
    else:
        words, cwd = type_hint(project, hint, words, env, cwd)
    again = project.run(*words, cwd=cwd, env=env, check=False, timeout=300)
    assert again.returncode == case.after, said(again)
    if case.change:
        assert not re.search(case.cause, again.stderr), said(again)


def show_again(case: Case, hint: str, env: Mapping[str, str], cwd: Path) -> None:
    """A command for the user's own checkout, in an environment to throw away."""
    command = hint.partition("to check: ")[2] or hint
    if not command.startswith("E="):
        return
    words = ["sh", "-c", f"TMPDIR={cwd.parent}; export TMPDIR; {command}"]
    done = subprocess.run(words, cwd=cwd, env=dict(env), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert re.search(case.cause, done.stderr.replace("\n", " ")), done.stderr


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_command_that_cannot_start(grove, name):
    case = AT_ONCE[name]
    check(grove(files=case.files or {"README.md": "mine\n"}, config=case.config), case, {})


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_PLACE)
def test_a_run_in_place(grove, environment, name):
    case = IN_PLACE[name]
    check(grove(files=case.files, config=case.config), case, environment)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKTREES)
def test_a_run_in_a_worktree(grove, index, name):
    case = WORKTREES[name]
    check(grove(files=case.files, config=case.config), case, {"UV_FIND_LINKS": str(index), **case.env})


@pytest.mark.slow
def test_an_environment_without_pytest(grove, tmp_path):
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--python", sys.executable, tmp_path / "env"], check=True)
    check(grove(files=NO_PYTEST.files), NO_PYTEST, {"VIRTUAL_ENV": str(tmp_path / "env")})


def test_an_environment_without_python(grove, tmp_path):
    check(grove(files=NO_PYTHON.files), NO_PYTHON, {"VIRTUAL_ENV": str(tmp_path / "none")})


@pytest.mark.slow
def test_a_pytest_that_is_too_old_is_named_with_the_command_that_replaces_it(grove, environment):
    """The version is what the plugin reports: no old pytest has to be installed."""
    project = grove(files={"conftest.py": "import pytest\n\npytest.__version__ = '7.2.2'\n", **NO_PYTEST.files})
    done = project.run("test", "--here", env=environ(environment))
    assert "pytest 7.2.2 is too old for testgrove, which needs 7.4 or later: uv pip install --python /" in done.stdout
