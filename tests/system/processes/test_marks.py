import os
import resource
import signal
import subprocess
import sys
import time

import psutil
import pytest

from testgrove.errors import TestgroveError
from testgrove.system.processes import marks
from testgrove.system.processes.marks import RLIMIT_LOCKS, Mark, end_marked, is_zombie, mark_of, marked, marks_of

# A process that marks itself, shows its pid, and then becomes the command that it was given.
MARKER = """
import os, sys
from testgrove.system.processes.marks import Mark
Mark.parse(sys.argv[1]).apply()
print(os.getpid(), flush=True)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def start(mark: Mark, *command: str, **options: object) -> subprocess.Popen[str]:
    """Start a command that carries a mark; returns when it is marked."""
    process = subprocess.Popen(
        [sys.executable, "-c", MARKER, str(mark), *command], stdout=subprocess.PIPE, text=True, **options
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def wait_until(condition, timeout: float = 5.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def finish(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=5)
    return process.returncode


def pids(mark: Mark) -> set[int]:
    return {process.pid for process in marked(mark)}


def test_a_key_brings_its_mark_back():
    mark = Mark.new()
    assert Mark.parse(str(mark)) == mark
    assert 0 < mark.value < 2**63


@pytest.mark.parametrize("key", ["", "x", "00", "0" * 15, "-" + "0" * 13, "0X" + "0" * 12, "../../../../.."])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(TestgroveError):
        Mark.parse(key)


def test_new_marks_differ_and_descend():
    made = [Mark.new().value for _ in range(100)]
    assert made == sorted(made, reverse=True)
    assert len(set(made)) == 100


def test_processes_that_start_at_the_same_moment_make_different_marks():
    code = "from testgrove.system.processes.marks import Mark; print(Mark.new())"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(8)]
    assert len({process.communicate()[0] for process in processes}) == 8


@pytest.mark.parametrize(
    "command",
    [
        ["sleep", "60"],
        ["setsid", "-w", "sleep", "60"],
        ["env", "-i", "/bin/sleep", "60"],
        ["sh", "-c", "(setsid sleep 60 &) ; exec sleep 60"],
    ],
    ids=["plain", "session", "environment", "orphan"],
)
def test_a_mark_survives(command):
    mark = Mark.new()
    process = start(mark, *command)
    sleepers = 2 if "sh" in command else 1
    wait_until(lambda: sum(found.command.startswith(("sleep", "/bin/sleep")) for found in marked(mark)) == sleepers)
    processes = [psutil.Process(pid) for pid in pids(mark)]
    ended = end_marked(mark)
    assert {found.pid for found in ended} == {found.pid for found in processes}
    assert marked(mark) == []
    finish(process)
    assert not [found for found in processes if found.is_running() and not is_zombie(found.pid)]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_mark_survives_setuid():
    mark = Mark.new()
    process = start(mark, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "60")
    wait_until(lambda: any(psutil.Process(pid).uids().real == 65534 for pid in pids(mark)))
    assert [found.pid for found in end_marked(mark)] == [process.pid]
    assert finish(process) == -signal.SIGKILL


def test_a_nested_process_is_found_by_the_outer_and_the_inner_mark():
    outer, inner = Mark.new(), Mark.new()
    process = start(outer, sys.executable, "-c", MARKER, str(inner), "sleep", "60")
    wait_until(lambda: pids(inner))
    assert pids(outer) == pids(inner) == {process.pid}
    assert marks_of(process.pid) == (inner, outer)
    assert mark_of(process.pid) == inner
    end_marked(outer)
    finish(process)


def test_a_nested_mark_is_lower_than_a_carried_one_whatever_the_clock_says():
    code = """if True:
        import time
        from testgrove.system.processes.marks import Mark
        outer = Mark.new(); outer.apply()
        import testgrove.system.processes.marks as marks
        marks._previous = 1 << 34  # as in a new process
        time.time = lambda: 1e9
        inner = Mark.new(); inner.apply()
        assert inner.value < outer.value
        assert marks.marks_of(__import__("os").getpid()) == (inner, outer)
    """
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
    assert subprocess.run([*drop, sys.executable, "-c", code], check=False).returncode == 0


def test_the_two_kinds_do_not_displace_each_other():
    run, own = Mark.new(), Mark.new()
    code = f"""if True:
        import time
        from testgrove.system.processes.marks import Mark
        Mark.parse("{own}").apply({RLIMIT_LOCKS})
        print("ready", flush=True)
        time.sleep(60)
    """
    process = start(run, sys.executable, "-c", code)
    wait_until(lambda: pids(own))
    assert marks_of(process.pid) == (own, run)
    end_marked(own)
    finish(process)


def test_a_hard_limit_that_is_in_the_way_is_an_error_not_a_traceback():
    code = """if True:
        import os, resource
        from testgrove.system.processes.marks import Mark
        from testgrove.errors import PreconditionError
        resource.setrlimit(15, (1000, 1000))
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            Mark.new().apply()
        except PreconditionError as error:
            raise SystemExit(error.code)
    """
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr.strip() == "mark-refused"


def test_term_comes_first_where_there_is_grace():
    mark = Mark.new()
    process = start(mark, "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert end_marked(mark, grace=5.0)
    assert finish(process) == 7


def test_what_ignores_term_is_killed_after_the_grace():
    mark = Mark.new()
    process = start(mark, "sh", "-c", "trap '' TERM; echo ready; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    assert [found.pid for found in end_marked(mark, grace=0.3)] == [process.pid]
    assert time.monotonic() - began >= 0.3
    assert finish(process) == -signal.SIGKILL


def test_a_stopped_process_is_ended():
    mark = Mark.new()
    process = start(mark, "sleep", "60")
    os.kill(process.pid, signal.SIGSTOP)
    assert end_marked(mark, grace=2.0)
    assert finish(process) == -signal.SIGTERM


def test_excluded_processes_and_others_are_left_alone():
    mark, other = Mark.new(), Mark.new()
    kept, doomed, stranger = (
        start(mark, "sleep", "60"),
        start(mark, "sleep", "60"),
        start(other, "sleep", "60"),
    )
    assert {found.pid for found in marked(mark, exclude={kept.pid})} == {doomed.pid}
    assert [found.pid for found in end_marked(mark, exclude={kept.pid})] == [doomed.pid]
    assert kept.poll() is None
    assert stranger.poll() is None
    for each in (mark, other):
        end_marked(each)
    for process in (kept, doomed, stranger):
        assert finish(process) == -signal.SIGKILL


def test_the_calling_process_ends_all_but_itself():
    code = """if True:
        import subprocess
        from testgrove.system.processes.marks import Mark, end_marked, marked
        mark = Mark.new(); mark.apply()
        child = subprocess.Popen(["sleep", "60"])
        assert len(marked(mark)) == 2
        assert [found.pid for found in end_marked(mark)] == [child.pid]
        assert end_marked(mark) == []
        child.wait()
    """
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=20).returncode == 0


def test_a_zombie_is_not_alive_but_keeps_its_mark():
    mark = Mark.new()
    process = start(mark, "true")
    wait_until(lambda: is_zombie(process.pid))
    assert marked(mark) == []
    assert end_marked(mark) == []
    assert marks_of(process.pid) == (mark,)
    finish(process)
    assert not is_zombie(process.pid)


def test_a_process_whose_first_thread_has_ended_is_alive():
    code = """if True:
        import ctypes, threading, time
        threading.Thread(target=time.sleep, args=(60,)).start()
        ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[__import__("os").uname().machine], 0)
    """
    mark = Mark.new()
    process = start(mark, sys.executable, "-c", code)
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert [found.pid for found in end_marked(mark)] == [process.pid]
    assert finish(process) == -signal.SIGKILL


def test_a_process_that_hops_from_pid_to_pid_is_caught(monkeypatch):
    listed = marks._all_pids

    def slowly():  # as on a machine with thousands of processes
        pids = listed()
        time.sleep(0.02)
        return pids

    monkeypatch.setattr(marks, "_all_pids", slowly)
    code = """if True:
        import os, time
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
    """
    mark = Mark.new()
    process = start(mark, sys.executable, "-S", "-c", code)
    wait_until(lambda: is_zombie(process.pid))
    end_marked(mark)
    cursor = marks._newest_pid()
    finish(process)
    time.sleep(0.05)  # a hopper that was missed would be some hundred pids away by now
    assert marked(mark) == []
    assert not [pid for pid in range(cursor + 1, marks._newest_pid() + 1) if mark in marks_of(pid)]


def test_a_tree_that_grows_while_it_is_killed_is_beaten():
    code = """if True:
        import os, time
        end = time.monotonic() + 20
        while time.monotonic() < end:  # leaves sleepers behind
            if os.fork() == 0:
                time.sleep(20)
                os._exit(0)
            time.sleep(0.002)
    """
    mark = Mark.new()
    process = start(mark, sys.executable, "-c", code)
    wait_until(lambda: len(marked(mark)) > 20)
    end_marked(mark)
    assert marked(mark) == []
    finish(process)
    time.sleep(0.1)  # whatever was missed would show now
    assert marked(mark) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_what_cannot_be_ended_is_named():
    mark = Mark.new()
    process = start(mark, "sleep", "60")
    code = f"""if True:
        import os
        from testgrove.errors import UnavailableError
        from testgrove.system.processes.marks import Mark, end_marked
        os.setuid(65534)
        try:
            end_marked(Mark.parse("{mark}"), timeout=0.3)
        except UnavailableError as error:
            print(error.code, error.message)
    """
    shown = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=20)
    assert shown.stdout.startswith("processes-survive")
    assert f"{process.pid} sleep 60" in shown.stdout
    assert process.poll() is None
    end_marked(mark)
    finish(process)


def test_a_scan_takes_milliseconds():
    mark = Mark.new()
    began = time.perf_counter()
    for _ in range(20):
        marked(mark)
    scan = (time.perf_counter() - began) / 20 * 1000
    sys.stdout.write(f"a scan over {len(psutil.pids())} processes: {scan:.2f} ms\n")


def test_without_descriptors_a_process_is_not_taken_for_gone():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            marks_of(os.getpid())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
