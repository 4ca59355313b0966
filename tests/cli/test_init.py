"""`testgrove init`: what it writes fits, and nothing that is there is overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grove import Grove, said
from testgrove.core.settings.parse import parse

PROJECT = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["psycopg"]\n'
FILES = {"tests/unit/test_a.py": "def test_it(): pass\n", "tests/integration/test_b.py": "def test_it(): pass\n"}
SCRIPTS = {
    "cleanup_test_worktrees.py", "collect_test_artifacts.py", "release_ports.py", "run_parallel_tests.sh",
    "setup_test_env.py", "testgrove_scripts.py", "worktree_create.py", "worktree_list.py", "worktree_remove.py",
}  # fmt: skip


@pytest.fixture
def project(grove) -> Grove:
    """A project without settings."""
    planted: Grove = grove(files=FILES | {"pyproject.toml": PROJECT})
    (planted.repo / "testgrove.toml").unlink()
    planted.git("commit", "--quiet", "--all", "--message", "No settings")
    return planted


def table(project: Grove):
    path = project.repo / "pyproject.toml"
    return parse(path.read_text(), path, table=True)


def test_a_table_that_fits_is_shown_and_added(project):
    done = project.run("init")
    text = (project.repo / "pyproject.toml").read_text()
    assert text.startswith(PROJECT)
    assert done.stdout in text
    assert done.stderr == "wrote pyproject.toml\n"
    assert list(table(project).suites) == ["unit", "integration"]
    assert "postgres" in table(project).services
    assert table(project).root == ""


def test_without_a_pyproject_the_settings_get_a_file_of_their_own(project):
    (project.repo / "pyproject.toml").unlink()
    document = project.json("init")
    path = project.repo / "testgrove.toml"
    assert document == {"schema_version": 1, "file": str(path), "added": path.read_text(), "scripts": []}
    assert list(parse(path.read_text(), path, table=False).suites) == ["unit", "integration"]


@pytest.mark.parametrize("name", ["pyproject.toml", "testgrove.toml"])
def test_settings_that_are_there_are_not_overwritten(project, name):
    project.write({name: "[tool.testgrove]\npark = 1\n" if name == "pyproject.toml" else "park = 1\n"})
    before = (project.repo / name).read_bytes()
    done = project.run("init", check=False)
    assert done.returncode == 3, said(done)
    assert "refusing to overwrite" in done.stderr
    assert (project.repo / name).read_bytes() == before


def test_what_a_file_has_is_kept_to_the_byte(project):
    path = project.repo / "pyproject.toml"
    before = PROJECT.replace("\n", "\r\n").encode() + b"# " + b"x" * 1_000_000 + b"\r\n"
    path.write_bytes(before)
    project.run("init")
    assert path.read_bytes().startswith(before.rstrip())


def test_a_file_that_is_no_text_or_a_link_is_not_replaced(project):
    path = project.repo / "pyproject.toml"
    path.write_bytes(PROJECT.encode() + b"# \xe9\n")
    assert "is not valid UTF-8 at byte 67" in project.run("init", check=False).stderr
    path.rename(project.repo / "shared.toml").write_text(PROJECT)
    path.symlink_to("shared.toml")
    assert "is a link; refusing to replace it" in project.run("init", check=False).stderr
    assert path.is_symlink()


def test_scripts_come_with_a_root_of_worktrees(project):
    done = project.run("init", "--scripts")
    assert table(project).root == "worktrees"
    folder = project.repo / "scripts"
    assert {path.name for path in folder.iterdir()} == SCRIPTS
    coordinator = {path.name for path in (project.repo / "tests/integration").iterdir()} - {"test_b.py"}
    assert coordinator == {"coordinator.py", "run_coordinator.py"}
    assert os.access(folder / "run_parallel_tests.sh", os.X_OK)
    assert {line.removeprefix("wrote scripts/") for line in done.stderr.splitlines() if "scripts/" in line} == SCRIPTS
    assert project.run("init", "--scripts").stderr == "nothing to do: everything already exists\n"


def test_scripts_are_added_to_settings_that_are_there(project):
    project.run("init")
    done = project.run("init", "--scripts")
    assert done.stdout == 'root = "worktrees"\n'
    assert table(project).root == "worktrees"
    assert list(table(project).suites) == ["unit", "integration"]


def test_another_root_is_kept_and_nothing_is_written(project):
    project.write({"testgrove.toml": 'root = "../elsewhere"\n'})
    done = project.run("init", "--scripts", check=False)
    assert done.returncode == 3
    assert "../elsewhere" in done.stderr
    assert not (project.repo / "scripts").exists()


def test_a_script_of_the_users_is_kept_and_nothing_is_written(project):
    project.write({"scripts/worktree_create.py": "mine\n"})
    done = project.run("init", "--scripts", check=False)
    assert done.returncode == 3
    assert "scripts/worktree_create.py" in done.stderr
    assert [path.name for path in (project.repo / "scripts").iterdir()] == ["worktree_create.py"]
    assert (project.repo / "pyproject.toml").read_text() == PROJECT


def test_a_script_that_is_missing_is_written_again(project):
    project.run("init", "--scripts")
    (project.repo / "scripts/worktree_list.py").unlink()
    assert project.run("init", "--scripts").stderr == "wrote scripts/worktree_list.py\n"


def test_a_pyproject_that_is_not_toml_is_an_error(project):
    project.write({"pyproject.toml": "not = [toml\n"})
    done = project.run("init", check=False)
    assert done.returncode in (2, 3), said(done)
    assert "not valid TOML" in done.stderr
    assert (project.repo / "pyproject.toml").read_text() == "not = [toml\n"


def test_the_package_carries_the_scripts():
    import testgrove

    folder = Path(testgrove.__file__).parent / "documented"
    assert {path.name for path in folder.iterdir() if path.is_file()} == SCRIPTS


def test_variables_and_processes_are_found_in_the_files_of_a_checkout(project):
    code = "import os\nfrom fastapi import FastAPI\napp = FastAPI()\nHOST = os.environ['POSTGRES_SERVER']\n"
    project.write({"main.py": code, ".env.example": "POSTGRES_SERVER=db\n", ".gitignore": ".env\n"})
    project.write({".env": "POSTGRES_SERVER=production.example\n"})
    done = project.run("init")
    assert table(project).env == {"POSTGRES_SERVER": "${PGHOST}"}
    assert table(project).processes["api"].command.startswith("uvicorn main:app ")
    assert "production" not in done.stdout


def test_a_sub_project_gets_settings_of_its_own(project):
    folder = project.repo / "backend"
    project.write({f"backend/{name}": text for name, text in (FILES | {"pyproject.toml": PROJECT}).items()})
    project.run("init", cwd=folder / "tests/unit")
    assert (project.repo / "pyproject.toml").read_text() == PROJECT
    path = folder / "pyproject.toml"
    settings = parse(path.read_text(), path, table=True)
    assert list(settings.suites) == ["unit", "integration"]
    assert list(settings.services) == ["postgres"]
