"""What is proposed after a failure in a sub-project, or with output that means something else."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest

from testgrove.app.project import table_named
from testgrove.app.runs.advice import Advice, Failure, advice
from testgrove.core.environments.plan import Contents
from testgrove.core.runs.outcome import SessionFacts
from testgrove.core.settings.types import Settings, Suite


@pytest.fixture
def failed(tmp_path, monkeypatch):
    """A function that makes a failure in the folder `api`, which has settings of its own."""

    def make(output: str, files: dict[str, str] | None = None, *, folder: str = "api", timed_out: bool = False):
        for name, text in {"api/pyproject.toml": "[tool.testgrove]\n", **(files or {})}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        suite = Suite(command="pytest", timeout=5)
        project = SimpleNamespace(
            repository=SimpleNamespace(toplevel=tmp_path),
            main=tmp_path / "main",
            settings=Settings(suites={"unit": suite}),
            directory="api",
            settings_folder=folder,
            table=partial(table_named, tmp_path, folder=folder),
        )
        workspace = SimpleNamespace(
            tree=tmp_path,
            spec=SimpleNamespace(directory="api"),
            plan=SimpleNamespace(home="api", contents=Contents("bare")),
            environment_elsewhere=None,
        )
        cell = SimpleNamespace(suite="api/unit", settings=suite, scenario=None)
        failure = Failure(project, workspace, cell, output, SessionFacts(), timed_out)  # type: ignore[arg-type]
        vars(failure)["files"] = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
        return failure

    monkeypatch.chdir(tmp_path)
    return make


def test_a_time_limit_is_set_in_the_file_of_the_sub_project(failed):
    hint = advice(failed("", timed_out=True)).hint
    assert hint == "set timeout = 10 in [tool.testgrove.suites.unit] in api/pyproject.toml"
    assert advice(failed("", timed_out=True, folder="")) == Advice()  # the top's settings do not have this suite


def test_a_package_is_added_in_the_folder_of_the_sub_project(failed):
    hint = advice(failed("E   ModuleNotFoundError: No module named 'six'")).hint
    assert hint == "cd api && printf '%s\\n' pytest six >> requirements-test.txt"


@pytest.mark.parametrize(
    ("file", "note", "hint"),
    [
        ("api/src/shop.py", "shop is in src/ of the project, which is not installed",
         'add pythonpath = ["src"] to [tool.pytest.ini_options] in api/pyproject.toml'),
        ("api/code/shop/__init__.py", "shop is in code/ of the project, which is not installed",
         'add pythonpath = ["code"] to [tool.pytest.ini_options] in api/pyproject.toml'),
        ("libs/shop/__init__.py", "shop is in libs/ of the repository, which is not installed", ""),
    ],
)  # fmt: skip
def test_a_module_of_the_repository_is_not_looked_for_in_the_index(failed, file, note, hint):
    assert advice(failed("E   ModuleNotFoundError: No module named 'shop'", {file: ""})) == Advice(note, hint)


def test_pytest_is_configured_where_it_is_configured(failed):
    files = {"api/src/shop.py": "", "api/setup.cfg": "[tool:pytest]\naddopts = -q\n"}
    hint = advice(failed("E   ModuleNotFoundError: No module named 'shop'", files)).hint
    assert hint == "add pythonpath = src to [tool:pytest] in api/setup.cfg"


def test_a_comment_in_addopts_is_named(failed):
    files = {"api/pytest.ini": "[pytest]\naddopts = -v  # verbose\n"}
    found = advice(failed("ERROR: file or directory not found: #\n", files))
    note = "api/pytest.ini:2: pytest takes the comment in `addopts` for arguments: # verbose"
    assert found == Advice(note, "move the comment out of `addopts` in api/pytest.ini")


@pytest.mark.parametrize(
    "output",
    [
        f"No such file or directory: '{'x' * 300}'",
        "E   ModuleNotFoundError: No module named 'tkinter'",
        "E       fixture 'db' not found",
    ],
)
def test_what_nothing_is_known_about_gets_no_advice(failed, output):
    assert advice(failed(output)) == Advice()
