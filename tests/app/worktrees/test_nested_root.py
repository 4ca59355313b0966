"""`root = "worktrees"`: the worktrees lie inside the repository, and the tools that are started there, or above."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from grove import Grove
from testgrove.system.environment.build import find_uv

ROOT = 'root = "worktrees"\n'
PYTEST = '[project]\nname = "shop"\nversion = "1"\n[tool.pytest.ini_options]\npythonpath = ["src"]\n'
FILES = {
    "README.md": "x\n",
    "src/code_of_this.py": "",
    "tests/test_code.py": "import os\n\ndef test_it():\n    assert os.environ.get('NOT_HERE') is None\n",
}


@pytest.fixture
def project(grove) -> Grove:
    """A project without any configuration of pytest."""
    return grove(files=FILES, config=ROOT)


def root(project: Grove) -> Path:
    return project.repo / "worktrees"


def outcome(project: Grove, where: Path, *words: str) -> str:
    """What a pytest by hand says in its last line."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *words],
        cwd=where, env=project.env, text=True, capture_output=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_git_sees_neither_the_worktrees_nor_the_guards(project):
    project.create("test-unit", "a")
    assert project.git("status", "--porcelain", "--untracked-files=all") == ""
    assert sorted(entry.name for entry in root(project).iterdir()) == [".gitignore", "conftest.py", "test-unit-a"]


@pytest.mark.slow
def test_the_folder_goes_with_the_last_worktree_and_what_pytest_left_in_it(project):
    project.create("test-unit", "a")
    project.create("test-unit", "b")
    assert "1 passed" in outcome(project, root(project) / "test-unit-a")
    (root(project) / "__pycache__").mkdir(exist_ok=True)
    project.run("remove", "a")
    assert (root(project) / "conftest.py").is_file()
    project.run("remove", "b")
    assert not root(project).exists()
    assert project.git("status", "--porcelain") == ""


def test_a_file_of_the_users_in_the_folder_stays(project):
    project.create("test-unit", "a")
    (root(project) / "conftest.py").write_text("# mine\n")
    project.create("test-unit", "b")
    project.run("remove", "a", "b")
    assert (root(project) / "conftest.py").read_text() == "# mine\n"


@pytest.mark.slow
def test_a_pytest_at_the_top_passes_the_worktrees_by_and_one_in_a_worktree_does_not(project):
    project.create("test-unit", "a")
    tree = root(project) / "test-unit-a"
    assert "1 passed" in outcome(project, project.repo)
    assert "1 passed" in outcome(project, tree)
    assert "1 passed" in outcome(project, tree / "tests")
    assert "1 passed" in outcome(project, project.repo, "worktrees/test-unit-a/tests/test_code.py::test_it")
    (root(project) / "conftest.py").unlink()
    assert "2 passed" in outcome(project, project.repo, "--import-mode=importlib"), "without the guard it would not"


@pytest.mark.slow
def test_a_worktree_without_a_pytest_configuration_does_not_take_that_of_the_top(project):
    """Its `pythonpath` would lead to the code of the main checkout."""
    project.git("branch", "old")
    project.write({"pyproject.toml": PYTEST}, commit="Configure pytest")
    project.create("test-unit", "old", branch="old")
    tree = root(project) / "test-unit-old"
    (tree / "tests/test_mine.py").write_text("import code_of_this\n")
    assert "No module named 'code_of_this'" in outcome(project, tree)
    (root(project) / "pytest.ini").unlink()
    assert "1 passed" in outcome(project, tree), "without the guard it would"


@pytest.mark.slow
def test_runs_work_at_a_ref_without_a_pytest_configuration(project):
    project.git("branch", "old")
    conftest = "def pytest_configure(config):\n    raise RuntimeError('the conftest of the top')\n"
    project.write({"pyproject.toml": PYTEST, "conftest.py": conftest}, commit="Configure pytest")
    document = project.json("test", "--ref", "old")
    assert document["status"] == "passed"
    assert document["cells"][0]["attempts"][0]["tests"][0]["nodeid"] == "tests/test_code.py::test_it"
    project.auditor().assert_no_leftovers()


