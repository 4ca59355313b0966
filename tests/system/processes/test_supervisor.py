"""The supervisor ends whole trees: judged from outside, by psutil and /proc."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testgrove.system.processes import process_tree
from testgrove.system.processes import supervisor as program
from testgrove.system.processes.marks import end_marked, marked, marks_of
from testgrove.system.processes.messages import packed, received
from testgrove.system.processes.process import scrubbed
from testgrove.system.processes.supervision import Job, JobResult, Supervisor

KINDS = ("plain", "group", "session", "daemon", "cleared", "deaf")
# 32 and 33 are the C library's own: make starts its children with them ignored, and nobody can change that.
LIBC_SIGNALS = 0b11 << 31

# Starts one child of each kind; each writes its pid once it is what its name says. Then waits, or ends.
TRICKY = """
import os, signal, sys

folder, then = sys.argv[1], sys.argv[2]

def settle(name):
    path = os.path.join(folder, name)
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
    while True:
        signal.pause()

def daemonize():
    os.setsid()
    if os.fork():
        os._exit(0)

def cleared():
    daemonize()
    os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, folder, "cleared"], {})

kinds = {
    "plain": lambda: None,
    "group": lambda: os.setpgid(0, 0),
    "session": os.setsid,
    "daemon": daemonize,
    "cleared": cleared,
    "deaf": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
}
if then in kinds:
    settle(then)
for name, prepare in kinds.items():
    if os.fork() == 0:
        prepare()
        settle(name)
print("all started", flush=True)
while then == "wait":
    signal.pause()
while len([name for name in os.listdir(folder) if name in kinds]) < len(kinds):
    pass
"""

# A testgrove that runs a tricky job, and can be killed.
CLIENT = """
import sys
from pathlib import Path
from testgrove.system.processes.process import scrubbed
from testgrove.system.processes.supervision import Job, Supervisor, become_subreaper

become_subreaper()
supervisor = Supervisor.start()
folder = Path(sys.argv[2])
supervisor.start_job(Job([sys.executable, "-S", sys.argv[1], str(folder), "wait"], folder, scrubbed()))
print(supervisor.pid, flush=True)
print(supervisor.wait().lost, flush=True)
sys.stdin.read()
"""


def wait_until(condition, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Tricky:
    """A job that starts all six tricky children."""

    def __init__(self, tmp_path: Path) -> None:
        self.script = tmp_path / "tricky.py"
        self.script.write_text(TRICKY)
        self.folder = tmp_path / "pids"
        self.folder.mkdir()

    def job(self, then: str = "wait", **options) -> Job:
        argv = [sys.executable, "-S", self.script, self.folder, then]
        return Job(argv, self.folder, scrubbed(), **options)

    def children(self) -> list[psutil.Process]:
        """All six, when they are there."""
        wait_until(lambda: all((self.folder / kind).exists() for kind in KINDS))
        found = [psutil.Process(int((self.folder / kind).read_text())) for kind in KINDS]
        assert all(lives(process) for process in found)
        assert len({os.getsid(process.pid) for process in found}) == 4
        return found


@pytest.fixture
def tricky(tmp_path: Path) -> Iterator[Tricky]:
    made = Tricky(tmp_path)
    yield made
    for process in psutil.process_iter(["cmdline"]):  # what a failed test has left
        if str(made.script) in (process.info["cmdline"] or ()):
            process.kill()


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    started = Supervisor.start()
    yield started
    started.close()
    assert marked(started.mark) == []


def job(*argv: str, cwd: Path = Path("/"), **options) -> Job:
    return Job(argv, cwd, scrubbed(), **options)


def finish(supervisor: Supervisor, timeout: float = 10.0) -> JobResult:
    result = supervisor.wait(timeout)
    assert result is not None, "the job did not end"
    return result


def only_the_supervisor_is_left(supervisor: Supervisor) -> bool:
    return [found.pid for found in marked(supervisor.mark)] == [supervisor.pid]


# Ending trees


def test_a_timeout_ends_every_kind_of_child(supervisor, tricky):
    supervisor.start_job(tricky.job(timeout=2.0, grace=0.3))
    children = tricky.children()
    result = finish(supervisor)
    assert not [process for process in children if lives(process)]
    assert result.timed_out
    assert not result.cancelled
    assert (result.exit_code, result.signal) == (None, signal.SIGTERM)
    assert result.duration >= 2.0
    assert only_the_supervisor_is_left(supervisor)


def test_cancelling_ends_every_kind_of_child(supervisor, tricky):
    supervisor.start_job(tricky.job())
    children = tricky.children()
    assert supervisor.wait(0) is None
    supervisor.end(grace=0.3)
    result = finish(supervisor)
    assert not [process for process in children if lives(process)]
    assert result.cancelled
    assert not result.timed_out
    assert only_the_supervisor_is_left(supervisor)


def test_a_second_request_shortens_the_grace(supervisor, tricky):
    supervisor.start_job(tricky.job())
    children = tricky.children()
    supervisor.end(grace=60)
    supervisor.end(grace=0)
    assert finish(supervisor).cancelled
    assert not [process for process in children if lives(process)]


def test_what_lives_on_after_a_normal_end_is_named_and_ended(supervisor, tricky):
    supervisor.start_job(tricky.job("end"))
    children = tricky.children()
    result = finish(supervisor)
    assert result.exit_code == 0
    assert {int(line.split()[0]) for line in result.survivors} == {process.pid for process in children}
    assert all("tricky.py" in line for line in result.survivors)
    assert not [process for process in children if lives(process)]
    assert not result.cancelled


def test_the_ports_of_what_lives_on_are_named(supervisor, tmp_path):
    serve = """
