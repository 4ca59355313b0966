"""Which interpreters are found, and which one a request means."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from testgrove.errors import PreconditionError, UsageError
from testgrove.system.environment.interpreters import available, describe, find
from testgrove.system.processes.process import run


def make(path: Path, answer: str = "", *, works: bool = True) -> Path:
    """An executable that answers as an interpreter does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{f'echo {answer}' if works else 'exit 1'}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path):
    """An environment whose home holds versions that no real machine has."""
    for version in ("3.97.4", "3.98.0", "3.98.2"):
        short = version.rpartition(".")[0]
        folder = tmp_path / ".pyenv/versions" / version / "bin"
        make(folder / f"python{short}", f"{version} cpython")
        (folder / "python").symlink_to(f"python{short}")
    make(tmp_path / ".pyenv/versions/3.6.15/bin/python3.6", "3.6.15 cpython")
    (tmp_path / ".pyenv/versions/3.6.15/bin/python").symlink_to("python3.6")
    return {"HOME": str(tmp_path), "PATH": ""}


def versions(environ) -> list[str]:
    return [str(one) for one in available(environ)]


def ask(request, environ, *, requires=None, pinned=None):
    return find(request, requires=requires, pinned=pinned, run=run, environ=environ)


def test_newest_come_first_and_too_old_ones_are_left_out(machine):
    assert versions(machine)[:3] == ["3.98.2", "3.98.0", "3.97.4"]
    assert "3.6.15" not in versions(machine)


def test_managed_pythons_of_uv_are_found(tmp_path, machine):
    folder = tmp_path / ".local/share/uv/python/cpython-3.99.1-linux-x86_64-gnu/bin"
    make(folder / "python3.99")
    (folder / "python3").symlink_to("python3.99")
    (folder.parent.parent / "cpython-3.99-linux-x86_64-gnu").symlink_to(folder.parent.name)
    pypy = tmp_path / ".local/share/uv/python/pypy-3.11.13-linux-x86_64-gnu/bin"
    make(pypy / "pypy3.11")
    (pypy / "python3").symlink_to("pypy3.11")
    assert versions(machine)[0] == "3.99.1"
    assert versions(machine).count("3.99.1") == 1
    assert "pypy3.11.13" in versions(machine)
    elsewhere = {**machine, "UV_PYTHON_INSTALL_DIR": str(tmp_path / "none")}
    assert "3.99.1" not in versions(elsewhere)


def test_path_is_searched_but_shims_are_not(tmp_path, machine):
    make(tmp_path / "bin/python3.96", "3.96.5 cpython")
    make(tmp_path / "shims/python3.99", works=False)
    environ = {**machine, "PATH": f"{tmp_path / 'bin'}:{tmp_path / 'shims'}:{tmp_path / 'missing'}"}
    assert "3.96" in versions(environ)
    assert "3.99" not in versions(environ)
    assert ask("3.96", environ).version == "3.96.5"
    assert ask("3.96.5", environ).version == "3.96.5"
    with pytest.raises(PreconditionError, match=r"3\.96\.4 not found"):
        ask("3.96.4", environ)


def test_a_virtual_environment_stands_for_its_base_interpreter(tmp_path, machine):
    base = Path(machine["HOME"], ".pyenv/versions/3.98.2/bin")
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(f"home = {base}\nversion_info = 3.98.2\n")
    (venv / "bin/python3").symlink_to(base / "python3.98")
    nested = tmp_path / "nested"
    (nested / "bin").mkdir(parents=True)
    (nested / "pyvenv.cfg").write_text(f"home = {venv / 'bin'}\n")
    (nested / "bin/python3").symlink_to(venv / "bin/python3")
    environ = {**machine, "PATH": f"{venv / 'bin'}:{nested / 'bin'}"}
    assert versions(environ) == versions(machine)
    assert describe(nested / "bin/python3").path == base / "python3.98"
    assert ask(str(nested / "bin/python3"), machine).path == base / "python3.98"


@pytest.mark.parametrize(
    ("request_", "version"),
    [
        ("3.98", "3.98.2"), ("3.98.0", "3.98.0"), ("python3.97", "3.97.4"), ("cpython-3.98.0", "3.98.0"),
        ("cpython@3.97", "3.97.4"), (" 3.98 ", "3.98.2"), ("3", "3.98.2"), ("Python3.98", "3.98.2"),
    ],
)  # fmt: skip
def test_requests(machine, request_, version):
    assert ask(request_, machine).version == version


