"""`exec --processes`: servers for as long as one command runs, in the foreground, with its status and its signals."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import needs
from auditor import marks
from grove import Command, Grove, said

FILES = {
    "README.md": "A project.\n",
    "server.py": """
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    client, _ = server.accept()
    client.sendall(os.environ["WORKTREE_ID"].encode())
    client.close()
""",
    "wait.py": "import signal\nprint('waiting', flush=True)\nsignal.pause()\n",
    "once.py": "print('it is gone', flush=True)\nraise SystemExit(7)\n",
    "ask.py": """
import os, socket
with socket.create_connection(("127.0.0.1", int(os.environ["API_PORT"]))) as server:
    assert server.recv(99).decode() == os.environ["WORKTREE_ID"]
print("ours answered at", os.environ["API_URL"])
""",
    "command.py": """
import os, signal, sys
def stop(number, _):
    print("got", signal.Signals(number).name, flush=True)
    sys.exit(40)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, stop)
if os.fork() == 0:
    os.setsid()
    for number in (1, 2, 10, 15):
        signal.signal(number, signal.SIG_IGN)
    while True:
        signal.pause()
print("up", os.getpid(), flush=True)
while True:
    signal.pause()
""",
}
PYTHON = sys.executable  # the worktree has no environment, and not every machine has a `python`
CONFIG = f"""
[processes.api]
command = "{PYTHON} server.py ${{API_PORT}}"
ready = "tcp://127.0.0.1:${{API_PORT}}"
[processes.worker]
command = "{PYTHON} wait.py"
ready = "log:^waiting$"
[processes.once]
command = "{PYTHON} once.py; sleep 0.3; exit 7"
ready = "log:gone"
"""
EXEC = ("exec", "review-a", "--processes", "api,worker", "--")


@pytest.fixture(scope="module")
def shared(shared_grove) -> Grove:
    """A project that stays as it is, with a worktree."""
    return with_worktree(shared_grove(files=FILES, config=CONFIG))


@pytest.fixture
def project(shared) -> Iterator[Grove]:
    """The same. A command that a failed test left would hold its worktree."""
    yield shared
    for command in shared.commands:
        if command.process.returncode is None:
            command.process.kill()
            command.process.wait(10)


@pytest.fixture
def own(grove) -> Grove:
    """A project of its own for a test that changes it."""
    return with_worktree(grove(files=FILES, config=CONFIG))


def with_worktree(project: Grove) -> Grove:
    project.create("review", "a", "--ports", "--no-env")
    return project


def up(command: subprocess.Popen[str]) -> int:
    """The pid of command.py, once it runs."""
    words = command.stdout.readline().split()
    assert words[:1] == ["up"], (words, command.communicate())
    return int(words[1])


def test_processes_are_ready_for_the_command_and_gone_after_it(own):
    done = own.run(*EXEC, PYTHON, "ask.py")
    port = own.worktrees()["review-a"]["ports"]["api"]
    assert done.stdout == f"ours answered at tcp://127.0.0.1:{port}\n"
    logs = own.artifacts / "review-a/processes"
    assert f"(log: {logs}/worker.log" in done.stderr
    assert (logs / "worker.log").read_text() == "waiting\n"
    own.auditor().assert_no_leftovers()
    own.run("remove", "review-a")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["sh", "-c", "exit 9"], 9),
        (["sh", "-c", "kill -KILL $$"], 128 + 9),
        (["no-such-program"], 127),
        (["./README.md"], 126),
        (["--", "--"], 127),
    ],
)
def test_the_exit_status_is_the_commands(project, words, status):
    done = project.run(*EXEC, *words, check=False)
    assert done.returncode == status, said(done)
    project.auditor().assert_no_leftovers()


def test_options_may_stand_before_or_after_the_worktree(project):
    for words in (
        ["exec", "--processes", "api", "review-a", "--", "true"],
        ["exec", "review-a", "--processes=api", "--quiet", "true"],
        ["exec", "-q", "--processes", "api", "a", "sh", "-c", "test $0 = --", "--"],
        ["exec", "a", "echo", "--processes", "none"],
    ):
        done = project.run(*words)
        assert done.stdout == ("--processes none\n" if "echo" in words else "")
        assert ("ready" in done.stderr) == (words[1] == "--processes")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_on(project, number):
    command = project.start(*EXEC, PYTHON, "command.py")
    up(command)
    command.send_signal(number)
    out, err = command.communicate(timeout=30)
    assert (out, command.returncode) == (f"got {signal.Signals(number).name}\n", 40), err
    project.auditor().assert_no_leftovers()


@contextmanager
def in_a_terminal(project: Grove, *words: str, **env: str):
    """A testgrove command whose terminal we are: the command, and the terminal's other end."""
    controller, terminal = os.openpty()
    take = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", take, sys.executable, "-m", "testgrove", *words],
        cwd=project.repo,
        env=project.env | env,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as command:
        project.commands.append(Command(command))
        os.close(terminal)
        try:
            yield command, controller
        finally:
            command.kill()
    os.close(controller)


