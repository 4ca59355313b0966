"""A forked command is what a new process is: to whoever starts it, and to itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import forked
from auditor import is_marked

SHOW = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv[1:], "path": sys.path[:2], "cwd": os.getcwd(), "env": dict(os.environ), "stdin": sys.stdin.read(),
    "session": os.getsid(0) == os.getpid(), "open": sorted(map(int, os.listdir("/proc/self/fd")))[:3] == [0, 1, 2],
    "descriptors": len(os.listdir("/proc/self/fd")), "umask": os.umask(0), "name": __name__,
}))
print("wrong\\r", file=sys.stderr)
"""


@pytest.fixture
def program(tmp_path):
    """Makes a program of a text, and starts it: forked, or as a new process."""

    def start(text: str, *arguments: str, new: bool, env: dict[str, str] | None = None):
        file = tmp_path / "killing.py"  # a name that is forked
        file.write_text(text)
        argv, env = [sys.executable, str(file), *arguments], {"PATH": "/bin", **(env or {})}
        if not new:
            return forked.start(argv, cwd=tmp_path, env=env | forked.at_start(os.environ))
        return subprocess.Popen(
            argv, cwd=tmp_path, env=env | forked.at_start(os.environ), stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    return start


def results(program, text: str, *arguments: str, **options) -> list[tuple[str, str, int | None]]:
    found = []
    for new in (True, False):
        with program(text, *arguments, new=new, **options) as process:
            found.append((*process.communicate(timeout=60), process.returncode))
    return found


def test_it_sees_what_a_new_process_sees(program):
    new, fork = results(program, SHOW, "a", "b c", env={"PYTHONPATH": "/somewhere", "ODD": "\udcff"})
    assert fork == new


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "sys.exit(3)",
        "sys.exit()",
        "sys.exit('a sentence')",
        "raise ValueError('a bug')",
        "os.kill(os.getpid(), 9)",
        "os._exit(7)",
        "import atexit; atexit.register(print, 'the end')",
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()",
        "os.execv('/bin/sh', ['sh', '-c', 'echo another; exit 5'])",
        "os.close(1)",
    ],
)
def test_it_ends_as_a_new_process_ends(program, ending):
    new, fork = results(program, f"import os, sys\nprint('begun')\nsys.stdout.flush()\n{ending}\n")
    assert (fork[0], fork[2]) == (new[0], new[2])
    assert fork[1].splitlines()[-1:] == new[1].splitlines()[-1:]


def test_it_can_be_killed_and_its_pid_is_known(program):
    with program("import time; time.sleep(60)", new=False) as process:
        assert Path(f"/proc/{process.pid}/stat").exists()
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=0.05)
        process.kill()
        assert process.wait(10) == -9


def test_two_at_a_time_do_not_wait_for_one_another(program):
    with program("import time; time.sleep(60)", new=False) as one, program("print('two')", new=False) as two:
        assert two.communicate(timeout=30) == ("two\n", "")
        one.kill()


def test_a_command_is_forked_whatever_sequence_it_comes_in(tmp_path):
    words = (sys.executable, "-m", "pytest", "--version")
    for argv in (words, list(words)):
        process = forked.start(argv, cwd=tmp_path, env={"PATH": "/bin"} | forked.at_start(os.environ))
        assert process is not None
        with process:
            assert process.communicate(timeout=60)[0].startswith("pytest ")


def test_what_an_interpreter_reads_when_it_starts_needs_a_new_process(tmp_path):
    argv = [sys.executable, "-m", "testgrove", "--version"]
    env = dict(os.environ)
    assert forked.start(argv, cwd=tmp_path, env=env | {"PYTHONUTF8": "0"}) is None
    assert forked.start(argv, cwd=tmp_path, env=env | {"LC_ALL": "odd"}) is None
    assert forked.start(["sh", *argv], cwd=tmp_path, env=env) is None
    assert forked.start([sys.executable, "-X", "importtime", *argv[1:]], cwd=tmp_path, env=env) is None


def test_the_server_itself_carries_nothing_of_its_commands(grove):
    project = grove()
    project.create("test-unit", "a")
    (server,) = [each.process for (_, name), each in forked._servers.items() if name == "testgrove"]
    assert not is_marked(server.pid)
    assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1
    deadline = time.monotonic() + 10
    while (left := len(list(Path(f"/proc/{server.pid}/fd").iterdir()))) > 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left <= 6, "0, 1, 2, the socket and a pipe"