def test_the_interpreter_that_runs_testgrove_is_the_default(machine):
    found = ask(None, machine)
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert found.path == Path(os.path.realpath(sys._base_executable))


def test_without_a_request_the_newest_that_fits_is_taken(machine):
    assert ask(None, machine, requires=">=3.97").version == "3.98.2"
    assert ask(None, machine, requires=">=3.97,<3.98").version == "3.97.4"
    assert ask("3.98", machine, requires="!=3.98.2,>=3.9").version == "3.98.0"


def test_one_that_does_not_work_is_passed_over(machine):
    make(Path(machine["HOME"], ".pyenv/versions/3.98.2/bin/python3.98"), works=False)
    assert ask("3.98", machine).version == "3.98.0"


def test_python_version_file(machine):
    assert ask(None, machine, pinned="# ours\n3.97\n").version == "3.97.4"
    assert ask(None, machine, pinned="my-environment\n").version == ask(None, machine).version
    assert ask("3.98", machine, pinned="3.97").version == "3.98.2"
    with pytest.raises(PreconditionError, match=r"3\.95 \(named by \.python-version\) not found"):
        ask(None, machine, pinned="3.95")


def test_a_missing_interpreter_names_those_that_are_there(machine):
    with pytest.raises(PreconditionError) as raised:
        ask("3.95", machine)
    assert raised.value.code == "no-interpreter"
    assert "Python 3.95 not found (available: 3.98.2, 3.98.0, 3.97.4" in raised.value.message
    assert raised.value.hint.endswith("uv python install 3.95")


def test_one_that_does_not_fit_the_project_is_refused(machine):
    for request in ("3.97", str(Path(machine["HOME"], ".pyenv/versions/3.97.4/bin/python"))):
        with pytest.raises(PreconditionError, match=r"3\.97\.4 does not match requires-python '>=3\.98'"):
            ask(request, machine, requires=">=3.98")
    with pytest.raises(PreconditionError, match="no Python found that matches requires-python '>=4'"):
        ask(None, machine, requires=">=4")
    with pytest.raises(PreconditionError, match="not a version specifier"):
        ask(None, machine, requires="^3.9")


@pytest.mark.parametrize("old", ["3.8", "python3.6", "2.7", "python2", "3.8.18"])
def test_old_versions_are_refused(machine, old):
    with pytest.raises(PreconditionError, match=r"Python .*: testgrove supports Python 3\.9") as raised:
        ask(old, machine)
    assert raised.value.code == "python-too-old"


def test_an_old_interpreter_by_its_path_is_refused(machine):
    with pytest.raises(PreconditionError, match=r"unsupported Python 3\.6\.15"):
        ask(str(Path(machine["HOME"], ".pyenv/versions/3.6.15/bin/python")), machine)


@pytest.mark.parametrize("bad", ["", "latest", "3.12;x", "3.12\n3.13", "py312", ">=3.12", "x" * 300, "--help"])
def test_other_requests_are_wrong_usage(machine, bad):
    with pytest.raises(UsageError) as raised:
        ask(bad, machine)
    assert raised.value.code == "invalid-python"
    assert "\n" not in raised.value.message


def test_a_path_that_is_no_interpreter_is_refused(tmp_path, machine):
    with pytest.raises(PreconditionError, match="does not exist"):
        ask(str(tmp_path / "nothing"), machine)
    with pytest.raises(PreconditionError, match="does not run as a Python interpreter"):
        ask("/bin/true", machine)
    with pytest.raises(PreconditionError, match="does not run as a Python interpreter"):
        ask(str(tmp_path), machine)


def test_the_real_interpreter_by_its_path():
    found = ask(sys.executable, None)
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert found.implementation == sys.implementation.name


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_folders_that_may_not_be_read_are_passed_over(machine):
    Path(machine["HOME"], ".pyenv").chmod(0)
    try:
        assert "3.98.2" not in versions(machine)
    finally:
        Path(machine["HOME"], ".pyenv").chmod(0o755)