import os, socket, time
servers = [socket.create_server(("127.0.0.1", 0))]
try:
    servers.append(socket.create_server(("::1", 0), family=socket.AF_INET6))
except OSError:
    pass  # a machine without IPv6
client = socket.create_connection(servers[0].getsockname()[:2])
if os.fork() == 0:
    time.sleep(600)
open("ports", "w").write(" ".join(str(each.getsockname()[1]) for each in servers))
"""
    supervisor.start_job(Job([sys.executable, "-c", serve], tmp_path, scrubbed()))
    result = finish(supervisor)
    ports = {int(word) for word in (tmp_path / "ports").read_text().split()}
    assert {port for port, _ in result.ports} == ports
    assert {who for _, who in result.ports} == set(result.survivors)


def test_a_helper_that_ends_just_after_its_parent_is_no_survivor(supervisor):
    supervisor.start_job(job("sh", "-c", "sleep 0.05 & exit 3"))
    result = finish(supervisor)
    assert (result.exit_code, result.survivors) == (3, ())


def test_killing_ends_every_kind_of_child_and_the_supervisor(tricky):
    supervisor = Supervisor.start()
    supervisor.start_job(tricky.job())
    children = tricky.children()
    supervisor.kill()
    assert finish(supervisor).cancelled
    assert not [process for process in children if lives(process)]
    supervisor.close()
    assert not supervisor.alive


@pytest.fixture
def client(tricky, tmp_path) -> Iterator[subprocess.Popen[str]]:
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    process = subprocess.Popen(
        [sys.executable, script, tricky.script, tricky.folder],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def supervisor_of(client: subprocess.Popen[str]) -> psutil.Process:
    assert client.stdout is not None
    return psutil.Process(int(client.stdout.readline()))


def test_kill_9_of_the_client_leaves_nothing(client, tricky):
    everything = [supervisor_of(client), *tricky.children()]
    client.kill()
    wait_until(lambda: not [process for process in everything if lives(process)], timeout=2.0)


def test_kill_9_of_the_supervisor_leaves_nothing_not_even_zombies(client, tricky):
    supervisor, children = supervisor_of(client), tricky.children()
    supervisor.kill()
    wait_until(lambda: not [process for process in children if lives(process)], timeout=2.0)
    assert client.stdout is not None
    assert client.stdout.readline() == "True\n"
    assert psutil.Process(client.pid).children(recursive=True) == []


def test_kill_9_of_both_leaves_nothing_after_the_next_command(client, tricky):
    supervisor, children = supervisor_of(client), tricky.children()
    (mark,) = set(marks_of(supervisor.pid)) - set(marks_of(os.getpid()))
    os.kill(client.pid, signal.SIGSTOP)  # so that it has no moment in which to tidy up
    supervisor.kill()
    client.kill()
    client.wait()
    assert [process for process in children if lives(process)], "there was nothing to clean up"
    end_marked(mark)
    assert not [process for process in children if lives(process)]
    assert marked(mark) == []


@pytest.mark.parametrize("how", ["end", "timeout", "kill"])
def test_a_tree_that_never_stops_forking_is_beaten(how, tmp_path):
    script = tmp_path / "bomb.py"
    script.write_text("""if True:
        import os, signal, time
        end = time.monotonic() + 30
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(3):  # each hops from process to process, out of every session
            if os.fork() == 0:
                while time.monotonic() < end:
                    os.setsid()
                    if os.fork():
                        os._exit(0)
        while time.monotonic() < end:  # and this one leaves sleepers and forkers behind
            if os.fork() == 0:
                for _ in range(2):
                    os.fork()
                time.sleep(30)
                os._exit(0)
            time.sleep(0.005)
    """)
    supervisor = Supervisor.start()
    timeout = 1.0 if how == "timeout" else None
    supervisor.start_job(job(sys.executable, "-S", str(script), timeout=timeout, grace=0.2))
    wait_until(lambda: len(marked(supervisor.mark)) > 50)
    if how == "end":
        supervisor.end(grace=0.2)
    if how == "kill":
        supervisor.kill()
    result = finish(supervisor)
    assert (result.timed_out, result.cancelled) == (how == "timeout", how != "timeout")
    assert [found for found in marked(supervisor.mark) if found.pid != supervisor.pid] == []
    supervisor.close()


def test_a_stopped_job_is_ended(supervisor):
    pid = supervisor.start_job(job("sleep", "60"))
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    supervisor.end(grace=5.0)
    assert finish(supervisor).signal == signal.SIGTERM


def test_term_lets_a_job_tidy_up(supervisor, tmp_path):
    script = "trap 'echo tidied; exit 4' TERM; echo ready; while :; do :; done"
    output = tmp_path / "output"
    supervisor.start_job(job("sh", "-c", script, output=output))
    wait_until(lambda: output.exists() and output.read_text() == "ready\n")
    supervisor.end(grace=5.0)
    result = finish(supervisor)
    assert (result.exit_code, result.cancelled) == (4, True)
    assert output.read_text() == "ready\ntidied\n"


# Running jobs


def test_a_supervisor_runs_job_after_job(supervisor, tmp_path):
    output = tmp_path / "output"
    for number in range(20):
        supervisor.start_job(job("sh", "-c", f"echo {number}; echo error >&2; exit {number}", output=output))
        result = finish(supervisor)
        assert (result.exit_code, result.signal, result.survivors) == (number, None, ())
    assert output.read_text() == "".join(f"{number}\nerror\n" for number in range(20))
    assert only_the_supervisor_is_left(supervisor)


def test_output_is_kept_on_timeout_byte_for_byte(supervisor, tmp_path):
    output = tmp_path / "output"
    supervisor.start_job(job("sh", "-c", r"printf 'a\377\0b'; exec sleep 60", output=output, timeout=0.3))
    assert finish(supervisor).timed_out
    assert output.read_bytes() == b"a\xff\0b"


def test_names_that_are_not_utf_8_reach_the_job(supervisor, tmp_path):
    output = tmp_path / "output"
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    supervisor.start_job(Job(["sh", "-c", 'pwd; echo "$1$NAME"', "sh", "\udce9"], folder, {"NAME": "\udcff"}, output))
    finish(supervisor)
    assert output.read_bytes() == os.fsencode(folder) + b"\n\xe9\xff\n"


def test_a_signal_that_ends_the_job_is_told(supervisor):
    supervisor.start_job(job("sh", "-c", "kill -SEGV $$"))
    result = finish(supervisor)
    assert (result.exit_code, result.signal) == (None, signal.SIGSEGV)


def test_cpu_time_of_daemons_is_counted(supervisor, tmp_path):
    script = tmp_path / "daemon.py"
    script.write_text("""if True:
        import os, sys, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while time.process_time() < 0.2:
                    pass
                os.mkdir(sys.argv[1])
            os._exit(0)
        os.wait()
        while not os.path.exists(sys.argv[1]):
            time.sleep(0.01)
    """)
    supervisor.start_job(job(sys.executable, "-S", str(script), str(tmp_path / "burnt")))
    result = finish(supervisor)
    assert (result.exit_code, result.survivors) == (0, ())
    assert result.user_cpu + result.system_cpu >= 0.2
    assert result.max_rss_kb > 1000


def test_a_job_starts_with_a_clean_slate(tmp_path):
    inheritable = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        supervisor = Supervisor.start()
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    output = tmp_path / "output"
    supervisor.start_job(job("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", output=output))  # a shell unblocks
    finish(supervisor)
    masks = {name: int(mask, 16) & ~LIBC_SIGNALS for name, mask in map(str.split, output.read_text().splitlines())}
    assert masks == {"SigBlk:": 0, "SigIgn:": 0}
    output.unlink()
    script = "ls /proc/$$/fd; readlink /proc/$$/fd/0; cut -d' ' -f6 /proc/$$/stat"
    pid = supervisor.start_job(job("sh", "-c", script, output=output))
    finish(supervisor)
    assert output.read_text().split() == ["0", "1", "2", "/dev/null", str(pid)]
    assert supervisor.pid != pid
    supervisor.close()
    os.close(inheritable)


def test_the_terminals_signals_do_not_end_the_supervisor(supervisor):
    supervisor.start_job(job("sleep", "60"))
    assert os.getsid(supervisor.pid) == supervisor.pid
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(supervisor.pid, number)
    assert supervisor.wait(0.1) is None
    assert supervisor.alive
    supervisor.end(grace=1.0)
    assert finish(supervisor).cancelled


def test_an_end_that_comes_too_late_does_not_touch_the_next_job(supervisor):
    supervisor.start_job(job("true"))
    wait_until(lambda: only_the_supervisor_is_left(supervisor))
    supervisor.end(grace=0)
    assert not finish(supervisor).cancelled
    supervisor.start_job(job("sh", "-c", "exit 5"))
    assert finish(supervisor).exit_code == 5


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_job_can_run_as_another_user_and_is_ended(supervisor, tmp_path):
    output = tmp_path / "output"
    script = "id -u; id -g; id -G; exec sleep 60"
    supervisor.start_job(job("sh", "-c", script, output=output, user=(65534, 65533), timeout=0.5))
    assert finish(supervisor).timed_out
    assert output.read_text().split() == ["65534", "65533", "65533"]
    assert only_the_supervisor_is_left(supervisor)


# The protocol


def converse(*requests: dict) -> list[dict]:
    """What the program answers to requests, after which stdin closes."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", program.__file__, "1"],
        input=b"".join(map(packed, requests)),
        stdout=subprocess.PIPE, check=True, timeout=10,
    )  # fmt: skip
    replies, rest = received(done.stdout)
    assert not rest
    return replies


