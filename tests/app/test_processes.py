"""Application processes of suites: ready by what they themselves answer, gone with the attempt, kept in the reports."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import local_packages
from faults.tricky import kill, supervisors_of
from grove import Grove, new_base, plant, said, uproot

SERVER = """
import http.server, os, sys, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    started = time.monotonic()
    def do_GET(self):
        warm = time.monotonic() - self.started > 0.3
        self.send_response(200 if warm or self.path != "/health" else 503)
        self.end_headers()
        self.wfile.write(f"{os.environ['WORKTREE_ID']} {os.environ.get('GREETING')} {os.getpid()}".encode())

print("about to listen", flush=True)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("listening", flush=True)
server.serve_forever()
"""
ASK = """
import os, sys, urllib.request
for name in sys.argv[1:]:
    with urllib.request.urlopen(os.environ[name].replace("tcp:", "http:"), timeout=10) as answer:
        words = answer.read().decode().split()
    assert words[0] == os.environ["WORKTREE_ID"], words
    print("answered", words)
"""
FILES = {
    "README.md": "A project.\n",
    ".gitignore": "*.flag\n",
    "server.py": SERVER,
    "ask.py": ASK,
    "wait.py": "import os, signal\nprint(os.getpid(), flush=True)\nsignal.pause()\n",
    "fail.py": "import sys\nprint('no such table: users')\nsys.exit(3)\n",
    "later.py": "import os, time\nwhile not os.path.exists('die.flag'): time.sleep(0.01)\nprint('dying')\nexit(4)\n",
    "background.py": "import os, signal\nif os.fork(): os._exit(0)\nos.setsid()\nsignal.pause()\n",
    "kill-it.sh": "touch die.flag\nwhile pgrep -f 'python later[.]py' > /dev/null; do sleep 0.01; done\n",
}
CONFIG = """
[processes.web]
command = "python server.py ${{APP_PORT}}"
ready = "http://127.0.0.1:${{APP_PORT}}/health"
env = {{ GREETING = "hello ${{WORKTREE_ID}}" }}
[processes.plain]
command = "python server.py $API_PORT"
ready = "tcp://127.0.0.1:${{API_PORT}}"
[processes.logged]
command = "echo first line; exec python server.py ${{DB_PORT}}"
ready = 'log:^listen\\w+$'
[processes.asked]
command = "python wait.py"
ready = "command:test -n \\"$WEB_URL\\" && touch asked.flag"
[processes.fails]
command = "python fail.py"
ready = "log:never"
[processes.never]
command = "python wait.py"
ready = "tcp://127.0.0.1:${{APP_PORT}}"
timeout = 0.6
[processes.later]
command = "python later.py"
ready = "command:true"
[processes.background]
command = "python background.py"
ready = "log:never"
[processes.missing]
command = "no-such-server --port 1"
ready = "command:true"
[processes.stale]
command = "python wait.py"
ready = "http://127.0.0.1:{stale}/"

[suites.good]
command = "python ask.py WEB_URL PLAIN_URL"
ports = true
processes = ["web", "plain", "logged", "asked"]
[suites.fails]
command = "true"
ports = true
processes = ["web", "fails"]
[suites.never]
command = "true"
ports = true
processes = ["never"]
[suites.later]
command = "sh kill-it.sh"
processes = ["later"]
[suites.background]
command = "true"
processes = ["background"]
[suites.missing]
command = "true"
processes = ["missing"]
[suites.stale]
command = "true"
processes = ["stale"]
[suites.red]
command = "sh -c 'echo no; exit 1'"
ports = true
processes = ["web"]
retries = 1
"""


class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def stranger(port: int = 0):
    """A server of this process, which is not testgrove's, that answers 200."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Ok) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def story():
    base = new_base()
    with stranger() as port:
        grove = plant(base, files=FILES, config=CONFIG.format(stale=port), variables=local_packages.settings())
        done = grove.run("test", "-j", "3", check=False)
        folder = grove.runs()[-1]
        yield grove, done, folder, json.loads((folder / "report.json").read_text())
    uproot(base)


in_one_run = pytest.mark.xdist_group("processes")


@pytest.fixture
def cells(story):
    return {cell["key"]: cell for cell in story[3]["cells"]}


def by_name(cell: dict) -> dict[str, dict]:
    return {process["name"]: process for process in cell["processes"]}


@in_one_run
def test_http_tcp_log_and_command_readiness(story, cells):
    good = cells["good"]
    assert good["status"] == "passed", good
    processes = by_name(good)
    assert list(processes) == ["web", "plain", "logged", "asked"]
    assert processes["web"]["ready"] >= 0.3, "it answered 503 until then"
    assert all(process["ready"] is not None and not process["reason"] for process in processes.values())
    log = (story[2] / processes["logged"]["log"]).read_text()
    assert log.splitlines()[:3] == ["first line", "about to listen", "listening"]
    assert "127.0.0.1" in (story[2] / processes["web"]["log"]).read_text(), "the log of the requests is kept"


