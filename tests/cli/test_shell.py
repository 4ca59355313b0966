"""`shell`: the user's own shell in a worktree, whatever its start-up files do."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import termios
import time
from pathlib import Path

import pytest

from grove import TESTGROVE, Command, Grove, said
from testgrove.core.worktrees.shells import enter


@pytest.fixture
def project(grove) -> Grove:
    project = grove(config='[env]\nGREETING = "it-is-mine"\n')
    project.create("test-unit", "a", "--ports")
    return project


def typed(project: Grove, lines: str, **env: str) -> tuple[int, str]:
    """What a terminal shows when lines are typed into `testgrove shell a`, and the exit status."""
    home = project.base / "home"
    home.mkdir(exist_ok=True)
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 300))  # a prompt with a long name of the user's would be scrolled out of view
    process = subprocess.Popen(
        [*TESTGROVE, "shell", "a"], cwd=project.repo, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env=project.env | {"HOME": str(home), "PS1": "$ ", "TERM": "dumb"} | env,
    )  # fmt: skip
    project.commands.append(Command(process))
    os.close(slave)
    os.write(master, lines.encode())
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.1)[0]:
            try:
                data = os.read(master, 4096)
            except OSError:
                break
            if not data:
                break
            shown += data
        elif process.poll() is not None:
            break
    process.wait(10)
    os.close(master)
    return process.returncode, shown.decode(errors="replace")


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_prompt_variables_programs_and_status(project, shell):
    path = shutil.which(shell)
    if not path:
        pytest.skip(f"{shell} is not here")
    tree = project.root / "test-unit-a"
    # As pyenv and many others do.
    shims = project.base / "shims"
    shims.mkdir()
    (shims / "python").write_text("#!/bin/sh\necho wrong python\n")
    (shims / "python").chmod(0o755)
    (project.base / "home").mkdir()
    (project.base / "home/.bashrc").write_text(
        f"PATH={shims}:$PATH\nexport APP_PORT=1 VIRTUAL_ENV=/elsewhere\nMINE=yes\n"
    )
    lines = (
        'echo "=$PWD=$GREETING=$APP_PORT=$VIRTUAL_ENV=${MINE-}="; python -c "import sys; print(sys.prefix)"; exit 7\n'
    )
    status, shown = typed(project, lines, SHELL=path, PATH=f"{shims}:{project.env['PATH']}")
    assert status == 7, shown
    assert "(test-unit-a) " in shown
    mine = "yes" if shell == "bash" else ""
    port = project.worktrees()["test-unit-a"]["ports"]["app"]
    assert f"={tree}=it-is-mine={port}={tree}/.venv={mine}=" in shown
    assert f"\n{tree}/.venv\r\n" in shown
    assert "wrong python" not in shown
    project.run("remove", "a")
    project.auditor().assert_nothing()


def test_a_script_on_standard_input(project):
    done = subprocess.run(
        [*TESTGROVE, "shell", "a"], cwd=project.repo, env=project.env | {"SHELL": "/bin/sh"}, check=False, text=True,
        input='echo "$WORKTREE_ID"; exit 3\n', capture_output=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "test-unit-a\n"), done.stderr


@pytest.mark.parametrize(("shell", "status"), [("/nowhere/sh", 127), ("/etc/passwd", 126)])
def test_a_shell_that_cannot_be_executed(project, shell, status):
    done = project.run("shell", "a", env={"SHELL": shell}, check=False)
    assert done.returncode == status, said(done)
    assert shell in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worktree_that_is_not_there(project):
    done = project.run("shell", "b", check=False)
    assert done.returncode == 3
    assert "worktree 'b' not found" in done.stderr


def test_the_other_shells_are_entered_in_their_own_way():
    folder, words = Path("/f"), {"variables": {"A": "it's \\ 1"}, "programs": "/t/.venv/bin", "home": "/h"}
    zsh = enter("/bin/zsh", "id", folder=folder, zdotdir="", **words)
    assert zsh.environ == {"ZDOTDIR": "/f"}
    assert "[ -f /h/.zshenv ] && . /h/.zshenv" in zsh.files[folder / ".zshenv"]
    assert zsh.files[folder / ".zshrc"].endswith('export PATH=/t/.venv/bin:"$PATH"\nPROMPT="(id) $PROMPT"\n')
    assert "/z/.zshenv" in enter("zsh", "id", folder=folder, zdotdir="/z", **words).files[folder / ".zshenv"]
    fish = enter("/usr/bin/fish", "id", folder=folder, zdotdir="", **words)
    assert fish.command[:2] == ("/usr/bin/fish", "-C")
    assert r"set -gx A 'it\'s \\ 1'; set -gx PATH '/t/.venv/bin' $PATH; " in fish.command[2]
    assert not fish.files
