"""Without a lock: which of a project's declarations is installed, and what was passed over for it."""

from __future__ import annotations

import pytest

from testgrove.core.environments.decide import decide
from testgrove.core.environments.install_commands import install_arguments
from testgrove.core.environments.missing import declared_elsewhere
from testgrove.core.environments.plan import EnvironmentRequest

BUILDS = '[build-system]\nrequires = ["hatchling"]\n'
PROJECT = f'{BUILDS}[project]\nname = "shop"\n'
GROUPS = PROJECT + "[dependency-groups]\n"
EXTRAS = PROJECT + "[project.optional-dependencies]\n"
CI = ".github/workflows/ci.yml"


def choice(files: dict[str, str], **request: object):
    return decide({name: text.encode() for name, text in files.items()}, EnvironmentRequest(**request))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        # groups
        ({"pyproject.toml": GROUPS + "dev = ['pytest']\ntests = ['pytest']"}, "-e . --group tests"),
        ({"pyproject.toml": GROUPS + "dev = ['pytest']\ntest = ['nose']"}, "-e . --group dev"),
        ({"pyproject.toml": GROUPS + "dev = ['pytest']", "requirements-test.txt": "pytest"}, "-e . --group dev"),
        # Poetry, PDM, Pipenv
        ({"pyproject.toml": "[tool.poetry]\nname = 'x'\n[tool.poetry.dev-dependencies]\npytest = '*'\n" + BUILDS},
         "-e . pytest"),
        ({"pyproject.toml": "[tool.poetry]\npackage-mode = false\ndependencies.six = '^1'\n"
          "group.test.dependencies.pytest = '^7.4'"},
         "six>=1,<2 pytest>=7.4,<8"),
        ({"pyproject.toml": PROJECT + "[tool.pdm.dev-dependencies]\nlint = ['ruff']\n"
          "test = ['pytest', '-e file:///${PROJECT_ROOT}/sub#egg=sub']"},
         "-e . pytest ./sub"),
        ({"pyproject.toml": PROJECT + "[tool.pdm]\ndistribution = false\n"
          "[tool.pdm.dev-dependencies]\ntest = ['pytest']"},
         "-r pyproject.toml pytest"),
        ({"Pipfile": "[packages]\nsix = '*'\n[dev-packages]\npytest = '==8.*'"}, "six pytest==8.*"),
        # Hatch
        ({"pyproject.toml": PROJECT + "[tool.hatch.envs.default]\ndependencies = ['pytest']"}, "-e . pytest"),
        ({"pyproject.toml": PROJECT + "[tool.hatch.envs.default]\ndependencies = ['pytest']\n"
          "[tool.hatch.envs.test]\nextra-dependencies = ['six']"}, "-e . pytest six"),
        ({"pyproject.toml": PROJECT + "[tool.hatch.envs.hatch-test]\nextra-dependencies = ['six']"}, "-e . six pytest"),
        ({"pyproject.toml": EXTRAS + "fast = ['ujson']\n[tool.hatch.envs.test]\n"
          "features = ['fast']\ndependencies = ['pytest']"},
         "-e .[fast] pytest"),
        ({"pyproject.toml": PROJECT, "hatch.toml": "[envs.test]\ndependencies = ['pytest']"}, "-e . pytest"),
        # extras come before tox, tox before nox, nox before requirement files
        ({"pyproject.toml": EXTRAS + "testing = ['pytest']", "tox.ini": "[testenv]\ndeps = pytest"}, "-e .[testing]"),
        ({"setup.py": "from setuptools import setup\nsetup(name='x')",
          "tox.ini": "[testenv]\ndeps =\n  pytest>=7\n  six"},
         "-e . pytest>=7 six"),
        ({"pyproject.toml": PROJECT + "[tool.tox]\nlegacy_tox_ini = '''\n[testenv]\ndeps = pytest\n'''"},
         "-e . pytest"),
        ({"pyproject.toml": PROJECT + "[tool.tox.env_run_base]\ndeps = ['pytest', 'six']"}, "-e . pytest six"),
        ({"pyproject.toml": EXTRAS + "fast = ['ujson']\n[tool.tox.env_run_base]\n"
          "extras = ['fast']\ndeps = ['pytest']"},
         "-e .[fast] pytest"),
        ({"pyproject.toml": PROJECT, "noxfile.py": "import nox\n@nox.session\ndef tests(session):\n"
          "    session.install('-e', '.')\n    session.install('pytest', 'six')\n", "requirements-dev.txt": "pytest"},
         "-e . pytest six"),
        # requirement files: one, with what it needs at run time
        ({"requirements/tests.txt": "pytest", "requirements/dev.txt": "-r tests.txt\nruff"},
         "-r requirements/tests.txt"),
        ({"requirements/test.txt": "six", "requirements/dev.txt": "-r more.txt", "requirements/more.txt": "pytest"},
         "-r requirements/dev.txt"),
        ({"requirements/base.txt": "six", "requirements/local.txt": "-r base.txt\npytest",
          "requirements.txt": "-r requirements/base.txt"},
         "-r requirements/local.txt"),
        ({"requirements/base.txt": "six", "requirements/local.txt": "pytest"},
         "-r requirements/base.txt -r requirements/local.txt"),
        ({"requirements.txt": "six==1.16.0", "requirements-dev.txt": "six==1.17.0\npytest"}, "-r requirements-dev.txt"),
        ({"requirements.txt": "six", "test_requirements.txt": "pytest"},
         "-r requirements.txt -r test_requirements.txt"),
        ({"tests/requirements.txt": "pytest"}, "-r tests/requirements.txt"),
        ({"requirements-dev.in": "pytest", "requirements-dev.txt": "pytest==8.0"}, "-r requirements-dev.txt"),
        ({"requirements-dev.in": "pytest"}, "-r requirements-dev.in"),
        ({"requirements.txt": "pytest\nsix"}, "-r requirements.txt"),
        ({"requirements/docs.txt": "sphinx", "requirements.txt": "six"}, "-r requirements.txt"),
        ({"pyproject.toml": EXTRAS + "cli = ['click']", "requirements.txt": "-e .[cli]\npytest"},
         "-r requirements.txt -e ."),
        ({"pyproject.toml": EXTRAS + "x = ['pytest']", "requirements.txt": "-e .[x]", "requirements-dev.txt": "six"},
         "-r requirements.txt -e .[x]"),
    ],
)  # fmt: skip
def test_what_is_installed(files, wanted):
    found = " ".join(install_arguments(choice(files)))
    assert found.partition(" --reinstall")[0] == f"pip install {wanted}"