def test_ctrl_c_in_a_terminal_reaches_the_command_once(project):
    """The terminal signals the whole process group, testgrove and the command."""
    count = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [2])\nprint('up', flush=True)\n"
    count += "print('first', bool(signal.sigtimedwait([2], 20)), 'second', bool(signal.sigtimedwait([2], 0.3)))"
    with in_a_terminal(project, *EXEC, sys.executable, "-c", count) as (command, controller):
        read_until(controller, b"up\r\n")
        os.write(controller, b"\x03")
        read_until(controller, b"first True second False")
        assert command.wait(timeout=30) == 0
    project.auditor().assert_no_leftovers()


def test_a_shell_with_processes_has_the_terminal_and_its_jobs(project):
    """An interactive shell takes the terminal for its jobs; Ctrl-C ends one of them, and not the shell."""
    bash = shutil.which("bash") or needs.missing("bash", "there is no bash")
    words = ("shell", "review-a", "--processes", "api")
    with in_a_terminal(project, *words, SHELL=bash, HOME=str(project.base)) as (command, controller):
        os.write(controller, f"{PYTHON} ask.py; sh -c 'echo began; exec sleep 60'\n".encode())
        assert b"ours answered at" in read_until(controller, b"\nbegan")
        os.write(controller, b"\x03")
        os.write(controller, b"echo status $?; exit 5\n")
        read_until(controller, b"status 130")
        assert command.wait(timeout=30) == 5
    project.auditor().assert_no_leftovers()


def read_until(fd: int, end: bytes) -> bytes:
    text, deadline = b"", time.monotonic() + 30
    while end not in text:
        assert time.monotonic() < deadline, text
        if select.select([fd], [], [], 1)[0]:
            text += os.read(fd, 4096)
    return text


def test_nothing_is_left_when_testgrove_is_killed(own):
    command = own.start(*EXEC, PYTHON, "command.py")
    pid = up(command)
    assert marks(pid), "what the command leaves can be found by its mark"
    command.kill()
    command.communicate()
    deadline = time.monotonic() + 2
    while alive(pid) or any("server.py" in line or "wait.py" in line for line in own.auditor().audit().processes):
        assert time.monotonic() < deadline, own.auditor().audit()
        time.sleep(0.02)
    assert own.worktrees()["review-a"]["status"] == "ready"
    own.auditor().assert_no_leftovers()
    own.run(*EXEC, PYTHON, "ask.py")


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_the_worktree_is_held_meanwhile(project):
    command = project.start(*EXEC, PYTHON, "command.py")
    up(command)
    for words in (["remove", "review-a"], [*EXEC, "true"]):
        done = project.run(*words, check=False)
        assert (done.returncode, "held by `testgrove exec review-a`" in done.stderr) == (3, True), said(done)
    assert project.run("exec", "review-a", "--", "echo", "yes").stdout == "yes\n"
    command.send_signal(signal.SIGTERM)
    command.communicate(timeout=30)


def test_a_process_that_dies_meanwhile_is_told_of(project):
    done = project.run("exec", "a", "--processes", "once", "--", "sleep", "0.6")
    assert "note: process once exited with status 7 while the command ran" in done.stderr


def test_an_older_log_does_not_make_a_process_ready(project):
    log = project.artifacts / "review-a/processes/worker.log"
    project.run(*EXEC, "true")
    assert log.read_text() == "waiting\n"
    project.run(*EXEC, "true")
    assert log.read_text() == "waiting\n", "it begins anew"


@pytest.mark.parametrize(
    ("processes", "status", "words"),
    [
        ("none", 2, ["process 'none' not found", "api, worker, once"]),
        ("", 2, ["process '' not found"]),
        ("api,api", 2, ["contains a duplicate"]),
    ],
)
def test_a_process_that_is_not_declared_is_an_error(project, processes, status, words):
    done = project.run("exec", "a", "--processes", processes, "--", "true", check=False)
    assert done.returncode == status
    assert all(word in done.stderr for word in words), said(done)


def test_a_worktree_without_ports_is_an_error_that_says_so(own):
    own.create("review", "b")
    done = own.run("exec", "b", "--processes", "api", "--", "true", check=False)
    assert done.returncode == 2
    assert "variable '${API_PORT}' not found" in done.stderr, said(done)


def test_a_stranger_on_the_port_keeps_it_and_the_worktree_has_others(own):
    port = own.worktrees()["review-a"]["ports"]["api"]
    code = (
        f"import socket, signal; s = socket.create_server(('127.0.0.1', {port})); print(1, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as stranger:
        stranger.stdout.readline()
        done = own.run(*EXEC, "true")
        stranger.kill()
    ports = own.worktrees()["review-a"]["ports"]
    assert port not in ports.values()
    assert f"its new ports: {' '.join(map(str, ports.values()))}" in done.stderr, said(done)
