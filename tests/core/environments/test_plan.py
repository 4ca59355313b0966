"""What is chosen from a project's files, and what makes two environments the same."""

from __future__ import annotations

import pytest

from testgrove.core.environments.decide import decide
from testgrove.core.environments.declared import read_declared
from testgrove.core.environments.fingerprint import fingerprint
from testgrove.core.environments.install_commands import install_arguments, note_on_pytest
from testgrove.core.environments.plan import EnvironmentRequest
from testgrove.core.environments.requirement_files import requirement_files
from testgrove.core.environments.sources import local_folders, mentioned, sources
from testgrove.errors import PreconditionError, UsageError

BUILDS = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
PROJECT = '[project]\nname = "Shop.Api"\nversion = "1"\n'
LOCK = """\
version = 1

[[package]]
name = "six"
version = "1.17.0"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "shop-api"
version = "1"
source = { editable = "." }

[[package]]
name = "dynamic"
source = { editable = "packages/dynamic" }

[[package]]
name = "copied"
version = "1"
source = { directory = "libs/copied" }
"""


def files(**contents: str) -> dict[str, bytes]:
    """``pyproject_toml`` stands for pyproject.toml, ``requirements__test_txt`` for requirements/test.txt."""
    names = {name: name.replace("__", "/").replace("_py", ".py").replace("_txt", ".txt") for name in contents}
    names |= {"pyproject_toml": "pyproject.toml", "setup_cfg": "setup.cfg", "uv_lock": "uv.lock"}
    return {names[name]: text.encode() for name, text in contents.items()}


def command(sources: dict[str, bytes], **request: object) -> str:
    return " ".join(install_arguments(decide(sources, EnvironmentRequest(**request))))  # type: ignore[arg-type]


def test_a_tree_without_any_declaration_is_bare():
    contents = decide({}, EnvironmentRequest())
    assert (contents.kind, contents.project, contents.pytest) == ("bare", "none", True)
    assert install_arguments(contents) == ()


def test_a_pyproject_that_only_configures_tools_is_bare():
    assert decide(files(pyproject_toml="[tool.pytest.ini_options]\n"), EnvironmentRequest()).kind == "bare"


def test_a_lock_wins_and_brings_all_extras_and_the_default_groups():
    there = files(pyproject_toml=PROJECT + 'dependencies = ["pytest"]\n' + BUILDS, uv_lock=LOCK,
                  requirements_txt="six")  # fmt: skip
    assert decide(there, EnvironmentRequest()).kind == "uv-lock"
    assert command(there) == (
        "sync --frozen --inexact --all-extras --reinstall-package shop-api --reinstall-package dynamic"
        " --reinstall-package copied"
    )


def test_settings_choose_the_extras_and_groups_of_a_lock():
    text = PROJECT + "[project.optional-dependencies]\na = []\nb = []\n[dependency-groups]\ndocs = []\n"
    there = files(pyproject_toml=text, uv_lock="")
    wanted = "sync --frozen --inexact --extra a --no-default-groups --group docs"
    assert command(there, extras=("a",), groups=("docs",)) == wanted
    assert command(there, extras=(), groups=()) == "sync --frozen --inexact --no-default-groups"


@pytest.mark.parametrize(
    ("groups", "added"),
    [
        ('dev = ["pytest"]\ntests = ["pytest"]', ()),
        ('dev = [{ include-group = "tests" }]\ntests = ["pytest-cov"]', ()),
        ('dev = ["ruff"]\ntests = ["pytest>=8"]', ("tests",)),
        ('tests = [{ include-group = "core" }]\ncore = ["pytest"]', ("tests",)),
        ('lint = ["ruff"]\nunit = ["pytest>=9"]\nintegration = ["pytest>=9"]', ("unit",)),
        ('unit = ["pytest>=9"]\ntest = ["pytest>=8"]', ("test",)),
        ('dev = ["pytestify"]\ndocs = ["sphinx"]', ()),
    ],
)
def test_a_lock_whose_default_groups_lack_pytest_gets_the_test_group_too(groups, added):
    contents = decide(
        files(pyproject_toml=PROJECT + f"[dependency-groups]\n{groups}\n", uv_lock=""), EnvironmentRequest()
    )
    assert contents.groups == added
    assert len(contents.notes) == len(added)


def test_configured_default_groups_count():
    text = PROJECT + '[dependency-groups]\nci = ["pytest"]\ntest = ["pytest"]\n[tool.uv]\ndefault-groups = ["ci"]\n'
    assert decide(files(pyproject_toml=text, uv_lock=""), EnvironmentRequest()).groups == ()