@pytest.mark.parametrize(
    ("files", "source"),
    [
        ({"pyproject.toml": GROUPS + "test = ['pytest']", "requirements-dev.txt": "pytest",
          CI: "- run: pip install -r requirements-dev.txt"}, "requirements-dev.txt, the project"),
        ({"pyproject.toml": EXTRAS + "test = ['pytest']\nall = ['pytest', 'six']", CI: 'run: pip install -e ".[all]"'},
         "extra all, the project"),
        ({"pyproject.toml": GROUPS + "test = ['pytest']\nci = ['pytest']", CI: "run: |\n  pip install . --group ci"},
         "group ci, the project"),
        ({"pyproject.toml": EXTRAS + "test = ['pytest']", "tox.ini": "[testenv]\ndeps = pytest", CI: "run: tox -e py"},
         "tox.ini [testenv], the project"),
        ({"pyproject.toml": EXTRAS + "test = ['pytest']\ndocs = ['sphinx']", CI: "run: pip install .[docs]"},
         "extra test, the project"),  # without pytest, it is not for the tests
        ({"ci/pins.txt": "pytest==8.1", "requirements-dev.txt": "pytest", CI: "run: pip install -rci/pins.txt"},
         "ci/pins.txt"),
        ({"pyproject.toml": EXTRAS + "redis = ['redis']\nmail = ['six']\n[dependency-groups]\ntest = ['pytest']",
          CI: "run: pip install ruff\nrun: pip install -e '.[redis,absent]' --group test\nrun: pip install .[mail]"},
         "group test with extras redis, the project"),
        ({"pyproject.toml": EXTRAS + "redis = ['redis']", "requirements-dev.txt": "pytest",
          CI: "run: pip install -r requirements-dev.txt .[redis]"},
         "requirements-dev.txt with extras redis, the project"),
        ({"pyproject.toml": GROUPS + "tests = ['pytest']\ndev = ['pytest', 'rich']",
          CI: "jobs:\n  unit:\n    runs-on: ubuntu-latest\n    steps:\n      - run: tox -e py\n"
              "  install-dev:\n    steps:\n      # no test\n      - run: pip install . --group dev\n"},
         "group tests, the project"),  # the job that installs dev runs no tests
    ],
)  # fmt: skip
def test_what_ci_installs_breaks_the_tie(files, source):
    assert choice(files).source == source