@in_one_run
def test_each_starts_once_the_one_before_is_ready(cells):
    started = [process["started"] for process in cells["good"]["processes"]]
    assert started == sorted(started)
    assert "processes" in [phase["phase"] for phase in cells["good"]["phases"]]


@in_one_run
def test_a_process_that_dies_while_it_starts_is_an_error_with_its_last_lines(cells):
    cell = cells["fails"]
    assert cell["status"] == "error"
    assert "process fails exited with status 3 while it started" in cell["reason"]
    assert "no such table: users" in cell["reason"]
    assert "no such table: users" in by_name(cell)["fails"]["tail"]
    assert cell["attempts"] == [], "the suite did not start"


@in_one_run
def test_a_process_that_is_never_ready_is_an_error_that_says_what_was_waited_for(cells):
    cell = cells["never"]
    assert cell["status"] == "error"
    assert "was not ready within 0.6 s: nothing listens on port" in cell["reason"]
    assert "processes.never.timeout" in cell["hint"]
    waits = [phase["reason"] for phase in cell["phases"] if phase["phase"] == "processes"]
    assert any(reason.startswith("never: nothing listens") for reason in waits), "the wait showed no reason"


@in_one_run
def test_a_process_that_dies_in_the_middle_makes_the_outcome_say_so(cells):
    cell = cells["later"]
    assert (cell["status"], cell["attempts"][0]["exit_code"]) == ("error", 0)
    assert cell["reason"].startswith("process later exited with status 4 while the suite ran")
    assert by_name(cell)["later"]["tail"] == "dying"


@in_one_run
def test_a_process_that_goes_into_the_background_is_told_not_to(cells):
    assert "went into the background" in cells["background"]["reason"]


@in_one_run
def test_a_command_that_is_not_there_is_an_error(cells):
    assert cells["missing"]["reason"] == "command 'no-such-server' not found"


@in_one_run
def test_a_leftover_server_that_answers_is_found_out_and_named(cells):
    cell = cells["stale"]
    assert cell["status"] == "error"
    assert f"pid {os.getpid()} (`" in cell["reason"]
    assert "listens on it" in cell["reason"]
    assert cell["hint"] == f"kill {os.getpid()}"
    assert cell["processes"] == [], "nothing was started"


@in_one_run
def test_every_attempt_has_processes_and_logs_of_its_own(story, cells):
    processes = cells["red"]["processes"]
    assert [(process["name"], process["attempt"]) for process in processes] == [("web", 1), ("web", 2)]
    logs = [story[2] / process["log"] for process in processes]
    assert [log.relative_to(story[2]).parts[1] for log in logs] == ["processes", "processes-2"]
    assert all("listening" in log.read_text() for log in logs)


@in_one_run
def test_the_page_shows_the_logs(story):
    page = (story[2] / "report.html").read_text()
    assert '<a href="./test-red-tree/processes-2/web.log">web</a>' in page
    assert "Process fails: process fails exited with status 3" in page
    assert "no such table: users" in page


@in_one_run
def test_nothing_is_left_of_any(story):
    grove, done, *_ = story
    assert done.returncode == 1
    grove.auditor().assert_no_leftovers()


WAITING = """
[processes.tricky]
command = "python tricky.py"
ready = "tcp://127.0.0.1:${APP_PORT}"
[suites.waits]
command = "python wait.py"
ports = true
processes = ["tricky"]
"""
TRICKY = """
import os, signal, socket, sys
server = socket.create_server(("127.0.0.1", int(os.environ["APP_PORT"])))
for kind in ("plain", "group", "daemon"):
    if os.fork() == 0:
        if kind == "group":
            os.setpgid(0, 0)
        if kind == "daemon":
            os.setsid()
            if os.fork():
                os._exit(0)
            os.chdir("/")
            os.execve(sys.executable, [sys.executable, "-c", "import signal; signal.pause()"], {})
        break
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    signal.pause()
"""


@pytest.fixture
def waiting(grove):
    """A run whose suite waits for ever, beside a process with children that do not want to end."""
    project = grove(files=FILES | {"tricky.py": TRICKY}, config=WAITING, variables=local_packages.settings())
    run = project.start("test")
    deadline = time.monotonic() + 60
    while not suite_runs(project) or len(of(project)) < 4:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return project, run


def suite_runs(project: Grove) -> bool:
    return any(log.read_text() for log in project.artifacts.glob("2*/test-waits-tree/output.log"))


def of(project: Grove) -> list[str]:
    """The processes of `tricky`, as the auditor sees them."""
    lines = project.auditor().audit().processes
    return [line for line in lines if "tricky.py" in line or "signal.pause()" in line]