RUN = {"argv": ["sleep", "60"], "cwd": "/", "env": {"PATH": os.defpath}, "output": None, "timeout": None,
       "grace": 1.0, "user": None}  # fmt: skip


def test_when_its_stdin_closes_it_kills_everything_and_exits():
    began = time.monotonic()
    started, ended = converse({"run": RUN})
    assert time.monotonic() - began < 1.5
    assert not psutil.pid_exists(started["started"])
    assert ended["ended"]["signal"] == signal.SIGKILL


@pytest.mark.parametrize(
    ("changed", "what", "number"),
    [
        ({"argv": ["no-such-command"]}, "command", 2),
        ({"argv": []}, "command", 22),
        ({"argv": ["a\0b"]}, "command", 22),
        ({"cwd": "/no/such/folder"}, "cwd", 2),
        ({"output": "/no/such/folder/output"}, "output", 2),
    ],
)
def test_what_cannot_be_executed_is_told_step_by_step(changed, what, number):
    failed, started, ended = converse({"run": RUN | changed}, {"run": RUN}, {"end": {"grace": 0}})
    assert failed["failed"] == {"errno": number, "message": os.strerror(number), "what": what}
    assert started["started"]
    assert ended["ended"]["cancelled"]


def test_children_are_found_on_kernels_that_do_not_list_them(monkeypatch):
    child = subprocess.Popen(["sleep", "60"])
    listed = process_tree.children(os.getpid())
    monkeypatch.setattr(process_tree, "KERNEL_LISTS_CHILDREN", False)
    assert child.pid in listed
    assert set(process_tree.children(os.getpid())) == set(listed)
    child.kill()
    child.wait()


def test_timing():
    began = time.perf_counter()
    supervisor = Supervisor.start()
    supervisor.start_job(job("true"))
    finish(supervisor)
    cold = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(10):
        supervisor.start_job(job("true"))
        finish(supervisor)
    warm = (time.perf_counter() - began) / 10
    supervisor.close()
    sys.stdout.write(f"/bin/true on a new supervisor {cold * 1000:.1f} ms, on a warm one {warm * 1000:.1f} ms\n")
