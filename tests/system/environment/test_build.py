"""Environments made by the real uv, for small projects and for two that nobody here wrote."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import needs
from grove import make_wheel
from testgrove.core.environments.dependency_sets import OWN, DependencySet
from testgrove.errors import ExhaustedError, PreconditionError, UnavailableError
from testgrove.system.environment import build as environment
from testgrove.system.environment.build import EnvironmentRecord, activate, build, check, find_uv, plan, python_of
from testgrove.system.environment.interpreters import available, find
from testgrove.system.processes import process, supervisor_pool

UV_BUILD = '[build-system]\nrequires = ["uv_build>=0.8"]\nbuild-backend = "uv_build"\n'  # within uv: no download
SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
# What a compiled project does: its build leaves a file in the tree.
BUILDING_SETUP = """\
from pathlib import Path
from setuptools import setup
Path("shop/_built.py").write_text("VALUE = " + Path("value.txt").read_text())
setup()
"""


@pytest.fixture(scope="module")
def tool():
    pool = supervisor_pool.SupervisorPool()
    yield functools.partial(supervisor_pool.supervised_run, pool)
    pool.close()


@pytest.fixture(scope="module")
def python():
    return find(None, requires=None, pinned=None, run=process.run)


@pytest.fixture(scope="module")
def other_python(python):
    """An interpreter of another version."""
    for one in available():
        if one.version.split(".")[1] != python.version.split(".")[1] and one.implementation == "cpython":
            return find(str(one.path), requires=None, pinned=None, run=process.run)
    return needs.missing("second-python", "there is one version of Python only")


class Grove:
    """A tree, and what is done with it."""

    def __init__(self, tree: Path, python, tool) -> None:
        self.tree, self.python, self.tool = tree, python, tool

    def write(self, **contents: str) -> None:
        for name, text in contents.items():
            path = self.tree / name.replace("__", "/").replace("_toml", ".toml").replace("_py", ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def project(self, head: str, backend: str = UV_BUILD) -> None:
        self.write(pyproject_toml=f'[project]\nname = "shop"\nversion = "1"\n{head}\n{backend}')
        (self.tree / "src/shop").mkdir(parents=True)
        (self.tree / "src/shop/__init__.py").write_text("VALUE = 1\n")

    def plan(self, *, tree_hash="t1", extras=None, groups=None, pytest=False, python=None, deps=OWN):
        return plan(self.tree, interpreter=python or self.python, extras=extras, groups=groups,
                    tree_hash=tree_hash, uv_version="1", pytest=pytest, deps=deps)  # fmt: skip

    def build(self, *, offline=False, **request) -> EnvironmentRecord:
        temporary = self.tree.parent / "temporary"
        return build(self.tree, self.plan(**request), uv=find_uv(), run=self.tool, temporary=temporary, offline=offline)

    def run(self, code: str) -> str:
        """What the environment's Python prints, with byte code written as users have it."""
        env = activate(process.scrubbed(), self.tree)
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run(["python", "-c", code], env=env, cwd="/", capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.stderr

    def versions(self, *names: str) -> list[str]:
        """The versions of these distributions, as their metadata tell."""
        found = {path.name.split("-")[0]: path.name for path in self.tree.glob(".venv/lib/*/site-packages/*.dist-info")}
        return [found[name].removesuffix(".dist-info").split("-")[1] for name in names]

    def distributions(self) -> set[str]:
        found = self.tree.glob(".venv/lib/*/site-packages/*.dist-info")
        return {path.name.split("-")[0] for path in found}


@pytest.fixture
def grove(tmp_path, python, tool):
    tree = tmp_path / "tree"
    tree.mkdir()
    return Grove(tree, python, tool)


def test_a_bare_tree_gets_pytest_and_a_pip_of_its_own(grove):
    record = grove.build(pytest=True)
    assert {"pytest", "pip"} <= grove.distributions()
    assert (record.distributions, record.editable, record.notes) == ((), True, ())
    assert record.python == grove.python.version
    pip = (grove.tree / ".venv/bin/pip").read_text()
    assert str(python_of(grove.tree)) in pip
    assert check(grove.tree, grove.plan(pytest=True), record) is None


def test_nothing_temporary_is_left(grove, monkeypatch, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    monkeypatch.setenv("TMPDIR", str(theirs))
    grove.project("", "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'")
    grove.build(pytest=True)
    assert list(theirs.iterdir()) == []
    assert not (grove.tree.parent / "temporary").exists()


def test_an_editable_project_runs_the_code_of_its_tree(grove):
    grove.project('[dependency-groups]\ntest = ["pytest"]')
    record = grove.build(pytest=True)
    assert (record.distributions, record.editable, record.built) == (("shop",), True, ())
    assert "pytest" in grove.distributions()
    (grove.tree / "src/shop/__init__.py").write_text("VALUE = 22\n")
    assert grove.run("import shop; print(shop.VALUE, shop.__file__)") == f"22 {grove.tree}/src/shop/__init__.py"
    assert check(grove.tree, grove.plan(pytest=True, tree_hash="t2"), record) is None


def test_pytest_is_added_as_a_last_resort_and_that_is_said(grove):
    grove.project("")
    record = grove.build(pytest=True)
    assert "pytest" in grove.distributions()
    assert "pytest is not in the project's dependencies" in record.notes[0]


def test_a_suite_without_pytest_gets_none(grove):
    grove.project("")
    assert grove.build(pytest=False).notes == ()
    assert "pytest" not in grove.distributions()


def test_requirement_files_are_installed_with_the_project(grove):
    grove.project("")
    (grove.tree / "requirements.txt").write_text("six==1.16.0\n")
    (grove.tree / "requirements-test.txt").write_text("-r more/nested.txt\n")
    grove.write(**{"more/nested.txt": "iniconfig\n"})
    before = grove.plan().fingerprint
    grove.build()
    assert {"six", "iniconfig", "shop"} <= grove.distributions()
    grove.write(**{"more/nested.txt": "iniconfig>=1\n"})
    assert grove.plan().fingerprint != before


def lock(grove: Grove) -> None:
    argv = [find_uv(), "lock", "-q", "--python", grove.python.path]
    subprocess.run(argv, cwd=grove.tree, check=True)


def test_a_lock_is_installed_as_it_is_and_pip_stays(grove):
    # Both a preference for uv's own interpreters and a version file make uv replace an environment it dislikes.
    head = 'requires-python = ">=3.9"\n[project.optional-dependencies]\nfast = ["six"]\nslow = ["iniconfig"]\n'
    grove.project(head + '[tool.uv]\npython-preference = "only-managed"')
    lock(grove)
    (grove.tree / ".python-version").write_text("3.9\n")
    record = grove.build()
    assert grove.distributions() >= {"shop", "six", "iniconfig", "pip"}
    assert record.editable
    assert grove.run("import sys; print('%d.%d.%d' % sys.version_info[:3])") == grove.python.version
    grove.build(extras=("slow",))
    assert "six" not in grove.distributions()


LOWEST, HIGHEST = DependencySet("lowest", "lowest-direct"), DependencySet("highest", "highest")


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """An index in a folder: web 1, 2 and 3; tool 0, 1 and 2, of which 2 needs web 2 or later."""
    folder = tmp_path / "wheels"
    for version in "123":
        make_wheel(folder, "web", version)
    make_wheel(folder, "tool", "0")
    make_wheel(folder, "tool", "1")
    make_wheel(folder, "tool", "2", requires=["web>=2"])
    make_wheel(folder, "pip", "1")
    make_wheel(folder, "setuptools", "1")
    (tmp_path / "uv.toml").write_text(f'no-index = true\nfind-links = ["{folder}"]\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(tmp_path / "uv.toml"))
    return folder


def test_the_lowest_versions_are_those_of_what_has_a_lower_bound(grove, wheels):
    """The tests' tool has none, so its newest is taken that fits the lowest of the rest."""
    grove.project('requires-python = ">=3.9"\ndependencies = ["web>=1"]\n[dependency-groups]\ntest = ["tool"]')
    grove.build(deps=HIGHEST, groups=("test",))
    assert grove.versions("web", "tool") == ["3", "2"]
    grove.build(deps=LOWEST, groups=("test",))
    assert grove.versions("web", "tool") == ["1", "1"]


def test_what_an_environment_is_seeded_with_does_not_choose_versions(grove, wheels):
    make_wheel(wheels, "pip", "2")
    grove.project('requires-python = ">=3.9"\ndependencies = ["pip>=1"]')
    grove.build(deps=LOWEST)
    assert grove.versions("pip") == ["1"]
    grove.build(deps=HIGHEST)
    assert grove.versions("pip") == ["2"]


def test_where_no_tool_fits_the_lowest_versions_they_give_way(grove, wheels):
    for version in "01":
        (wheels / f"tool-{version}-py3-none-any.whl").unlink()
    grove.project('requires-python = ">=3.9"\ndependencies = ["web>=1"]\n[dependency-groups]\ntest = ["tool"]')
    grove.build(deps=LOWEST, groups=("test",))
    assert grove.versions("web", "tool") == ["2", "2"]


def test_a_sets_requirements_change_the_lock_no_more_than_they_must(grove, wheels):
    grove.project('requires-python = ">=3.9"\ndependencies = ["web", "tool<2"]')
    lock(grove)
    old = DependencySet("old", requirements=("web<3",))
    record = grove.build(deps=old)
    assert grove.versions("web", "tool") == ["2", "1"]
    assert "pip" in grove.distributions()
    assert check(grove.tree, grove.plan(deps=old), record) is None
    assert check(grove.tree, grove.plan(), record) is not None
    assert record.deps == "old"


def test_a_requirements_file_of_a_set_counts_for_its_environment(grove, wheels):
    grove.project('requires-python = ">=3.9"\ndependencies = ["web"]')
    (grove.tree / "old").mkdir()
    (grove.tree / "old/pins.txt").write_text("web==1\n")
    pins = DependencySet("pins", file="old/pins.txt")
    record = grove.build(deps=pins)
    assert grove.versions("web") == ["1"]
    (grove.tree / "old/pins.txt").write_text("web==2\n")
    assert check(grove.tree, grove.plan(deps=pins), record) is not None


def test_a_set_that_cannot_be_had_says_uvs_reason(grove, wheels):
    grove.project('requires-python = ">=3.9"\ndependencies = ["web>=2"]')
    with pytest.raises(PreconditionError, match="web<2") as caught:
        grove.build(deps=DependencySet("old", requirements=("web<2",)))
    assert caught.value.code == "environment-failed"


CONTENT_HASH = "ba541d7786b34b3066a020aa9e3a3a4b1ec8dccab63860b570911cc8404ed51a"  # as Poetry computes it
POETRY_LOCK = """
[[package]]
name = "iniconfig"
version = "2.0.0"
description = ""
optional = false
python-versions = ">=3.7"
groups = ["dev"]
files = []

[[package]]
name = "six"
version = "1.16.0"
description = ""
optional = false
python-versions = ">=2.7"
groups = ["main"]
files = []

[metadata]
lock-version = "2.1"
python-versions = ">=3.9"
content-hash = "CONTENT-HASH"
"""
PDM_LOCK = """
[metadata]
groups = ["default", "test"]
strategy = ["inherit_metadata"]
lock_version = "4.5.0"
content_hash = "sha256:0"
targets = [{ requires_python = ">=3.9" }]

[[package]]
name = "iniconfig"
version = "2.0.0"
summary = ""
groups = ["test"]
files = []

[[package]]
name = "six"
version = "1.16.0"
summary = ""
groups = ["default"]
files = []
"""
PIPFILE_LOCK = {
    "_meta": {"hash": {"sha256": ""}, "pipfile-spec": 6, "requires": {}, "sources": [
        {"name": "pypi", "url": "https://pypi.org/simple", "verify_ssl": True},
    ]},
    "default": {"six": {"version": "==1.16.0", "index": "pypi"}},
    "develop": {"iniconfig": {"version": "==2.0.0", "index": "pypi"}},
}  # fmt: skip


def poetry_project(grove: Grove, content_hash: str = CONTENT_HASH) -> None:
    head = "[tool.poetry]\nname = 'shop'\nversion = '1'\npackage-mode = false\n[tool.poetry.dependencies]\n"
    head += "python = '>=3.9'\nsix = '*'\n[tool.poetry.group.dev.dependencies]\niniconfig = '*'\n"
    grove.write(pyproject_toml=head)
    (grove.tree / "poetry.lock").write_text(POETRY_LOCK.replace("CONTENT-HASH", content_hash))


def pdm_project(grove: Grove) -> None:
    grove.project(
        'requires-python = ">=3.9"\ndependencies = ["six"]\n[tool.pdm.dev-dependencies]\ntest = ["iniconfig"]'
    )
    (grove.tree / "pdm.lock").write_text(PDM_LOCK)


def pipenv_project(grove: Grove) -> None:
    (grove.tree / "Pipfile").write_text("[packages]\nsix = '*'\n[dev-packages]\niniconfig = '*'\n")
    (grove.tree / "Pipfile.lock").write_text(json.dumps(PIPFILE_LOCK))


@pytest.mark.slow
@pytest.mark.parametrize("project", [poetry_project, pdm_project, pipenv_project])
def test_the_lock_of_another_tool_is_exported_by_it_and_installed(grove, project):
    """The tool itself is fetched from the package index once; afterwards uv's cache is enough."""
    project(grove)
    before = {path.name for path in grove.tree.iterdir()}
    grove.build()
    assert grove.versions("six", "iniconfig") == ["1.16.0", "2.0.0"]
    assert {path.name for path in grove.tree.iterdir()} == before | {".venv"}
    grove.build(offline=True)
    assert grove.versions("six", "iniconfig") == ["1.16.0", "2.0.0"]


@pytest.mark.slow
def test_a_lock_that_its_tool_refuses_says_so_and_how_it_is_renewed(grove):
    poetry_project(grove, "of another file")
    with pytest.raises(PreconditionError, match=r"poetry could not export poetry\.lock") as raised:
        grove.build()
    assert "pyproject.toml changed significantly" in raised.value.message
    assert raised.value.hint == "poetry lock, and commit poetry.lock"


def test_a_pylock_is_installed_with_its_test_group_and_the_project(grove, wheels):
    make_wheel(wheels, "wheel", "1")
    wheel = (wheels / "web-1-py3-none-any.whl").read_bytes()
    packages = "".join(
        f'[[packages]]\nname = "{name}"\nversion = "1"\n{marker}wheels = [{{ path = "{name}-1-py3-none-any.whl", '
        f'hashes = {{ sha256 = "{digest}" }} }}]\n'
        for name, marker, digest in (
            ("web", "", hashlib.sha256(wheel).hexdigest()),
            ("tool", "marker = \"'test' in dependency_groups\"\n",
             hashlib.sha256((wheels / "tool-1-py3-none-any.whl").read_bytes()).hexdigest()),
        )
    )  # fmt: skip
    for name in ("web", "tool"):
        shutil.copy(wheels / f"{name}-1-py3-none-any.whl", grove.tree)
    head = 'lock-version = "1.0"\ncreated-by = "x"\ndependency-groups = ["test"]\n'
    (grove.tree / "pylock.toml").write_text(head + packages)
    grove.project('requires-python = ">=3.9"\ndependencies = ["web"]')
    record = grove.build()
    assert grove.versions("web", "tool", "shop") == ["1", "1", "1"]
    assert record.editable


def test_a_local_distribution_that_is_copied_makes_it_not_editable(grove):
    grove.project('requires-python = ">=3.9"\ndependencies = ["lib"]\n[tool.uv.sources]\nlib = { path = "lib" }')
    grove.write(lib__pyproject_toml=f'[project]\nname = "lib"\nversion = "1"\n{UV_BUILD}')
    (grove.tree / "lib/src/lib").mkdir(parents=True)
    (grove.tree / "lib/src/lib/__init__.py").touch()
    lock(grove)
    record = grove.build()
    assert (record.distributions, record.editable) == (("lib", "shop"), False)
    reason = check(grove.tree, grove.plan(tree_hash="t2"), record)
    assert reason == "the project in it was built from another tree"


@pytest.mark.slow
@pytest.mark.parametrize("offline", [False, True])
def test_what_is_built_into_the_tree_is_built_again_for_each_environment(grove, offline):
    grove.project('requires-python = ">=3.9"', SETUPTOOLS)
    (grove.tree / "src/shop").rename(grove.tree / "shop")  # uv's cache looks at the time of a "src"
    (grove.tree / "src").rmdir()
    (grove.tree / "setup.py").write_text(BUILDING_SETUP)
    (grove.tree / "value.txt").write_text("1")
    lock(grove)
    record = grove.build()
    assert (record.editable, record.built) == (False, ("shop/_built.py",))
    assert check(grove.tree, grove.plan(), record) is None
    (grove.tree / "shop/_built.py").unlink()
    (grove.tree / "value.txt").write_text("2")
    assert check(grove.tree, grove.plan(), record) == "files that were built in the tree are missing"
    grove.build(offline=offline)
    assert grove.run("import shop._built; print(shop._built.VALUE)") == "2"


def test_a_project_with_new_packages_is_installed_again(grove):
    grove.project("")
    before = grove.plan().fingerprint
    (grove.tree / "src/shop/inner").mkdir()
    grove.write(tests__test_one_py="", src__shop__more_py="")
    assert grove.plan().fingerprint == before
    (grove.tree / "src/second").mkdir()
    (grove.tree / "src/second/__init__.py").touch()
    assert grove.plan().fingerprint != before


class TestCheck:
    @pytest.fixture
    def made(self, grove):
        grove.record = grove.build()
        return grove

    def reason(self, made, **request) -> str | None:
        return check(made.tree, made.plan(**request), made.record)

    def test_a_record_survives_json(self, made):
        data = json.loads(json.dumps(made.record.to_json()))
        assert EnvironmentRecord.from_json(data) == made.record
        assert EnvironmentRecord.from_json({**data, "later": 1}) is None
        assert EnvironmentRecord.from_json(None) is None

    def test_running_code_changes_nothing(self, made):
        assert made.run("import pip, pip._vendor.rich; print('ran')") == "ran"
        assert list(made.tree.glob(".venv/lib/*/site-packages/pip/__pycache__/*.pyc"))
        assert self.reason(made) is None

    def test_a_missing_one(self, made):
        shutil.rmtree(made.tree / ".venv")
        assert self.reason(made) == "it is missing"

    def test_a_moved_or_copied_tree(self, made):
        moved = made.tree.with_name("moved")
        shutil.copytree(made.tree, moved, symlinks=True)
        assert "it was created at" in check(moved, made.plan(), made.record)

    def test_an_interpreter_that_is_gone(self, made):
        python_of(made.tree).unlink()
        python_of(made.tree).symlink_to("/nowhere/python3")
        assert "is missing" in self.reason(made)

    def test_another_environment_over_it(self, made, other_python):
        argv = [other_python.path, "-m", "venv", "--without-pip", made.tree / ".venv"]
        subprocess.run(argv, check=True)
        assert self.reason(made) == "it was replaced by another one"

    def test_the_same_interpreter_over_it_with_other_settings(self, made):
        argv = [made.python.path, "-m", "venv", "--without-pip", "--system-site-packages", made.tree / ".venv"]
        subprocess.run(argv, check=True)
        assert self.reason(made) == "it was replaced by another one"

    def test_other_dependencies_and_another_interpreter(self, made, other_python):
        assert "have changed" in self.reason(made, python=other_python)
        (made.tree / "requirements.txt").write_text("six\n")
        assert "have changed" in self.reason(made)

    @pytest.mark.parametrize("command", ["install", "uninstall", "reinstall"])
    def test_packages_changed_by_pip(self, made, command):
        packages = ["six==1.16.0"]
        (made.tree / "requirements.txt").write_text(packages[0])
        made.record = made.build()
        assert self.reason(made) is None
        words = {"install": ["install", "iniconfig"], "uninstall": ["uninstall", *packages],
                 "reinstall": ["install", "--reinstall", *packages]}[command]  # fmt: skip
        argv = [find_uv(), "pip", words[0], "-q", "--python", python_of(made.tree), *words[1:]]
        subprocess.run(argv, check=True)
        assert self.reason(made) == "its packages were changed"

    def test_a_path_file_of_somebody_else(self, made):
        site = next(made.tree.glob(".venv/lib/*/site-packages"))
        (site / "other.pth").write_text("/somewhere/else\n")
        assert self.reason(made) == "its packages were changed"


def test_an_environment_of_another_version_is_replaced(grove, other_python):
    grove.build(python=other_python)
    record = grove.build()
    assert record.python == grove.python.version
    assert len(list(grove.tree.glob(".venv/lib/python*"))) == 1


def test_a_linked_or_broken_environment_is_replaced_and_its_target_kept(grove, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "pyvenv.cfg").write_text("home = /x\n")
    (grove.tree / ".venv").symlink_to(theirs)
    grove.build()
    assert (theirs / "pyvenv.cfg").exists()
    (grove.tree / ".venv/pyvenv.cfg").unlink()
    assert check(grove.tree, grove.plan(), grove.build()) is None


def test_settings_of_the_shell_do_not_lead_astray(grove, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    for name in ("UV_PROJECT_ENVIRONMENT", "VIRTUAL_ENV", "UV_WORKING_DIRECTORY", "PYTHONHOME", "UV_PROJECT"):
        monkeypatch.setenv(name, str(elsewhere))
    monkeypatch.setenv("UV_PYTHON", "3.9")
    monkeypatch.setenv("UV_NO_EDITABLE", "1")
    monkeypatch.setenv("UV_NO_DEFAULT_GROUPS", "1")
    grove.project('requires-python = ">=3.9"\n[dependency-groups]\ndev = ["six"]')
    (grove.tree / "uv.lock").write_text(
        'version = 1\nrequires-python = ">=3.9"\n[[package]]\nname = "shop"\nversion = "1"\n'
        'source = { editable = "." }\n[package.dev-dependencies]\ndev = [{ name = "six" }]\n[[package]]\n'
        'name = "six"\nversion = "1.17.0"\nsource = { registry = "https://pypi.org/simple" }\n'
        "wheels = [{ url = \"https://files.pythonhosted.org/packages/b7/ce/149a00dd41f10bc29e5921b496af8b574d8413"
        "afcd5e30dfa0ed46c2cc5e/six-1.17.0-py2.py3-none-any.whl\", hash = \"sha256:"
        "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\" }]\n"
    )  # fmt: skip
    record = grove.build()
    assert not elsewhere.exists()
    assert record.editable
    assert "six" in grove.distributions()


def test_activation_puts_the_environment_first(grove):
    env = activate({"PATH": "/usr/bin", "PYTHONHOME": "/x", "A": "1"}, grove.tree)
    assert env == {"A": "1", "VIRTUAL_ENV": f"{grove.tree}/.venv", "PATH": f"{grove.tree}/.venv/bin:/usr/bin"}


def test_many_are_made_at_once(tmp_path, python, tool):
    groves = []
    for number in range(6):
        (tmp_path / str(number)).mkdir()
        groves.append(Grove(tmp_path / str(number), python, tool))
        (groves[-1].tree / "requirements.txt").write_text("six\n")
    with ThreadPoolExecutor(6) as threads:
        records = list(threads.map(Grove.build, groves))
    for grove, record in zip(groves, records, strict=True):
        assert check(grove.tree, grove.plan(), record) is None


class TestFailures:
    def test_requirements_that_contradict_one_another(self, grove):
        (grove.tree / "requirements.txt").write_text("six==1.16.0\nsix==1.17.0\n")
        with pytest.raises(PreconditionError, match="No solution found") as raised:
            grove.build()
        assert raised.value.code == "environment-failed"

    def test_a_build_that_fails_shows_what_it_said(self, grove):
        (grove.tree / "setup.py").write_text("import sys; sys.exit('libfoo.h is missing')")
        with pytest.raises(PreconditionError, match=r"libfoo\.h is missing") as raised:
            grove.build()
        again = subprocess.run(
            raised.value.hint, shell=True, cwd=grove.tree, capture_output=True, text=True, check=False
        )
        assert "libfoo.h is missing" in again.stderr

    def test_a_flat_layout_that_setuptools_refuses(self, grove):
        grove.write(pyproject_toml=f'[project]\nname = "two"\nversion = "1"\n{SETUPTOOLS}')
        for name in ("one", "two"):
            (grove.tree / name).mkdir()
            (grove.tree / name / "__init__.py").touch()
        with pytest.raises(PreconditionError, match="Multiple top-level packages") as raised:
            grove.build()
        assert "package = false" in raised.value.hint

    def test_an_interpreter_that_the_project_excludes(self, grove):
        grove.project('requires-python = ">=3.98"')
        with pytest.raises(PreconditionError, match=r"3\.98") as raised:
            grove.build()
        assert "--python" in raised.value.hint

    def test_no_network(self, grove, monkeypatch):
        monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        monkeypatch.setenv("UV_CACHE_DIR", str(grove.tree.parent / "cold"))
        with pytest.raises(UnavailableError, match="Connection refused") as raised:
            grove.build()
        assert "network" in raised.value.hint

    def test_offline_with_a_cold_cache(self, grove, monkeypatch):
        monkeypatch.setenv("UV_CACHE_DIR", str(grove.tree.parent / "cold"))
        with pytest.raises(UnavailableError) as raised:
            grove.build(offline=True)
        assert "without --offline" in raised.value.hint

    def test_a_full_disk(self, grove):
        """uv's own words, on a file system of 3 MB."""
        words = (
            "error: Failed to install seed packages into virtual environment\n"
            "  cause: failed to copy file from /c/pip/ranges.py to /t/pip/.tmpTViOqN: No space left on device"
            " (os error 28)\n"
        )

        def full(argv, **_options):
            return process.Completed(tuple(argv), 2, words, "")

        grove.tool = full
        with pytest.raises(ExhaustedError, match="No space left on device") as raised:
            grove.build()
        assert raised.value.code == "disk-full"

    def test_no_uv(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "uv", None)
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(PreconditionError, match="uv not found"):
            find_uv()

    def test_the_version_of_uv(self):
        assert environment.uv_version(find_uv(), process.run)[0].isdigit()
        with pytest.raises(UnavailableError):
            environment.uv_version(Path("/bin/false"), process.run)


def source(folder: Path, project: str, version: str) -> Path:
    """A source distribution, unpacked and committed to a repository of its own."""
    argv = [find_uv(), "tool", "run", "-q", "pip", "download", "-q", "--no-binary", project, "--no-deps",
            f"{project}=={version}", "-d", folder]  # fmt: skip
    subprocess.run(argv, check=True, cwd=folder)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    tree = next(path for path in folder.iterdir() if path.is_dir())
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "-Af"], [*who, "commit", "-qm", "as published"]):
        subprocess.run(["git", *words], cwd=tree, check=True)
    return tree


@pytest.mark.slow
def test_a_project_with_a_source_folder_and_a_lock(tmp_path, python, tool):
    grove = Grove(source(tmp_path, "attrs", "26.1.0"), python, tool)
    record = grove.build(pytest=True)
    assert (record.distributions, record.editable) == (("attrs",), True)
    assert grove.run("import attr; print(attr.__file__)") == f"{grove.tree}/src/attr/__init__.py"
    argv = [python_of(grove.tree), "-m", "pytest", "-q", "tests/test_slots.py"]
    subprocess.run(argv, cwd=grove.tree, env=activate(os.environ, grove.tree), check=True)
    assert check(grove.tree, grove.plan(pytest=True), record) is None


@pytest.mark.slow
def test_a_compiled_project(tmp_path, python, tool):
    grove = Grove(source(tmp_path, "markupsafe", "3.0.4"), python, tool)
    record = grove.build(pytest=True)
    assert not record.editable
    assert "_speedups" in record.built[0]
    subprocess.run(["git", "clean", "-ffdxq", "-e", "/.venv"], cwd=grove.tree, check=True)
    assert check(grove.tree, grove.plan(pytest=True), record) == "files that were built in the tree are missing"
    grove.build(pytest=True)
    assert grove.run("import markupsafe._speedups as s; print(s.__file__)").startswith(str(grove.tree))
