"""What Poetry, tox, nox and the workflows of CI say, in words of uv."""

from __future__ import annotations

import pytest

from testgrove.core.environments.foreign_groups import requirements, specifiers
from testgrove.core.environments.install_words import InstallTargets, asked
from testgrove.core.environments.nox import read_nox
from testgrove.core.environments.requirement_files import requirement_files
from testgrove.core.environments.tox import read_tox
from testgrove.core.environments.workflows import read_workflows


@pytest.mark.parametrize(
    ("poetry", "standard"),
    [
        ("*", ""),
        ("", ""),
        ("1.2", "==1.2"),
        ("1.2.*", "==1.2.*"),
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("^0.0", ">=0.0,<0.1"),
        ("^0", ">=0,<1"),
        ("^1.0b2", ">=1.0b2,<2"),
        ("^7.4.0rc1", ">=7.4.0rc1,<8"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1.2", ">=1.2,<1.3"),
        ("~1", ">=1,<2"),
        ("~=1.2", "~=1.2"),
        (">= 1.2, < 2", ">=1.2,<2"),
        (">=1.2 <2", ">=1.2,<2"),
        ("^2020.1", ">=2020.1,<2021"),
        ("^1 || ^2", ""),
    ],
)
def test_constraints_of_poetry(poetry, standard):
    assert specifiers(poetry) == standard


def test_requirements_of_poetry_and_pipenv():
    table = {
        "python": "^3.9",
        "six": "^1",
        "a": {"version": "^2", "extras": ["x", "y"], "markers": "sys_platform == 'linux'"},
        "b": [{"version": "1", "python": "<3.10"}, {"version": "2", "python": "^3.10"}],
        "c": {"git": "https://x/c.git", "tag": "v1"},
        "d": {"path": "lib/d", "develop": True},
        "e": {"version": "*", "optional": True},
        "f": {"url": "https://x/f.whl"},
    }
    assert requirements(table) == (
        "six>=1,<2",
        "a[x,y]>=2,<3 ; (sys_platform == 'linux')",
        "b==1 ; (python_version < '3.10')",
        "b==2 ; (python_version >= '3.10') and (python_version < '4')",
        "c @ git+https://x/c.git@v1",
        "./lib/d",
        "f @ https://x/f.whl",
    )


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (
            ["-r", "a.txt", "-rb.txt", "--requirement=c.txt", "-c", "pins.txt"],
            InstallTargets(("a.txt", "b.txt", "c.txt")),
        ),
        (["-e", ".[a,b]"], InstallTargets(extras=("a", "b"))),
        (["-e."], InstallTargets()),
        ([".", "six", "shop[x]"], InstallTargets(extras=("x",), requirements=("six",))),
        (
            ["--with", "a,b", "--group=c", "--all-extras", "-E", "d"],
            InstallTargets(extras=("d",), groups=("a", "b", "c")),
        ),
        (["-r", "${{ matrix.file }}", "$X"], InstallTargets()),
        (["pytest>=7 ; python_version < '3.9'"], InstallTargets(requirements=("pytest>=7 ; python_version < '3.9'",))),
    ],
)
def test_words_of_install_commands(words, wanted):
    assert asked(words, "shop") == wanted


def test_tox_is_read_with_its_references_and_without_what_only_some_environments_have():
    text = b"""
[base]
deps =
    -r{toxinidir}/requirements/tests.txt
    pytest>=7 ; python_version < "3.9"  # why
[testenv]
deps =
    {[base]deps}
    py39: old
    !lint: six
    {env:WEB:web}
    {envdir}/x
extras = fast, full
commands = pytest {posargs:tests}
[testenv:lint]
deps = ruff
"""
    one = read_tox({"tox.ini": text})[0]
    wanted = ('pytest>=7 ; python_version < "3.9"', "six", "web")
    assert one.asked == InstallTargets(("requirements/tests.txt",), ("fast", "full"), (), wanted)
    assert one.commands == ("pytest tests",)
    assert [each.name for each in read_tox({"tox.ini": b"[testenv:test]\ndeps = pytest\n[testenv:docs]\n"})] == [
        "testenv:test"
    ]
    assert read_tox({"tox.ini": b"deps = x"}) == ()
    circle = b"[a]\nx = {[b]x}\n[b]\nx = {[a]x}\n[testenv]\ndeps = {[a]x}"
    assert read_tox({"tox.ini": circle})[0].asked == InstallTargets()


def test_the_environments_of_tox_are_written_in_toml_too():
    text = b"""
[tool.tox.env_run_base]
deps = ["pytest", "-r x.txt"]
dependency_groups = ["dev"]
commands = [["pytest", "-q", "a b"]]
[tool.tox.env.docs]
deps = ["sphinx"]
"""
    (one,) = read_tox({"pyproject.toml": text})
    assert one.asked == InstallTargets(("x.txt",), (), ("dev",), ("pytest",))
    assert one.commands == ("pytest -q 'a b'",)


def test_nox_is_read_without_running_it():
    text = b"""
import nox, os
os.abort()
@nox.session(python=["3.11"])
def tests(session: nox.Session) -> None:
    if session.posargs:
        session.install("-r", "requirements/test.txt", *["six"])
    session.install(f"x=={VERSION}", "-e.[fast]")
    session.run_install("uv", "sync", "--group=dev")
    session.run("pytest", "-q", *session.posargs)
def helper(session):
    session.install("no")
"""
    (one,) = read_nox(text)
    assert one.asked == InstallTargets(("requirements/test.txt",), ("fast",), ("dev",), ("six",))
    assert one.commands == ("pytest -q",)
    assert read_nox(b"def (") == ()


def test_install_lines_of_workflows():
    text = b"""
jobs:
  test:
    steps:
      - name: pip install -r named.txt
      - run: python -m pip install -r requirements/tests.txt && pip install -e ".[a]"
      - run: |
          # pip install -r commented.txt
          uv sync --group ci \\
             --extra b
          poetry install --with test,docs
          tox -e py
      - run: pip install tox
"""
    found = read_workflows({".github/workflows/ci.yml": text, "docs/x.yml": b"run: pip install -r y.txt"})
    assert found.files == {"requirements/tests.txt"}
    assert (found.extras, found.groups) == ({"a", "b"}, {"ci", "test", "docs"})
    assert found.runners == {"tox"}


def test_the_likeliest_requirement_file_comes_first():
    names = ["requirements/local.txt", "requirements/dev.txt", "requirements/testing.txt", "requirements/test.txt",
             "requirements/tests.txt", "requirements/tests-windows.txt", "requirements/docs.txt", "dev.txt",
             "requirements_dev.txt", "tests/data.txt", "tests/requirements.txt", "requirements/test.in"]  # fmt: skip
    assert requirement_files(names) == (
        "requirements/tests.txt", "tests/requirements.txt", "requirements/tests-windows.txt", "requirements/test.txt",
        "requirements/testing.txt", "requirements/dev.txt", "requirements_dev.txt", "requirements/local.txt",
    )  # fmt: skip