def test_of_extras_that_conflict_only_the_first_is_installed():
    text = PROJECT + "[project.optional-dependencies]\ncpu = []\ngpu = []\n[tool.uv]\n"
    text += 'conflicts = [[{ extra = "cpu" }, { extra = "gpu" }]]\n'
    there = files(pyproject_toml=text, uv_lock="")
    assert "--all-extras --no-extra gpu" in command(there)
    assert "'gpu'" in decide(there, EnvironmentRequest()).notes[0]


def test_requirement_files_come_with_the_project_where_it_can_be_installed():
    there = files(requirements_txt="six\n", requirements__test_txt="pytest\n", pyproject_toml=PROJECT + BUILDS)
    wanted = "pip install -r requirements.txt -r requirements/test.txt -e . --reinstall-package Shop.Api"
    assert command(there) == wanted
    alone = files(requirements_txt="six\n")
    assert command(alone) == "pip install -r requirements.txt"


def test_a_project_without_test_requirements_brings_its_test_extra():
    text = PROJECT + "[project.optional-dependencies]\ntest = ['pytest']\n" + BUILDS
    assert " -e .[test] " in command(files(requirements_txt="six\n", pyproject_toml=text))


def test_requirements_that_name_a_local_folder_are_reinstalled_whole():
    for line in ("-e .", "./libs/a", "--editable=libs/a", "a @ file:libs/a"):
        assert command(files(requirements_txt=f"{line}\n")).endswith("--reinstall"), line
    assert "--reinstall" not in command(files(requirements_txt="# ./x\nsix\n.5\n"))


@pytest.mark.parametrize(
    ("tables", "wanted"),
    [
        ("[project.optional-dependencies]\ntest = ['pytest']\ndev = ['pytest']", "-e .[test]"),
        (
            "[project.optional-dependencies]\ndev = ['build']\n[dependency-groups]\ndev = ['pytest']",
            "-e .[dev] --group dev",
        ),
        ("[dependency-groups]\ntests = ['pytest']\ndocs = []", "-e . --group tests"),
        ("[dependency-groups]\nci = [{ include-group = 'core' }]\ncore = ['pytest']", "-e . --group ci"),
        ("[project.optional-dependencies]\ndev = ['ruff']\nall = ['shop-api[dev,qa]']\nqa = ['pytest']", "-e .[all]"),
        ("[project.optional-dependencies]\ntesting = ['nose']", "-e .[testing]"),
        ("[project.optional-dependencies]\nfast = ['ujson']", "-e ."),
    ],
)  # fmt: skip
def test_a_project_comes_with_the_extra_or_group_that_brings_pytest(tables, wanted):
    there = files(pyproject_toml=f"{PROJECT}{tables}\n{BUILDS}")
    assert command(there) == f"pip install {wanted} --reinstall-package Shop.Api"


def test_include_groups_that_go_in_a_circle_end():
    text = PROJECT + "[dependency-groups]\na = [{include-group = 'b'}]\nb = [{include-group = 'a'}]\n" + BUILDS
    assert decide(files(pyproject_toml=text), EnvironmentRequest()).groups == ()


def test_a_project_without_a_build_system_gives_its_dependencies_alone():
    text = PROJECT + "[project.optional-dependencies]\ntest = ['pytest']\n"
    contents = decide(files(pyproject_toml=text), EnvironmentRequest())
    assert contents.project == "dependencies"
    assert command(files(pyproject_toml=text)) == "pip install -r pyproject.toml --extra test"
    forced = text + "[tool.uv]\npackage = true\n"
    assert decide(files(pyproject_toml=forced), EnvironmentRequest()).project == "editable"


def test_setup_py_is_read_and_not_run():
    text = (
        'import os\nfrom setuptools import setup\nos.abort()\nsetup(name="old", extras_require={"tests": ["pytest"]})'
    )
    assert command(files(setup_py=text)) == "pip install -e .[tests] --reinstall-package old"
    unknown = "import setuptools\nsetuptools.setup(name=read())"
    assert command(files(setup_py=unknown)) == "pip install -e . --reinstall"


def test_extras_that_a_setup_py_puts_together_are_known_as_far_as_they_are_literal():
    text = """
from setuptools import setup
NAME = "old"
extras = {"redis": ["redis>=2"], "computed": list(map(str, [1]))}
extras["all"] = list(set(sum(extras.values(), [])))
extras["dev"] = extras["all"] + ["pytest", *MORE] + extras["redis"] + ["pytest-cov"]
setup(name=NAME, install_requires=read("requirements.txt"), extras_require=extras)
"""
    declared = read_declared(files(setup_py=text))
    assert (declared.name, declared.has_dependencies) == ("old", True)
    assert declared.extras == {"computed": (), "all": (), "redis": ("redis>=2",),
                               "dev": ("pytest", "redis>=2", "pytest-cov")}  # fmt: skip
    assert command(files(setup_py=text)) == "pip install -e .[dev] --reinstall-package old"


