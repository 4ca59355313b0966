"""A worktree with files that its user cannot delete, such as a container's: it is named, and runs go on without it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import needs
from grove import TESTGROVE, Grove, said

pytestmark = pytest.mark.slow  # runs, each with environments
FIX_OUTPUT = "mkdir -p logs && touch logs/a.log && chattr +i logs/a.log"
CONFIG = '[suites.unit]\ncommand = "true"\n[suites.other]\ncommand = "true"\n'


@pytest.fixture
def one(grove) -> Grove:
    """A project with two parked worktrees, and the words that make commands an ordinary user's."""
    if os.geteuid() != 0:
        needs.missing("root", "only root can give files to another user")
    one: Grove = grove(config=CONFIG)
    run(one, "test")
    return one


def run(one: Grove, *words: str) -> subprocess.CompletedProcess[str]:
    return one.run(*words, program=(*needs.ordinary_user(), *TESTGROVE), check=False)


def parked(one: Grove, suite: str = "unit") -> tuple[str, Path]:
    worktree = next(name for name in one.worktrees() if suite in name)
    return worktree, Path(one.worktrees()[worktree]["path"])


def test_a_parked_worktree_with_another_users_folder_is_set_aside(one: Grove) -> None:
    name, tree = parked(one)
    cache = tree / "src" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "code.pyc").touch()
    os.chown(cache, 65534, 65534)

    done = run(one, "test")
    assert done.returncode == 0, said(done)
    assert "2 passed" in done.stdout
    assert "reports:" in done.stdout
    assert f"{cache} belongs to user 65534" in done.stdout
    assert f"sudo chown -R $USER {tree}" in done.stdout
    assert (cache / "code.pyc").exists()
    assert len(one.worktrees()) == 3

    listed = one.git("worktree", "list")
    for words in (("remove", name), ("remove", name, "--force")):
        refused = run(one, *words)
        assert refused.returncode == 3
        assert f"worktree {name} cannot be removed: {cache} belongs to user 65534" in refused.stderr
        assert f"sudo rm -rf {tree}" in refused.stderr
    assert one.git("worktree", "list") == listed
    cleaned = run(one, "cleanup", "--max-age", "0", "--yes")
    assert cleaned.returncode == 0
    assert f"skipped {name}: worktree {name} cannot be removed: {cache}" in cleaned.stderr
    assert "killed" not in said(run(one, "doctor"))

    os.chown(cache, 0, 0)
    assert run(one, "remove", name).returncode == 0
    one.auditor().assert_nothing()


def test_an_environment_with_another_users_folder_that_has_to_be_made_anew(one: Grove) -> None:
    """The worktree goes to the trash, and the cell runs in another one. Until then the environment may be used."""
    name, tree = parked(one)
    cache = tree / ".venv" / "lib" / "__pycache__"
    cache.mkdir()
    (cache / "code.pyc").touch()
    os.chown(cache, 65534, 65534)
    assert run(one, "test").returncode == 0
    assert parked(one) == (name, tree)
    assert (cache / "code.pyc").exists()

    one.write({"requirements.txt": "# another environment\n"}, commit="a new environment is needed")
    done = run(one, "test")
    assert done.returncode == 0, said(done)
    assert "2 passed" in done.stdout
    assert f"{cache} belongs to user 65534" in done.stdout
    doctor = run(one, "doctor")
    assert "__pycache__" in doctor.stdout, said(doctor)
    for left in one.root.glob(".trash/*/.venv/lib/__pycache__"):
        os.chown(left, 0, 0)
    run(one, "doctor")
    assert run(one, "cleanup", "--max-age", "0", "--yes").returncode == 0
    one.auditor().assert_nothing()


@pytest.fixture
def fixed_file(one: Grove) -> Iterator[Path]:
    """An immutable file of a parked worktree, which the next run has to change."""
    _, tree = parked(one)
    file = tree / "src" / "code.py"
    if subprocess.run(["chattr", "+i", file], capture_output=True, check=False).returncode:
        needs.missing("chattr", "no file can be made immutable here")
    inode = file.stat().st_ino
    one.write({"src/code.py": "VALUE = 2\n"}, commit="to be checked out")
    yield file
    left = [path for path in one.root.rglob("code.py") if path.stat().st_ino == inode]
    if left:
        subprocess.run(["chattr", "-i", *left], check=True)


def test_a_file_made_immutable_ends_up_in_the_trash_which_is_named_until_it_is_gone(
    one: Grove, fixed_file: Path
) -> None:
    done = one.run("test", check=False)
    assert done.returncode == 0, said(done)
    assert "reports:" in done.stdout
    assert f"{fixed_file} is immutable" in done.stdout
    assert f"note: cannot delete {one.root}/.trash/" in done.stderr
    doctor = one.run("doctor", check=False)
    assert doctor.returncode == 3
    assert "trash" in doctor.stdout
    assert "code.py is immutable" in doctor.stdout
    assert "hint: sudo chattr -ia " in doctor.stdout
    assert "killed" not in said(doctor)
    assert one.run("test", check=False).returncode == 0

    (file,) = one.root.glob(".trash/*/src/code.py")
    subprocess.run(["chattr", "-i", file], check=True)
    assert "emptied the trash of `testgrove test`" in one.run("doctor").stderr
    one.run("cleanup", "--max-age", "0", "--yes")
    one.auditor().assert_nothing()


def test_outputs_that_cannot_be_moved_stay_and_their_removal_fails_until_they_can(one: Grove, fixed_file: Path) -> None:
    one.write({"testgrove.toml": f'[suites.unit]\ncommand = "{FIX_OUTPUT}"\n'}, commit="a suite like a container's")
    subprocess.run(["chattr", "-i", fixed_file], check=True)
    done = one.run("test", check=False)
    output = parked(one)[1] / "logs" / "a.log"
    try:
        assert done.returncode == 0, said(done)
        assert f"cannot keep the output {output}: operation not permitted" in done.stdout
        refused = one.run("remove", parked(one)[0], check=False)
        assert refused.returncode == 3
        assert str(output) in refused.stderr
        assert output.exists()
    finally:
        subprocess.run(["chattr", "-i", output], check=True)
    one.run("cleanup", "--max-age", "0", "--yes")
    one.auditor().assert_nothing()
