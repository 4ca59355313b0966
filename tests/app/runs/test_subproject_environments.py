"""Each sub-project is tested in an environment of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grove import Grove, said
from testgrove.system.environment.build import find_uv
from testgrove.system.processes import process

pytestmark = pytest.mark.slow

PACKAGE = '[project]\nname = "{0}"\nversion = "1"\nrequires-python = ">=3.9"\n{1}\n[build-system]\n'
PACKAGE += 'requires = ["uv_build>=0.8"]\nbuild-backend = "uv_build"\n'
GROUP = '[dependency-groups]\ndev = ["pytest"]\n'
IGNORED = "__pycache__\n.pytest_cache\n"


def run(project: Grove, *words: str, where: str = "") -> dict[str, tuple[str, str]]:
    """Each cell's status, and what was said about its environment."""
    done = project.run("test", *words, "--json", cwd=project.repo / where, timeout=300, check=False)
    cells = json.loads(done.stdout)["cells"]
    assert done.returncode == 0, said(done)
    told = {
        cell["key"]: [phase["reason"] for phase in cell["phases"] if phase["phase"] == "environment"] for cell in cells
    }
    return {cell["key"]: (cell["status"], told[cell["key"]][-1]) for cell in cells}


def test_a_backend_with_its_own_pyproject(grove):
    project = grove(files={
        ".gitignore": IGNORED,
        "backend/pyproject.toml": PACKAGE.format("shop", 'dependencies = ["six"]\n' + GROUP),
        "backend/src/shop/__init__.py": "import six\n",
        "backend/tests/test_shop.py": "import shop\n\n\ndef test_it(): pass\n",
        "frontend/package.json": "{}",
    })  # fmt: skip
    source = "group dev, the project"
    assert run(project, where="backend") == {"backend": ("passed", source)}
    assert run(project) == {"backend": ("passed", source)}, "and its environment is used again"
    project.create("review", "a", "--ports", cwd=project.repo / "backend")
    ran = project.run("exec", "review-a", "--", "python", "-c", "import shop, os; print(os.path.basename(os.getcwd()))")
    assert ran.stdout == "backend\n"
    assert "directory backend" in project.run("show", "review-a").stdout


def test_a_workspace_whose_root_is_a_project_runs_as_cells_by_package(grove):
    root = PACKAGE.format("shop", GROUP + '[tool.uv.workspace]\nmembers = ["packages/*"]')
    project = grove(files={
        ".gitignore": IGNORED,
        "pyproject.toml": root,
        "src/shop/__init__.py": "",
        "tests/test_it.py": "import cart, shop\n\n\ndef test_it(): pass\n",
        "packages/cart/pyproject.toml": PACKAGE.format("cart", 'dependencies = ["six"]\n' + GROUP),
        "packages/cart/src/cart/__init__.py": "import six\n",
        # The same name as in the root: one pytest for both could not import it.
        "packages/cart/tests/test_it.py": "import cart, importlib.util\n\n\n"
        "def test_alone(): assert not importlib.util.find_spec('shop')\n",
        "packages/till/pyproject.toml": PACKAGE.format("till", ""),
        "packages/till/src/till/__init__.py": "",
        "packages/till/tests/test_it.py": "import cart, shop, till\n\n\ndef test_it(): pass\n",
    })  # fmt: skip
    lock(project.repo)
    project.git("add", "-A")
    project.git("commit", "-qm", "lock")
    whole = "uv.lock, all packages of the workspace, groups dev"
    assert run(project) == {
        "tests": ("passed", whole),
        "packages/cart": ("passed", "uv.lock, groups dev"),
        "packages/till": ("passed", whole),
    }


def lock(tree: Path) -> None:
    process.run([str(find_uv()), "lock", "-q"], cwd=tree)


def test_a_library_beside_the_repository_is_named_and_found_as_a_sibling(grove):
    library = grove(name="shared_lib", files={
        "pyproject.toml": PACKAGE.format("shared-lib", ""), "src/shared_lib/__init__.py": "X = 1\n",
    })  # fmt: skip
    source = '[tool.uv.sources]\nshared-lib = { path = "../../shared_lib", editable = true }\n'
    project = library.sibling("project", files={
        ".gitignore": IGNORED,
        "backend/pyproject.toml": PACKAGE.format("shop", 'dependencies = ["shared-lib"]\n' + GROUP + source),
        "backend/src/shop/__init__.py": "from shared_lib import X\n",
        "backend/tests/test_shop.py": "import shop\n\n\ndef test_it(): assert shop.X == 1\n",
    })  # fmt: skip
    refused = project.run("test", "--json", check=False)
    (cell,) = json.loads(refused.stdout)["cells"]
    assert cell["reason"] == "backend/pyproject.toml depends on ../shared_lib, which is outside the repository"
    assert cell["hint"] == '[tool.testgrove] siblings = ["../shared_lib"]'
    settings = (project.repo / "testgrove.toml").read_text()
    project.write({"testgrove.toml": 'siblings = ["../shared_lib"]\n' + settings})
    assert run(project)["backend"][0] == "passed"
    for each in project.worktrees():
        project.run("remove", each)
    assert not project.root.exists(), "the link goes with the last worktree"