def test_setup_cfg_gives_name_extras_and_python():
    text = "[metadata]\nname = old\n[options]\npython_requires = >=3.9\n"
    text += "[options.extras_require]\ntest =\n  pytest\n  six\n"
    assert command(files(setup_cfg=text)) == "pip install -e .[test] --reinstall-package old"
    assert read_declared(files(setup_cfg=text)).requires_python == ">=3.9"


def test_unknown_extras_and_groups_are_named():
    there = files(pyproject_toml=PROJECT + "[project.optional-dependencies]\nTest_All = []\n" + BUILDS)
    assert "-e .[test-all]" in command(there, extras=("test-all",))
    with pytest.raises(UsageError, match="extra 'nope' not found") as raised:
        decide(there, EnvironmentRequest(extras=("nope",)))
    assert raised.value.hint == "declared: Test_All"
    with pytest.raises(UsageError, match="group 'nope' not found"):
        decide(there, EnvironmentRequest(groups=("nope",)))


def test_a_broken_file_is_named():
    with pytest.raises(PreconditionError, match=r"pyproject\.toml is not valid TOML"):
        decide(files(pyproject_toml="[project"), EnvironmentRequest())
    with pytest.raises(PreconditionError, match=r"cannot read setup\.cfg"):
        decide(files(setup_cfg="name = x"), EnvironmentRequest())


def test_poetry_groups_are_installed_from_their_requirements():
    text = BUILDS + "[tool.poetry]\nname = 'x'\n[tool.poetry.group.dev.dependencies]\npytest = '^8.1'\n"
    contents = decide(files(pyproject_toml=text), EnvironmentRequest())
    assert (contents.names, contents.more) == (("x",), ("pytest>=8.1,<9",))


def test_which_files_decide():
    names = ["README.md", "setup.py", "requirements-dev.txt", "requirements.txt", "requirements/docs.txt",
             "requirements/py-tests.txt", "test-requirements.txt", "my-requirements.txt", "uv.toml"]  # fmt: skip
    assert requirement_files(names) == ("requirements/py-tests.txt", "test-requirements.txt", "requirements-dev.txt")
    assert sources(names)[:3] == ("setup.py", "uv.toml", "requirements.txt")


def test_files_that_are_referred_to_decide_too():
    assert mentioned("requirements/test.txt", b"-r ../base.txt\n-cpins.txt # why\n-r https://x/y.txt\n") == (
        "base.txt", "requirements/pins.txt",
    )  # fmt: skip
    dynamic = b"[tool.setuptools.dynamic]\ndependencies = {file = ['a.in', 'b.in']}\n"
    dynamic += b"optional-dependencies.t = {file = 'c.in'}\n"
    assert mentioned("pyproject.toml", dynamic) == ("a.in", "b.in", "c.in")
    assert mentioned("pyproject.toml", b'[tool.hatch.version]\npath = "x/__init__.py"\n') == ("x/__init__.py",)
    assert "packages/dynamic/pyproject.toml" in mentioned("uv.lock", LOCK.encode())
    assert local_folders(files(uv_lock=LOCK)) == (".", "packages/dynamic", "libs/copied")


def test_the_fingerprint_covers_files_and_facts():
    one = fingerprint({"a": b"1", "b": b"2"}, {"python": "3.12"})
    assert fingerprint({"b": b"2", "a": b"1"}, {"python": "3.12"}) == one
    others = [
        fingerprint({"a": b"1", "b": b"3"}, {"python": "3.12"}),
        fingerprint({"a": b"1", "c": b"2"}, {"python": "3.12"}),
        fingerprint({"a": b"12", "b": b""}, {"python": "3.12"}),
        fingerprint({"a": b"1", "b": b"2"}, {"python": "3.13"}),
    ]
    assert len({one, *others}) == 5


def test_how_the_code_is_looked_at_is_not_in_the_fingerprint():
    def of(text: str) -> str:
        return fingerprint(files(pyproject_toml=text), {})

    base = PROJECT + '[tool.hatch]\nx = "1"\n[tool.ruff]\nline-length = 80\n'
    assert of(base) == of(base.replace("80", "100")) == of("# a comment\n" + base)
    assert of(base) != of(base.replace('x = "1"', 'x = "2"'))
    assert of(base) != of(base.replace('version = "1"', 'version = "2"'))


@pytest.mark.parametrize(
    ("version", "told"),
    [("6.2.5", True), ("7.3.2", True), ("7.4.0", False), ("8.0rc1", False), ("10.0", False), ("", False)],
)
def test_a_pytest_that_is_too_old_is_said(version, told):
    assert bool(note_on_pytest(version)) is told