@pytest.mark.slow
def test_eight_creations_at_once_and_removals_beside_them(project):
    """The first needs the folder, the last takes it away: nobody may find it without its guards."""
    for _ in range(3):
        started = [
            project.start("create", "--purpose=test-unit", f"--identifier={name}", "--branch=main", "--no-env")
            for name in "abcdefgh"
        ]
        assert [each.communicate() and each.returncode for each in started] == [0] * 8
        assert project.git("status", "--porcelain") == ""
        removals = [project.start("remove", name) for name in "abcdefgh"]
        extra = project.create("test-unit", "late", check=False)
        assert extra.returncode == 0
        assert [each.communicate() and each.returncode for each in removals] == [0] * 8
        assert {entry.name for entry in root(project).iterdir()} >= {".gitignore", "conftest.py", "test-unit-late"}
        project.run("remove", "late")
        assert not root(project).exists()


# Tools that cannot work, named by a warning


@pytest.mark.slow
def test_create_warns_of_mypy_and_the_fix_works(grove):
    project: Grove = grove(files={"shop/__init__.py": "", "pyproject.toml": "[tool.mypy]\n"}, config=ROOT)

    def mypy() -> int:
        words = [sys.executable, "-m", "mypy", "--cache-dir=/dev/null", "."]
        return subprocess.run(words, cwd=project.repo, env=project.env, capture_output=True, check=False).returncode

    assert mypy() == 0
    done = project.create("test-unit", "a")
    assert 'exclude = ["^worktrees/"]' in done.stderr
    assert mypy() == 2
    project.write({"pyproject.toml": '[tool.mypy]\nexclude = ["^worktrees/"]\n'})
    assert mypy() == 0
    assert "mypy" not in project.create("test-unit", "b").stderr


BUILD = '[project]\nname = "shop"\nversion = "1"\n[build-system]\nrequires = ["{0}"]\nbuild-backend = "{1}"\n'


def build(project: Grove) -> tuple[int, list[str]]:
    """The status of building an sdist at the top, and the names in it that belong to testgrove."""
    out = project.base / "dist"
    words = [find_uv(), "build", "--quiet", "--sdist", "--out-dir", out, "."]
    done = subprocess.run(words, cwd=project.repo, env=project.env, capture_output=True, check=False)
    packed: list[str] = []
    for file in out.glob("*.tar.gz"):
        with tarfile.open(file) as tar:
            packed += tar.getnames()
    return done.returncode, [name for name in packed if "worktree" in name or "test-artifacts" in name]


@pytest.mark.slow
def test_create_warns_of_setuptools_and_the_fix_works(grove):
    text = BUILD.format("setuptools", "setuptools.build_meta")
    project: Grove = grove(files={"shop/__init__.py": "", "pyproject.toml": text}, config=ROOT)
    assert build(project)[0] == 0
    assert "setuptools cannot build here" in project.create("test-unit", "a").stderr
    assert build(project)[0] != 0
    project.write({"pyproject.toml": text + '[tool.setuptools]\npackages = ["shop"]\n'})
    assert build(project)[0] == 0
    assert "setuptools" not in project.create("test-unit", "b").stderr


@pytest.mark.slow
def test_create_warns_of_hatchling_and_the_fix_works(grove):
    text = BUILD.format("hatchling", "hatchling.build")
    project: Grove = grove(files={"shop/__init__.py": "", "pyproject.toml": text}, config=ROOT)
    done = project.create("test-unit", "a")
    assert any(".env.test" in name for name in build(project)[1])
    fix = next(line for line in done.stderr.splitlines() if "fix: printf" in line).split("fix: ")[1]
    subprocess.run(["sh", "-c", fix], cwd=project.repo, check=True)
    assert build(project) == (0, [])
    assert "hatchling" not in project.create("test-unit", "b").stderr


def test_a_root_beside_the_repository_needs_none_of_it(grove):
    project: Grove = grove(files={"pyproject.toml": "[tool.mypy]\n" + BUILD.format("hatchling", "hatchling.build")})
    assert "warning" not in project.create("test-unit", "a").stderr
    assert [entry.name for entry in project.root.iterdir()] == ["test-unit-a"]
