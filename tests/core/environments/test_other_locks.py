"""The locks of Poetry, PDM and Pipenv, pylock.toml, and workspaces of uv: what is chosen, and what is told to whom."""

from __future__ import annotations

import pytest

from testgrove.core.environments.decide import decide
from testgrove.core.environments.dependency_sets import DependencySet
from testgrove.core.environments.install_commands import install_arguments
from testgrove.core.environments.locks import exported, find_lock
from testgrove.core.environments.plan import Contents, EnvironmentRequest
from testgrove.errors import PreconditionError

BUILDS = '[build-system]\nrequires = ["hatchling"]\n'
POETRY = BUILDS + (
    "[tool.poetry]\nname = 'shop'\n[tool.poetry.extras]\nfast = ['ujson']\n"
    "[tool.poetry.group.dev.dependencies]\nruff = '*'\n"
    "[tool.poetry.group.test]\noptional = true\n[tool.poetry.group.test.dependencies]\npytest = '*'\n"
    "[tool.poetry.group.docs]\noptional = true\n[tool.poetry.group.docs.dependencies]\nsphinx = '*'\n"
)
PDM = BUILDS + "[project]\nname = 'shop'\n[tool.pdm.dev-dependencies]\ntest = ['pytest']\n"


def choice(files: dict[str, str], **request: object) -> Contents:
    return decide({name: text.encode() for name, text in files.items()}, EnvironmentRequest(**request))  # type: ignore[arg-type]


def test_the_order_of_locks():
    names = ["Pipfile.lock", "Pipfile", "pdm.lock", "poetry.lock", "pylock.toml", "uv.lock", "pyproject.toml"]
    found = []
    while lock := find_lock(dict.fromkeys(names, b"")):
        found.append(lock)
        names.remove(lock)
    assert found == ["uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", "Pipfile.lock"]
    assert find_lock({"poetry.lock": b"", "Pipfile.lock": b""}) == ""


@pytest.mark.parametrize(
    ("files", "asked", "command"),
    [
        (
            {"pyproject.toml": POETRY, "poetry.lock": ""},
            {},
            "poetry export --without-hashes --all-extras --with=dev --with=test",
        ),
        (
            {"pyproject.toml": POETRY, "poetry.lock": ""},
            {"extras": ("fast",), "groups": ("docs",)},
            "poetry export --without-hashes --extras=fast --with=docs",
        ),
        ({"pyproject.toml": PDM, "pdm.lock": ""}, {}, "pdm export --no-hashes --group=:all"),
        (
            {"pyproject.toml": PDM, "pdm.lock": ""},
            {"extras": (), "groups": ("test",)},
            "pdm export --no-hashes --group=test",
        ),
        ({"Pipfile": "", "Pipfile.lock": "{}"}, {}, "pipenv requirements --dev"),
        ({"Pipfile": "", "Pipfile.lock": "{}"}, {"groups": ()}, "pipenv requirements"),
    ],
)
def test_a_lock_that_uv_does_not_read_is_exported_by_its_own_tool(files, asked, command):
    contents = choice(files, **asked)
    assert contents.kind == "exported"
    assert contents.export is not None
    assert " ".join(contents.export.command) == command


def test_an_exported_lock_and_the_project_are_told_in_one_line():
    files = {"pyproject.toml": POETRY, "poetry.lock": "", "requirements.txt": "x", "requirements-dev.txt": "pytest"}
    contents = choice(files)
    assert contents.line == (
        "poetry.lock, groups dev, test, extras all · passed over: requirements-dev.txt (poetry.lock comes first)"
    )
    assert (contents.project, contents.names) == ("editable", ("shop",))
    local = choice({**files, "poetry.lock": '[package.source]\ntype = "directory"\nurl = "lib"\n'})
    assert local.names is None


def test_what_an_exporter_prints_leads_into_the_tree_and_names_no_public_index():
    output = "INFO: PEP 582 mode\n-i https://pypi.org/simple\n--extra-index-url https://x/simple\n-e file:///tmp/1/lib\nsix==1\n"
    output = 'The "poetry.dev-dependencies" section is deprecated. Use another one.\n' + output
    assert exported(output, "/tmp/1", "/the/tree") == (
        "--extra-index-url https://x/simple\n-e file:///the/tree/lib\nsix==1\n"
    )


def test_pylock_is_installed_by_uv_and_the_project_over_it():
    lock = 'dependency-groups = ["dev", "test"]\nextras = ["fast"]\n'
    contents = choice({"pyproject.toml": BUILDS + "[project]\nname = 'shop'", "pylock.toml": lock})
    assert install_arguments(contents) == ("pip", "install", "-r", "pylock.toml", "--all-extras", "--group", "test")
    assert contents.then is not None
    assert install_arguments(contents.then) == ("pip", "install", "-e", ".", "--reinstall-package", "shop")
    assert contents.line == "pylock.toml, groups test, extras all"


def test_a_workspace_with_members_brings_all_of_them():
    lock = '\nname = "root"\nsource = { editable = "." }\n\n[[package]]\n'
    lock += 'name = "api"\nsource = { editable = "packages/api" }\n'
    root = "[project]\nname = 'root'\n[tool.uv.workspace]\nmembers = ['packages/*']\n"
    files = {"pyproject.toml": root, "uv.lock": lock,
             "packages/api/pyproject.toml": "[project]\nname = 'api'\n"
             "[dependency-groups]\ntest = ['pytest']"}  # fmt: skip
    contents = choice(files)
    assert "sync --frozen --inexact --all-packages --all-extras --group test" in " ".join(install_arguments(contents))
    assert contents.source == "uv.lock, all packages of the workspace, groups test"
    alone = choice({"pyproject.toml": "[project]\nname = 'root'\n", "uv.lock": lock})
    assert "--all-packages" not in install_arguments(alone)


def test_an_extra_that_conflicts_with_a_default_group_is_left_out():
    text = "[project]\nname = 'x'\n[project.optional-dependencies]\ngpu = []\n[dependency-groups]\ndev = ['pytest']\n"
    text += "[tool.uv]\nconflicts = [[{ extra = 'gpu' }, { group = 'dev' }]]\n"
    contents = choice({"pyproject.toml": text, "uv.lock": ""})
    assert contents.without == ("gpu",)
    assert contents.source == "uv.lock, groups dev, extras all but gpu"


def test_dependency_sets_over_a_lock_that_is_exported():
    files = {"pyproject.toml": POETRY, "poetry.lock": ""}
    assert choice(files, deps=DependencySet("locked", locked=True)).kind == "exported"
    over = choice(files, deps=DependencySet("old", requirements=("six<1.17",)))
    assert over.then is not None
    assert "six<1.17" in over.then.more
    lowest = choice(files, deps=DependencySet("lowest", "lowest-direct"))
    assert (lowest.kind, lowest.export) == ("pyproject", None)
    with pytest.raises(PreconditionError, match="needs a lock"):
        choice({"pyproject.toml": POETRY}, deps=DependencySet("locked", locked=True))