def settle(project: Grove, within: float = 2.0) -> None:
    deadline = time.monotonic() + within
    while found := project.auditor().audit().processes:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_nothing_is_left_when_testgrove_is_killed(waiting):
    project, run = waiting
    kill(run)
    settle(project)
    project.run("list")
    report = json.loads((project.runs()[-1] / "report.json").read_text())
    assert [process["name"] for process in report["cells"][0]["processes"]] == ["tricky"], "its log is named still"
    project.auditor().assert_no_leftovers()


def test_nothing_is_left_when_supervisors_are_killed(waiting):
    project, run = waiting
    kill(*supervisors_of(run))
    out, err = run.communicate(timeout=30)
    assert run.returncode == 1, out + err
    project.auditor().assert_no_leftovers()


def test_a_process_whose_supervisor_alone_is_killed_makes_the_outcome_say_so(waiting):
    project, run = waiting
    with_child = {supervisor: supervisor.children() for supervisor in supervisors_of(run)}
    (victim,) = [s for s, children in with_child.items() if any("tricky.py" in " ".join(c.cmdline()) for c in children)]
    kill(victim)
    while victim.is_running() and victim.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.002)
    (suite,) = [c for children in with_child.values() for c in children if "wait.py" in " ".join(c.cmdline())]
    suite.kill()
    out, err = run.communicate(timeout=30)
    assert "process tricky was killed with its supervisor while the suite ran" in out, out + err
    project.auditor().assert_no_leftovers()


@pytest.mark.slow
def test_a_process_that_ignores_term_is_ended_with_all_that_it_daemonised(waiting):
    project, run = waiting
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert run.returncode in (130, -signal.SIGINT), out + err
    project.auditor().assert_no_leftovers()


def test_a_server_that_takes_the_port_while_ours_starts_is_found_out(grove):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = f"""
[processes.slow]
command = "sh -c 'touch started.flag; exec python wait.py'"
ready = "http://127.0.0.1:{port}/"
[suites.one]
command = "true"
processes = ["slow"]
"""
    project = grove(files=FILES, config=config, variables=local_packages.settings())
    run = project.start("test")
    deadline = time.monotonic() + 60
    while not list(project.root.glob("*/started.flag")):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with stranger(port):
        out, err = run.communicate(timeout=30)
    assert f"process slow cannot use port {port}: pid {os.getpid()}" in out, out + err
    project.auditor().assert_no_leftovers()


def test_ctrl_c_while_a_process_starts_ends_the_run_at_once(grove):
    config = '[processes.slow]\ncommand = "python wait.py"\nready = "log:never"\n'
    project = grove(files=FILES, config=config + '[suites.one]\ncommand = "true"\nprocesses = ["slow"]\n')
    run = project.start("test")
    deadline = time.monotonic() + 60
    while not (logs := list(project.artifacts.glob("2*/*/processes/slow.log"))) or not logs[0].read_text():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    began = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert "one: cancelled" in out, out + err
    assert time.monotonic() - began < 4
    assert not psutil.pid_exists(int(logs[0].read_text()))
    project.auditor().assert_no_leftovers()


def test_a_reference_to_what_the_worktree_does_not_have_is_an_error(grove):
    config = """
[services.postgres]
[processes.api]
command = "serve ${DATABASE_URL}"
ready = "log:x"
[suites.one]
command = "true"
processes = ["api"]
"""
    project = grove(files=FILES, config=config, variables=local_packages.settings())
    done = project.run("test", check=False)
    assert done.returncode == 1
    assert "'processes.api.command': variable '${DATABASE_URL}' not found in this worktree" in done.stdout


def test_the_log_is_there_while_the_process_runs(waiting):
    project, run = waiting
    (log,) = project.artifacts.glob("2*/test-waits-tree/processes/tricky.log")
    assert log == Path(project.runs()[-1]) / "test-waits-tree/processes/tricky.log"
    kill(run)
    project.run("list")


ASKS_FIXTURE = """
import urllib.request

def test_it(process_urls, worktree):
    with urllib.request.urlopen(process_urls["web"] + "/") as answer:
        assert worktree.id in answer.read().decode()
    assert list(process_urls) == ["web"]
"""


@pytest.mark.slow
def test_the_fixture_names_the_urls_of_the_suites_processes_alone(grove):
    config = CONFIG.split("[processes.logged]", maxsplit=1)[0].replace("{{", "{").replace("}}", "}")
    config += '[suites.one]\ncommand = "pytest -q tests"\nports = true\nprocesses = ["web"]\n'
    project = grove(
        files={**FILES, "tests/test_api.py": ASKS_FIXTURE, "requirements.txt": "pytest\n"},
        config=config,
        variables=local_packages.settings(),
    )
    done = project.run("test", check=False)
    assert done.returncode == 0, said(done)