def test_what_was_passed_over_is_told_with_the_reason():
    files = {
        "pyproject.toml": EXTRAS + "test = ['pytest']\ndev = ['ruff']",
        "requirements-dev.txt": "pytest",
        "environment.yml": "name: x",
    }
    assert choice(files).line == (
        "extra test, the project · passed over: extra dev (does not contain pytest); requirements-dev.txt (extra test "
        "comes first); environment.yml (conda is not supported: list its packages in a requirements file or a "
        "dependency group)"
    )
    in_ci = choice({**files, CI: "run: pip install -r requirements-dev.txt"})
    assert in_ci.passed_over[0].reason == "CI installs requirements-dev.txt"
    pinned = choice({"requirements.txt": "six==1.16.0", "requirements-dev.txt": "six==1.17.0\npytest"})
    assert pinned.passed_over[-1].reason == "it pins six==1.16.0, requirements-dev.txt pins 1.17.0"


def test_a_project_with_dependencies_of_its_own_leaves_out_the_file_of_the_same():
    files = {"pyproject.toml": PROJECT + "dependencies = ['six']\n[dependency-groups]\ntest = ['pytest']"}
    passed = choice({**files, "requirements.txt": "six==1.16.0"})
    assert (passed.source, passed.requirements) == ("group test, the project", ())
    in_ci = choice({**files, "requirements.txt": "six==1.16.0", CI: "run: pip install -r requirements.txt"})
    assert in_ci.requirements == ("requirements.txt",)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("pip install .", "-e ."),
        ("pip install --upgrade -e .[fast]", "-e ."),
        ("pip install coverage", "-r requirements.txt -e ."),
        ("pip install . -r requirements.txt", "-r requirements.txt -e ."),
    ],
)
def test_without_tests_of_its_own_a_project_that_ci_installs_needs_no_file_of_the_same(line, wanted):
    files = {"setup.py": "setup(name='shop', install_requires=['redis>=4'])", "requirements.txt": "redis<4"}
    contents = choice({**files, CI: f"jobs:\n  test:\n    steps:\n    - run: {line}\n    - run: python -m unittest\n"})
    words = " ".join(install_arguments(contents)).removeprefix("pip install ").split(" --reinstall")[0]
    assert words == wanted
    if contents.passed_over:
        assert contents.passed_over[0].reason == "CI installs the project, which declares its own dependencies"


def test_a_conda_environment_alone_is_said_to_be_unsupported():
    contents = choice({"environment.yml": "dependencies: [pytest]"})
    assert (contents.kind, contents.source) == ("bare", "pytest alone")
    assert contents.notes[0].startswith("environment.yml is not installed: conda is not supported")


def test_settings_choose_among_the_groups_of_poetry_and_pdm_too():
    poetry = {"pyproject.toml": BUILDS + "[tool.poetry]\nname = 'x'\ngroup.test.dependencies.pytest = '*'\n"
              "group.docs.dependencies.sphinx = '~7.2'\n"}  # fmt: skip
    assert choice(poetry, groups=("docs",)).more == ("sphinx>=7.2,<7.3",)
    assert choice(poetry, groups=("docs", "test")).more == ("sphinx>=7.2,<7.3", "pytest")
    assert choice(poetry, groups=()).more == ()


def test_settings_that_bring_pytest_leave_nothing_to_find():
    files = {"pyproject.toml": EXTRAS + "qa = ['pytest']\ntest = ['pytest']", "requirements-test.txt": "pytest"}
    contents = choice(files, extras=("qa",))
    assert (contents.extras, contents.requirements) == (("qa",), ())


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("yaml", "requirements-dev.txt declares it and was passed over (extra test comes first)"),
        ("responses", "extra dev declares it and was passed over (does not contain pytest)"),
        ("nowhere", ""),
    ],
)
def test_a_missing_module_is_found_in_what_was_passed_over(module, told):
    files = {"pyproject.toml": EXTRAS + "test = ['pytest']\ndev = ['responses>=1']",
             "requirements-dev.txt": "pytest\nPyYAML>=6\n"}  # fmt: skip
    contents = choice(files)
    found = {name: text.encode() for name, text in files.items()}
    assert str(declared_elsewhere(module, found, contents) or "") == told
