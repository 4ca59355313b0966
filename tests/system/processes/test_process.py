import os
import signal
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testgrove.core.secret import Secret
from testgrove.errors import PreconditionError, TestgroveError, UnavailableError
from testgrove.system.processes import process as module
from testgrove.system.processes.deferred_signals import DeferredSignals
from testgrove.system.processes.marks import Mark, marked
from testgrove.system.processes.process import Completed, run, run_bytes, scrubbed
from testgrove.system.processes.supervision import Job, Supervisor
from testgrove.system.processes.supervisor_pool import SupervisorPool, supervised_run

HERE = Path("/")
# 32 and 33 are the C library's own: make starts its children with them ignored, and nobody can change that.
LIBC_SIGNALS = 0b11 << 31


def wait_until(condition, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def everything_said(error: TestgroveError) -> str:
    return "".join(map(str, [*traceback.format_exception(error), error.hint, error.details, repr(error)]))


@pytest.fixture
def pool() -> Iterator[SupervisorPool]:
    made = SupervisorPool()
    yield made
    made.close()


# The environment


@pytest.mark.parametrize(
    "name",
    [
        "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_CONFIG_PARAMETERS",
        "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME",
        "__PYVENV_LAUNCHER__", "GIT_CONFIG_COUNT",
        "DATABASE_URL", "PGHOST", "PGSSLMODE", "REDIS_URL", "NEO4J_URI", "MYSQL_HOST", "PYTEST_ADDOPTS",
        "PYTEST_PLUGINS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "COV_CORE_SOURCE",
        "COVERAGE_PROCESS_START", "TESTGROVE_SESSION", "UV_PROJECT_ENVIRONMENT",
    ],
)  # fmt: skip
def test_what_points_somewhere_else_is_scrubbed(name):
    assert scrubbed({name: "x", "HOME": "/home/me"}) == {"HOME": "/home/me"}


@pytest.mark.parametrize(
    "name",
    [
        "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_TERMINAL_PROMPT", "GIT_SSL_CAINFO", "GIT_PROXY_COMMAND",
        "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_AUTHOR_NAME",
        "GIT_COMMITTER_EMAIL",
        "TESTGROVE_STATE_DIR", "HOME", "LANG", "UV_CACHE_DIR", "PYTHONUTF8", "PAGER",
    ],
)  # fmt: skip
def test_the_users_settings_are_kept(name):
    assert scrubbed({name: "x"}) == {name: "x"}


@pytest.mark.parametrize("beside", ["GIT_INDEX_FILE", "GIT_DIR"])
def test_the_author_that_git_sets_for_a_hook_is_scrubbed(beside):
    names = [f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL", "DATE")]
    assert scrubbed(dict.fromkeys([*names, beside, "GIT_SSH"], "x")) == {"GIT_SSH": "x"}
    assert scrubbed(dict.fromkeys(names, "x")) == dict.fromkeys(names, "x")


def test_the_inherited_environments_bin_leaves_the_path(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    (real / "bin").mkdir(parents=True)
    link.symlink_to(real)
    path = f"{link}/bin/:/usr/bin:{real}/bin:/bin"
    assert scrubbed({"VIRTUAL_ENV": str(link), "PATH": path})["PATH"] == "/usr/bin:/bin"
    assert scrubbed({"PATH": path})["PATH"] == path


def test_the_own_environment_is_a_copy_each_time():
    scrubbed()["HOME"] = "changed"
    assert scrubbed().get("HOME") != "changed"
    assert scrubbed() == scrubbed(os.environ)


# Short commands


def test_a_command_returns_what_it_wrote():
    assert run(["sh", "-c", "cat; echo error >&2"], input="wörds") == Completed(
        ("sh", "-c", "cat; echo error >&2"), 0, "wörds", "error\n"
    )


def test_by_default_a_command_reads_nothing_and_sees_a_scrubbed_environment(monkeypatch):
    monkeypatch.setenv("PGHOST", "production")
    module._own_environment.cache_clear()
    assert run(["sh", "-c", 'cat; echo "<$PGHOST>"']).stdout == "<>\n"
    assert run(["sh", "-c", 'echo "<$PGHOST>"'], env={"PGHOST": "ours"}).stdout == "<ours>\n"


def test_output_that_is_not_utf_8_comes_back_unchanged():
    done = run(["printf", r"a\377b"])
    assert os.fsencode(done.stdout) == b"a\xffb"
    assert run_bytes(["cat"], input=done.stdout).stdout == b"a\xffb"
    assert run_bytes(["cat"], input=b"\0\xff").stdout == b"\0\xff"


def test_a_large_output_does_not_block():
    assert len(run(["sh", "-c", "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"]).stdout) == 1_000_000


def test_a_failure_names_the_command_and_the_end_of_its_errors():
    with pytest.raises(UnavailableError, match=r"(?s)`sh -c .*` exited with status 3:.*line 99") as caught:
        run(["sh", "-c", "seq -f 'line %.0f' 99 >&2; exit 3"])
    error = caught.value
    assert error.code == "tool-failed"
    assert "line 50" not in error.message
    assert error.details["returncode"] == 3
    assert error.details["argv"] == ["sh", "-c", "seq -f 'line %.0f' 99 >&2; exit 3"]
    assert "line 50" in str(error.details["stderr"])


def test_unchecked_a_failure_is_a_value():
    assert run(["sh", "-c", "exit 3"], check=False).returncode == 3
    assert run(["sh", "-c", "kill -9 $$"], check=False).returncode == -9


def test_a_timeout_kills_the_whole_group(tmp_path):
    pids = tmp_path / "pids"
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"timed out after 0\.3 s:\nbusy") as caught:
        run(["sh", "-c", f"echo busy >&2; sleep 60 & echo $! $$ > {pids}; wait"], timeout=0.3)
    assert caught.value.code == "tool-timeout"
    assert time.monotonic() - began < 5
    wait_until(lambda: not [pid for pid in map(int, pids.read_text().split()) if alive(pid)])


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_interrupt_kills_the_command(tmp_path):
    code = f"""if True:
        import signal
        from testgrove.system.processes.process import run
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started us with &
        run(["sh", "-c", "sleep 0.2; echo $$ > {tmp_path}/pid; exec sleep 60"])
    """
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    process.send_signal(2)
    process.wait(5)
    wait_until(lambda: not alive(int((tmp_path / "pid").read_text())))


@pytest.mark.parametrize(
    ("argv", "cwd", "code", "named"),
    [
        (["no-such-tool", "x"], None, "tool-missing", "no-such-tool"),
        (["./no-such-tool"], "/", "tool-missing", "./no-such-tool"),
        (["true"], "/no/such/folder", "cwd-missing", "/no/such/folder"),
        (["/etc/passwd"], None, "command-not-executable", "/etc/passwd"),
        (["true", "a\0b"], None, "argument-invalid", "null byte"),
    ],
)
def test_what_cannot_be_run_is_a_precondition(argv, cwd, code, named):
    with pytest.raises(PreconditionError, match=named) as caught:
        run(argv, cwd=cwd)
    assert caught.value.code == code


def test_a_missing_interpreter_is_not_a_missing_script(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/no/such/python\n")
    script.chmod(0o755)
    on_path = {"PATH": str(tmp_path)}
    for start in (
        lambda: run([script]),
        lambda: run(["script"], env=on_path),
        lambda: start_and_close(Job(["./script"], tmp_path, {})),
        lambda: start_and_close(Job(["script"], HERE, on_path)),
    ):
        with pytest.raises(PreconditionError) as caught:
            start()
        assert caught.value.code == "interpreter-missing"


def start_and_close(job: Job) -> None:
    supervisor = Supervisor.start()
    try:
        supervisor.start_job(job)
    finally:
        supervisor.close()


def test_secrets_reach_the_child_and_no_message():
    word, value = Secret("s3cr" + "et-a"), Secret("s3cr" + "et-b")
    env = {"PATH": os.environ["PATH"], "TOKEN": value}
    show = ["sh", "-c", 'echo "$1 $TOKEN"', "sh", word]
    done = run(show, env=env)
    assert done.stdout == f"{word.reveal()} {value.reveal()}\n"
    assert done.argv[-1] == "********"
    for script, limit in (('echo "$1 $TOKEN" >&2; exit 1', 60.0), ('echo "$1 $TOKEN" >&2; sleep 60', 0.3)):
        with pytest.raises(UnavailableError) as caught:
            run(["sh", "-c", script, "sh", word], env=env, timeout=limit)
        said = everything_said(caught.value)
        assert "******** ********" in said
        assert word.reveal() not in said
        assert value.reveal() not in said


# Jobs


@pytest.mark.parametrize(
    ("argv", "cwd", "output", "code", "named"),
    [
        (["no-such-command"], "/", None, "command-not-found", "no-such-command"),
        (["/etc/passwd"], "/", None, "command-not-executable", "/etc/passwd"),
        (["true"], "/no/such/folder", None, "cwd-missing", "/no/such/folder"),
        (["true"], "/etc/passwd", None, "cwd-missing", "/etc/passwd"),
        (["true"], "/", "/no/such/folder/output", "output-refused", "true"),
        ([], "/", None, "command-not-executable", "''"),
    ],
)
def test_a_job_that_cannot_be_executed_is_a_precondition(argv, cwd, output, code, named):
    supervisor = Supervisor.start()
    with pytest.raises(PreconditionError, match=named) as caught:
        supervisor.start_job(Job(argv, Path(cwd), scrubbed(), Path(output) if output else None))
    assert caught.value.code == code
    supervisor.start_job(Job(["true"], HERE, scrubbed()))
    assert supervisor.wait(10).exit_code == 0
    supervisor.close()


def test_the_jobs_own_path_decides_which_command_it_is(tmp_path):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\nexit 9\n")
    tool.chmod(0o755)
    supervisor = Supervisor.start()
    supervisor.start_job(Job(["tool"], HERE, {"PATH": str(tmp_path)}))
    assert supervisor.wait(10).exit_code == 9
    supervisor.close()


def test_a_dead_supervisor_takes_no_job_and_says_so():
    supervisor = Supervisor.start()
    os.kill(supervisor.pid, 9)
    with pytest.raises(UnavailableError) as caught:
        supervisor.start_job(Job(["true"], HERE, scrubbed()))
    assert caught.value.code == "supervisor-lost"
    assert not supervisor.alive
    supervisor.close()


def test_a_supervisor_that_is_killed_loses_its_job_but_leaves_nothing():
    supervisor = Supervisor.start()
    supervisor.start_job(Job(["sh", "-c", "setsid env -i /bin/sleep 60 & exec sleep 60"], HERE, scrubbed()))
    wait_until(lambda: len(marked(supervisor.mark)) == 3)
    os.kill(supervisor.pid, 9)
    result = supervisor.wait(5)
    assert result.lost
    assert (result.exit_code, result.signal) == (None, None)
    assert marked(supervisor.mark) == []
    supervisor.close()


def test_a_large_environment_passes():
    supervisor = Supervisor.start()
    env = scrubbed() | {f"LARGE_{number}": "x" * 100_000 for number in range(8)}
    supervisor.start_job(Job(["sh", "-c", "exit ${#LARGE_7}"], HERE, env))
    assert supervisor.wait(10).exit_code == 100_000 % 256
    supervisor.close()


def test_closing_twice_is_harmless():
    supervisor = Supervisor.start()
    supervisor.close()
    supervisor.close()
    assert not supervisor.alive


# The pool


def test_an_idle_supervisor_is_reused_and_two_borrowers_have_two(pool):
    with pool.borrow() as first, pool.borrow() as second:
        assert first.pid != second.pid
    with pool.borrow() as again:
        assert again.pid in (first.pid, second.pid)


def test_each_mark_is_told_before_its_supervisor_starts():
    told: list[Mark] = []

    def record(mark: Mark) -> None:
        assert marked(mark) == []
        told.append(mark)

    pool = SupervisorPool(on_start=record)
    with pool.borrow() as supervisor:
        assert told == [supervisor.mark]
    with pool.borrow():
        assert len(told) == 1
    pool.close()


def test_a_supervisor_that_died_in_the_pool_is_replaced(pool):
    with pool.borrow() as first:
        pass
    os.kill(first.pid, 9)
    wait_until(lambda: not first.alive)
    with pool.borrow() as second:
        assert second.alive


def test_a_job_that_is_left_running_is_ended_with_its_supervisor(pool):
    with pool.borrow() as supervisor:
        supervisor.start_job(Job(["sleep", "60"], HERE, scrubbed()))
    assert marked(supervisor.mark) == []
    with pool.borrow() as other:
        assert other is not supervisor


def test_closing_ends_borrowed_supervisors_and_refuses_new_ones(pool):
    with pool.borrow() as supervisor:
        supervisor.start_job(Job(["sleep", "60"], HERE, scrubbed()))
        pool.close()
        assert supervisor.wait(5).cancelled
    assert marked(supervisor.mark) == []
    with pytest.raises(UnavailableError), pool.borrow():
        pass


def test_many_threads_share_a_pool(pool):
    done: list[str] = []

    def work(number: int) -> None:
        done.extend(supervised_run(pool, ["echo", str(number)]).stdout.strip() for _ in range(5))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(str(number) for number in range(4) for _ in range(5))


# Long tools


def test_a_tools_output_is_merged_in_order(pool, tmp_path):
    done = supervised_run(pool, ["sh", "-c", r"pwd; echo error >&2; printf '\377'"], cwd=tmp_path)
    assert done.returncode == 0
    assert os.fsencode(done.stdout) == os.fsencode(tmp_path) + b"\nerror\n\xff"
    assert done.stderr == ""


def test_a_tools_log_is_appended_to(pool, tmp_path):
    log = tmp_path / "log"
    assert supervised_run(pool, ["echo", "one"], log=log).stdout == "one\n"
    assert supervised_run(pool, ["echo", "two"], log=log).stdout == "two\n"
    assert log.read_text() == "one\ntwo\n"
    assert stat.S_IMODE(log.stat().st_mode) & 0o111 == 0


def test_a_tool_that_fails_shows_its_last_lines_without_secrets(pool):
    secret = Secret("s3cr" + "et")
    script = 'seq 99; echo "$1"; exit 3'
    with pytest.raises(UnavailableError, match=r"(?s)exited with status 3.*99\n\*{8}$") as caught:
        supervised_run(pool, ["sh", "-c", script, "sh", secret])
    assert caught.value.code == "tool-failed"
    assert secret.reveal() not in everything_said(caught.value)
    assert supervised_run(pool, ["sh", "-c", "exit 3"], check=False).returncode == 3
    assert supervised_run(pool, ["sh", "-c", "kill -TERM $$"], check=False).returncode == -15


def test_a_tool_is_ended_at_its_timeout_with_its_tree(pool):
    with pytest.raises(UnavailableError, match=r"timed out after 0\.3 s:\nso far") as caught:
        supervised_run(pool, ["sh", "-c", "echo so far; setsid sleep 60"], timeout=0.3)
    assert caught.value.code == "tool-timeout"
    with pool.borrow() as supervisor:
        assert [found.pid for found in marked(supervisor.mark)] == [supervisor.pid]


def test_a_tool_is_ended_when_it_is_cancelled(pool):
    cancel = threading.Event()
    timer = threading.Timer(0.2, cancel.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        supervised_run(pool, ["sleep", "60"], cancel=cancel)
    assert caught.value.code == "tool-cancelled"
    assert time.monotonic() - began < 5
    timer.join()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_tool_can_run_as_another_user(pool):
    assert supervised_run(pool, ["id", "-u"], cwd="/", user=(65534, 65534)).stdout == "65534\n"


def test_a_missing_tool_is_a_precondition(pool):
    with pytest.raises(PreconditionError, match="no-such-tool"):
        supervised_run(pool, ["no-such-tool"])
    assert supervised_run(pool, ["true"]).returncode == 0


def test_children_do_not_inherit_the_pipes_of_others(pool):
    with pool.borrow() as one, pool.borrow() as two:
        one.start_job(Job(["sleep", "60"], HERE, scrubbed()))
        two.start_job(Job(["sleep", "60"], HERE, scrubbed()))
        one.kill()  # closes our end of its stdin: if `two` held a copy, it would not notice
        assert one.wait(5).cancelled
        assert two.wait(0) is None


def test_importing_is_cheap():
    code = "import sys, testgrove.system.processes.process; print(*sys.modules)"
    loaded = set(run([sys.executable, "-c", code], env=dict(os.environ)).stdout.split())
    assert loaded.isdisjoint({"msgspec", "asyncio", "ctypes", "tempfile", "logging"})


def test_the_process_that_replaces_us_starts_with_default_signal_handlers():
    code = (
        "from pathlib import Path; from testgrove.system.processes.process import replace_process;"
        "replace_process(['grep', 'SigIgn', '/proc/self/status'], cwd=Path('/'), env={'PATH': '/usr/bin:/bin'})"
    )
    ignored = int(run([sys.executable, "-c", code], env=dict(os.environ)).stdout.split()[1], 16)
    assert ignored & ~LIBC_SIGNALS == 0


@pytest.mark.parametrize("moment", ["__init__", "__enter__"])
def test_a_signal_while_a_process_starts_ends_it_and_comes_afterwards(monkeypatch, moment):
    """The window is a millisecond: here the signal is sent at the end of the constructor, and at the block's start."""
    inner, started = getattr(subprocess.Popen, moment), []

    def interrupted(self, *arguments, **named):
        result = inner(self, *arguments, **named)
        started.append(self.pid)
        os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(subprocess.Popen, moment, interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            run(["sleep", "60"])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert [psutil.pid_exists(pid) for pid in started] == [False]


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_a_signal_while_handlers_change_leaves_none_of_them_behind(monkeypatch, after):
    """Each handler is exchanged, then put back; a signal comes after any of these steps."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    exchange, done = signal.signal, []

    def exchanging(number, handler):
        result = exchange(number, handler)
        done.append(number)
        if len(done) == after:
            os.kill(os.getpid(), signal.SIGINT if after > len(numbers) else numbers[-1])
        return result

    try:
        with monkeypatch.context() as patch:
            patch.setattr(signal, "signal", exchanging)
            with pytest.raises(KeyboardInterrupt), DeferredSignals():
                pass
        assert {signal.getsignal(number) for number in numbers} == {signal.default_int_handler}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_dismissed_supervisors_end_and_others_take_their_place(pool):
    pool.start_ahead(1)
    with pool.borrow() as first:
        assert supervised_run(pool, ["true"]).returncode == 0
    pool.dismiss()
    with pool.borrow() as second:
        assert second.mark != first.mark
        assert second.alive
    assert second.mark in pool.close()
    assert not first.alive


def test_what_was_started_and_not_finished_is_killed():
    with module.Started(["sleep", "60"]) as started:
        pid = started._process.pid
    assert not psutil.pid_exists(pid)
    with module.Started(["cat"], input="text") as started:
        assert started.finish().stdout == b"text"
