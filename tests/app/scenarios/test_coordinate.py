"""`testgrove coordinate` as its user types it: graphs across worktrees that never hang and always report."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import needs
from auditor import git
from grove import MAKE_A_TABLE, Grove, new_base, plant, said, uproot

PASSES = "def test_it(): pass\n"
FAILS = "def test_it(): assert 1 == 2\n"
FLAKY = """
from pathlib import Path
def test_it():
    seen = Path("seen")
    if not seen.exists():
        seen.touch()
        assert False, "the first time"
"""
KILLS = "import os, signal\ndef test_it(): os.kill(os.getpid(), signal.SIGKILL)\n"
DAEMON = """
import subprocess, sys
def test_it():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
"""
DEAF = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef test_it(): time.sleep(600)\n"
LOUD = "def test_it():\n    for _ in range({}):\n        print('x' * 1023)\n"
FILES = {
    ".gitignore": "seen\n",
    "README.md": "A project.\n",
    "tests/test_passes.py": PASSES,
    "tests/test_fails.py": FAILS,
    "tests/test_flaky.py": FLAKY,
    "tests/test_kills.py": KILLS,
    "tests/test_daemon.py": DAEMON,
    "tests/test_deaf.py": DEAF,
    "tests/test_hangs.py": "import time\ndef test_it(): time.sleep(600)\n",
    "tests/test_loud.py": LOUD.format(20_000),
    "tests/test_very_loud.py": LOUD.format(200_000),
}


def scenario(name: str, worktree: str = "one", **fields: Any) -> dict[str, Any]:
    test = {} if "command" in fields else {"test_file": f"tests/test_{fields.pop('test', 'passes')}.py"}
    return {"name": name, "worktree": worktree, **test, **fields}


def write(grove: Grove, *scenarios: dict[str, Any]) -> None:
    (grove.repo / "scenarios.json").write_text(json.dumps({"scenarios": scenarios}))


def coordinate(grove: Grove, *words: str, status: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Worktrees without an environment of their own use the active one: this one."""
    active = {"VIRTUAL_ENV": sys.prefix, **options.pop("env", {})}
    done = grove.run("coordinate", *words, check=False, env=active, **options)
    assert done.returncode == status, said(done)
    return done


def outcomes(grove: Grove) -> dict[str, str]:
    return {cell["key"]: cell["status"] for cell in report(grove)["cells"]}


def report(grove: Grove) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((grove.artifacts / "latest" / "report.json").read_text())
    return document


def reasons(grove: Grove) -> dict[str, str]:
    return {cell["key"]: cell["reason"] for cell in report(grove)["cells"]}


def documented(grove: Grove) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((grove.artifacts / "latest" / "integration_report.json").read_text())
    return document


def add_worktree(grove: Grove, name: str, branch: str) -> Path:
    path = grove.root / name
    grove.root.mkdir(exist_ok=True)
    grove.git("worktree", "add", "--quiet", "-b", branch, str(path))
    return path


@pytest.fixture(scope="module")
def shared():
    """A project with two worktrees that its user has made; every test brings a scenario file of its own."""
    base = new_base()
    made = plant(base, files=FILES)
    for name in ("one", "two"):
        add_worktree(made, name, f"feature/{name}")
    yield made
    uproot(base)


@pytest.fixture
def home(shared):
    for name in ("one", "two"):
        (shared.root / name / "seen").unlink(missing_ok=True)
    return shared


@pytest.mark.slow
def test_a_graph_runs_in_order_and_every_scenario_ends_once(home):
    write(
        home,
        scenario("after", dependencies=["first"]),
        scenario("first", tags=["x"], description="The first"),
        scenario("bad", "two", test="fails", retries=1),
        scenario("hangs-on-bad", "one", dependencies=["bad"]),
        scenario("and-on-that", "two", dependencies=["hangs-on-bad"]),
        scenario("teardown", "two", dependencies=["bad"], always=True, command="true"),
        scenario("flaky", "one", test="flaky", retry_count=1),
    )
    coordinate(home, "-j", "2", "--report", "out.json", status=1)
    assert outcomes(home) == {
        "first": "passed",
        "after": "passed",
        "bad": "failed",
        "hangs-on-bad": "skipped",
        "and-on-that": "skipped",
        "teardown": "passed",
        "flaky": "flaky",
    }
    assert reasons(home)["and-on-that"] == "bad failed"
    cells = {cell["key"]: cell for cell in report(home)["cells"]}
    assert [len(cells[name]["attempts"]) for name in ("bad", "flaky", "first")] == [2, 2, 1]
    assert cells["after"]["attempts"][0]["started"] > cells["first"]["attempts"][0]["started"]
    written = json.loads((home.repo / "out.json").read_text())
    assert written == documented(home)
    assert written["summary"] == written["summary"] | {
        "total": 7, "passed": 4, "failed": 1, "skipped": 2, "errors": 0, "success_rate": 57.14,
    }  # fmt: skip
    assert written["by_worktree"] == {
        "one": {"total": 4, "passed": 3, "failed": 0},
        "two": {"total": 3, "passed": 1, "failed": 1},
    }
    assert [each["name"] for each in written["failures"]] == ["bad"]
    assert "assert 1 == 2" in written["failures"][0]["output"]
    keys = ["schema_version", "summary", "by_worktree", "failures", "resource_leaks", "timestamp"]
    assert list(written) == keys


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "4"])
def test_whatever_a_scenario_does_it_ends_with_a_status_and_a_report(home, workers):
    write(
        home,
        scenario("kills", "one", test="kills"),
        scenario("daemon", "two", test="daemon"),
        scenario("deaf", "one", test="deaf", timeout=2),
        scenario("loud", "two", test="loud"),
        scenario("hangs", "two", test="hangs", timeout=2),
        scenario("missing", "one", test="there_is_none"),
        scenario("unknown", "two", command="no-such-command-anywhere"),
    )
    coordinate(home, "--workers", workers, status=1)
    found = outcomes(home)
    assert found == {
        "kills": "error",
        "daemon": "passed",
        "deaf": "error",
        "loud": "passed",
        "hangs": "error",
        "missing": "error",
        "unknown": "error",
    }
    assert "signal 9" in reasons(home)["kills"]
    assert "timed out after 2 s" in reasons(home)["deaf"]
    assert "timed out after 2 s" in reasons(home)["hangs"]
    assert [leak["scenario"] for leak in documented(home)["resource_leaks"]] == ["daemon"]
    assert (home.artifacts / "latest" / "loud" / "output.log").exists()
    assert home.auditor().audit().processes == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "4"])
def test_two_hundred_megabytes_are_kept_and_shown_in_part(home, workers):
    write(home, scenario("loud", test="very_loud"), scenario("more", "two", command="yes | head -c 200000000"))
    coordinate(home, "-j", workers, "--quiet")
    latest = home.artifacts / "latest"
    assert outcomes(home) == {"loud": "passed", "more": "passed"}
    assert (latest / "more" / "output.log").stat().st_size == 200_000_000
    assert sum(path.stat().st_size for path in latest.glob("*.json")) < 5_000_000


@pytest.mark.slow
def test_a_run_in_which_all_hang_ends_at_the_timeouts(home):
    write(
        home, *[scenario(f"{n}", name, test="hangs", timeout=2, shareable=True) for n in range(3) for name in ("one",)]
    )
    began = time.monotonic()
    coordinate(home, "-j", "3", status=1)
    assert set(outcomes(home).values()) == {"error"}
    assert time.monotonic() - began < 2 + 30


@pytest.mark.slow
def test_a_runs_own_timeout_ends_what_runs_and_starts_nothing_more(home):
    write(home, scenario("hangs", test="hangs"), scenario("waits"))
    coordinate(home, "--timeout", "2", status=1)
    assert outcomes(home) == {"hangs": "error", "waits": "cancelled"}
    assert reasons(home)["hangs"] == "the run's timeout of 2 s was over"
    assert documented(home)["summary"]["skipped"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--fail-fast",), ("--max-fail", "1")])
def test_after_a_failure_nothing_more_starts_but_teardown(home, words):
    write(
        home,
        scenario("bad", test="fails"),
        scenario("last", dependencies=["bad"], always=True, command="true"),
        scenario("other", "one", dependencies=["last"]),
    )
    coordinate(home, "-j", "1", *words, status=1)
    assert outcomes(home) == {"bad": "failed", "last": "passed", "other": "cancelled"}
    assert "stopped after 1 failed: bad" in reasons(home)["other"]


@pytest.mark.parametrize(
    ("scenarios", "words", "status", "said_so"),
    [
        ([scenario("a", dependencies=["b"]), scenario("b", dependencies=["a"])], (), 2, "a -> b -> a"),
        ([scenario("a"), scenario("a")], (), 2, "duplicate name"),
        ([scenario("a", dependencies=["gone"])], (), 2, "dependency 'gone' not found"),
        ([scenario("a", "nowhere")], (), 3, "nowhere not found"),
        ([scenario("a", tiemout=1)], (), 2, "unknown field"),
        ([scenario("a")], ("--filter-tag", "none"), 2, "no scenario matches tag none"),
        ([], (), 2, "has no scenarios"),
        ([scenario("a")], ("-j", "0"), 2, "expected a number from 1"),
        ([scenario("a")], ("--fail-fast", "--max-fail", "2"), 2, "--fail-fast cannot be combined with --max-fail"),
        ([scenario("a")], ("--resume", "20010101"), 3, "run"),
        ([scenario("a")], ("--pull-from", "no-such-ref"), 3, "no-such-ref"),
        ([scenario("a")], ("--pull-from", ""), 2, "--pull-from must not be empty"),
        ([scenario("a")], ("--resume", ""), 2, "--resume must not be empty"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(home, scenarios, words, status, said_so):
    write(home, *scenarios)
    before = home.runs()
    done = coordinate(home, *words, status=status)
    assert said_so in done.stderr
    assert home.runs() == before


@pytest.mark.slow
def test_filters_take_what_is_needed_along(home):
    write(
        home,
        scenario("base"),
        scenario("chosen", "two", tags=["critical"], dependencies=["base"]),
        scenario("other", tags=["slow"]),
    )
    coordinate(home, "--filter-tag", "critical")
    assert list(outcomes(home)) == ["base", "chosen"]
    done = coordinate(home, "--filter-worktree", "two", "--no-deps")
    assert list(outcomes(home)) == ["chosen"]
    assert "without the dependencies of chosen" in done.stdout
    coordinate(home, "-k", "oth", "-k", "ba*")
    assert list(outcomes(home)) == ["base", "other"]


def test_a_dry_run_says_what_would_happen_and_does_nothing(home):
    write(home, scenario("a", "three", tags=["t"]), scenario("b", dependencies=["a"]))
    before = home.runs()
    done = coordinate(home, "--dry-run")
    assert "three (" in done.stdout
    assert "create it on feature/test-three" in done.stdout
    assert "critical path: a -> b" in done.stdout
    plan = json.loads(coordinate(home, "--dry-run", "--json", "-j", "2").stdout)
    assert [each["name"] for each in plan["order"]] == ["a", "b"]
    assert plan["worktrees"]["three"]["state"] == "missing"
    assert home.runs() == before
    assert not (home.root / "three").exists()


@pytest.mark.slow
def test_output_can_be_streamed_or_left_out(home):
    write(home, scenario("loud", command="echo one; echo two"))
    done = coordinate(home, "--output=stream")
    assert "loud | one\nloud | two\n" in done.stdout
    groups = coordinate(home, "--output=stream", env={"GITHUB_ACTIONS": "true"})
    assert "::group::loud: loud/output.log\nloud | one\nloud | two\n::endgroup::\n" in groups.stdout
    quiet = coordinate(home, "--quiet")
    assert "loud" not in quiet.stdout
    assert json.loads(coordinate(home, "--json").stdout)["status"] == "passed"


@pytest.mark.slow
def test_an_interrupted_run_reports_and_goes_on_later(home):
    ready = home.base / "ready"
    again = home.base / "again"
    command = f"touch {ready}; test -e {again} || sleep 600"
    write(
        home,
        scenario("done"),
        scenario("waits", "two", dependencies=["done"], command=command),
        scenario("bad", test="fails"),
    )
    with home.start("coordinate", "-j", "2", env={"VIRTUAL_ENV": sys.prefix}) as run:
        wait_for(ready, run)
        wait_for_end_of(home, "bad", run)
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=60)
    assert run.returncode in (130, -signal.SIGINT), out
    assert outcomes(home) == {"done": "passed", "waits": "cancelled", "bad": "failed"}
    again.touch()
    coordinate(home, "--resume", "latest", status=1)
    assert outcomes(home) == {"done": "passed", "waits": "passed", "bad": "failed"}
    assert "AssertionError" in (home.artifacts / "latest" / log_of(home, "bad")).read_text()
    write(home, scenario("done"), scenario("waits", "two", command="false"), scenario("bad"))
    coordinate(home, "--rerun", "failed")
    assert outcomes(home) == {"done": "passed", "waits": "passed", "bad": "passed"}


@pytest.mark.slow
def test_a_part_of_a_run_goes_on_from_anywhere(home):
    again = home.base / "part-again"
    write(
        home,
        scenario("done"),
        scenario("bad", "two", command=f"test -e {again}"),
        scenario("waits", dependencies=["bad"]),
    )
    coordinate(home, "--project", home.repo.name, status=1, cwd=home.repo.parent)
    again.touch()
    coordinate(home, "--rerun", "failed", "-k", "bad", cwd=home.repo / "tests")
    assert outcomes(home) == {"bad": "passed"}
    coordinate(home, "--resume", home.runs()[-2].name, "-k", "done")
    assert outcomes(home) == {"done": "passed"}


@pytest.mark.slow
def test_teardown_does_not_run_after_ctrl_c_and_runs_again_after_what_runs_again(home):
    ready, again, downs = (home.base / f"teardown-{name}" for name in ("ready", "again", "downs"))
    down = f"echo down >>{downs}"
    write(
        home,
        scenario("up", command="true"),
        scenario("works", dependencies=["up"], command=f"touch {ready}; test -e {again} || sleep 600"),
        scenario("down", dependencies=["works"], always=True, command=down),
        scenario("bad", "two", command="false"),
        scenario("after-bad", "two", dependencies=["bad"], always=True, command=down),
    )
    with home.start("coordinate", "-j", "2", env={"VIRTUAL_ENV": sys.prefix}) as run:
        wait_for(ready, run)
        wait_for_end_of(home, "after-bad", run)
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=60)
    assert f"teardown not run: down\n  hint: testgrove coordinate --resume {home.runs()[-1].name}" in out
    again.touch()
    done = coordinate(home, "--resume", "latest", status=1)
    assert "teardown not run" not in done.stdout
    expected = {"up": "passed", "works": "passed", "down": "passed", "bad": "failed", "after-bad": "passed"}
    assert outcomes(home) == expected
    assert downs.read_text() == "down\n" * 2
    coordinate(home, "--rerun", "failed", status=1)
    assert outcomes(home) == expected
    assert downs.read_text() == "down\n" * 3, "what is torn down after 'bad' was not torn down again"


@pytest.mark.slow
def test_a_report_that_cannot_be_written_is_said_before_anything_runs(home):
    write(home, scenario("passes", command="true"))
    known = home.runs()
    file = home.repo / "README.md"
    for place, why in ((home.base, "is a directory"), (file / "report.json", f"{file} is not a folder")):
        done = coordinate(home, "--report", str(place), status=3)
        assert f"cannot write the report {place}: {why}" in done.stderr
    assert home.runs() == known
    coordinate(home, "--report", str(home.base / "new/folder/report.json"))
    assert json.loads((home.base / "new/folder/report.json").read_text())["summary"]["passed"] == 1


@pytest.mark.slow
def test_what_a_full_disk_has_ended_runs_again(home):
    write(home, scenario("done", command="true"), scenario("cut", command="false"))
    coordinate(home, status=1)
    log = home.runs()[-1] / "events.jsonl"
    log.write_text(
        log.read_text().replace('"status":"failed","reason":"', '"status":"error","reason":"no disk space is left in ')
    )
    write(home, scenario("done", command="false"), scenario("cut", command="true"))
    coordinate(home, "--resume", "latest")


@pytest.mark.slow
def test_a_killed_run_goes_on_later(home):
    ready = home.base / "killed-ready"
    write(home, scenario("done"), scenario("waits", dependencies=["done"], command=f"touch {ready}; sleep 600"))
    with home.start("coordinate", env={"VIRTUAL_ENV": sys.prefix}) as run:
        wait_for(ready, run)
        os.kill(run.pid, signal.SIGKILL)
    killed = home.runs()[-1].name
    write(home, scenario("done", test="fails"), scenario("waits", dependencies=["done"]))
    coordinate(home, "--resume", killed)
    assert outcomes(home) == {"done": "passed", "waits": "passed"}
    assert json.loads((home.artifacts / killed / "report.json").read_text())["complete"] is False
    home.run("list")


def log_of(home: Grove, name: str) -> str:
    return next(cell["attempts"][-1]["log"] for cell in report(home)["cells"] if cell["key"] == name)


def wait_for(path: Path, run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_end_of(home: Grove, name: str, run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not ended(home, name):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(home: Grove, name: str) -> bool:
    lines = (home.runs()[-1] / "events.jsonl").read_text().splitlines(keepends=True)
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return any(event["type"] == "cell_finished" and event["cell"] == name for event in events)


@pytest.mark.slow
def test_missing_worktrees_are_created_and_only_those_are_cleaned_up(grove):
    home = grove(files=FILES)
    mine = add_worktree(home, "mine", "feature/mine")
    home.git("branch", "wanted")
    write(
        home,
        scenario("a", "made"),
        scenario("b", "mine", command="touch left-behind"),
        scenario("c", "at-ref", ref="wanted"),
    )
    coordinate(home, "--setup-worktrees")
    assert git(home.root / "made", "branch", "--show-current").strip() == "feature/test-made"
    assert git(home.root / "at-ref", "branch", "--show-current").strip() == "wanted"
    assert (mine / ".venv").exists()
    coordinate(home, "--setup-worktrees", "--cleanup")
    assert (home.root / "made").exists(), "the run before has created it"
    home.run("remove", "scenario-made", "--force")
    done = coordinate(home, "--setup-worktrees", "--cleanup")
    assert "worktree made: removed" in done.stdout
    assert sorted(path.name for path in home.root.iterdir()) == ["at-ref", "mine"]
    assert (mine / "left-behind").exists()


@pytest.mark.slow
def test_what_scenarios_have_done_to_their_worktrees_is_cleaned_up_or_said(grove):
    home = grove(files=FILES)
    write(
        home,
        scenario("a", "deleted", command='rm -rf "$PWD"'),
        scenario("b", "no-checkout", command="rm .git"),
        scenario("c", "whole", command="true"),
    )
    done = coordinate(home, "--setup-worktrees", "--cleanup")
    assert "worktree deleted: removed" in done.stdout
    assert "worktree no-checkout: kept" in done.stdout
    assert "worktree whole: removed" in done.stdout
    assert list(home.worktrees()) == ["scenario-no-checkout"]


def test_worktrees_beside_the_repository_are_found_although_another_root_is_configured(grove):
    """`git worktree add ../<repository>-worktrees/x`, typed as documented, and no --base-path."""
    home = grove(files=FILES, config='root = "worktrees"\n')
    beside = home.repo.parent / f"{home.repo.name}-worktrees"
    home.git("worktree", "add", "--quiet", f"../{beside.name}/mine", "-b", "feature/mine")
    write(home, scenario("a", "mine", command="pwd > where"))
    coordinate(home, "--cleanup")
    assert (beside / "mine/where").read_text() == f"{beside}/mine\n"
    seen = json.loads(coordinate(home, "--dry-run", "--json", "--base-path", str(home.base / "no")).stdout)
    assert seen["worktrees"]["mine"]["state"] == "missing", "a base path that is given is the only one"


def test_cleanup_says_what_it_leaves(grove):
    home = grove(files=FILES)
    add_worktree(home, "mine", "feature/mine")
    write(home, scenario("a", "mine", command="true"))
    done = coordinate(home, "--cleanup")
    assert "worktree mine: kept: this run did not create it\n" in done.stdout


@pytest.mark.slow
def test_the_same_name_under_two_base_paths(grove):
    home = grove(files=FILES)
    write(home, scenario("a", command="git commit --quiet --allow-empty --message mine"))
    coordinate(home, "--setup-worktrees")
    other = ("--base-path", str(home.base / "other"))
    coordinate(home, "--setup-worktrees", *other)
    assert (home.root / "one/.git").exists()
    assert (home.base / "other/one/.git").exists()
    assert len(home.worktrees()) == 2
    coordinate(home, *other)
    for worktree in home.worktrees():
        home.run("remove", worktree, "--force")
    done = coordinate(home, "--setup-worktrees", "--cleanup", *other)
    assert "worktree one: removed" in done.stdout


def test_a_worktree_is_the_same_through_a_link(home):
    link = home.base / "link"
    link.symlink_to(home.root)
    write(home, scenario("a"))
    plan = json.loads(coordinate(home, "--dry-run", "--json", "--base-path", str(link)).stdout)
    assert plan["base"] == str(home.root)


@pytest.mark.slow
def test_a_branch_made_for_a_worktree_goes_with_it_unless_it_has_commits_of_its_own(grove):
    home = grove(files=FILES)
    commits = "git commit --quiet --allow-empty --message mine"
    write(home, scenario("a", "plain", command="true"), scenario("b", "worked-on", command=commits))
    done = coordinate(home, "--setup-worktrees", "--cleanup")
    assert "worktree plain: removed: with its branch feature/test-plain" in done.stdout
    assert "worktree worked-on: removed: its branch feature/test-worked-on is kept" in done.stdout
    assert home.git("branch", "--format=%(refname:short)").split() == ["feature/test-worked-on", "main"]


@pytest.mark.slow
def test_a_refs_changes_come_into_each_worktree_and_a_conflict_leaves_it(grove):
    home = grove(files=FILES)
    one, two = add_worktree(home, "one", "feature/one"), add_worktree(home, "two", "feature/two")
    home.write({"new.txt": "new\n", "README.md": "Changed here.\n"}, commit="News")
    (two / "README.md").write_text("Changed there.\n")
    git(two, "commit", "--quiet", "--all", "--message", "Other news")
    head = git(two, "rev-parse", "HEAD")
    write(home, scenario("a", command="test -e new.txt"), scenario("b", "two"))
    done = coordinate(home, "--pull-coordinator", status=1)
    assert outcomes(home) == {"a": "passed", "b": "error"}
    assert "main conflicts with" in reasons(home)["b"]
    assert "README.md" in reasons(home)["b"], said(done)
    assert (git(two, "rev-parse", "HEAD"), git(two, "status", "--porcelain")) == (head, "")
    assert (one / "new.txt").exists()
    coordinate(home, "--pull-from", "main", "--filter-worktree", "one")


@pytest.mark.slow
def test_what_is_in_a_worktrees_place_is_never_lost(grove):
    home = grove(files=FILES)
    write(home, scenario("a", "made", command="true"), scenario("b", "other", command="true"))
    coordinate(home, "--setup-worktrees", "--filter-worktree", "made")
    made = home.root / "made"
    (made / ".venv").rename(home.base / "venv")
    (made / "mine.txt").write_text("mine\n")
    said_so = coordinate(home, "-k", "a", status=3).stderr
    assert "its .venv is missing\n  hint: --setup-worktrees repairs it\n" in said_so
    coordinate(home, "--setup-worktrees", "-k", "a")
    assert (made / "mine.txt").read_text() == "mine\n"
    assert (made / ".venv").is_dir()
    (home.root / "other").mkdir()
    (home.root / "other/mine.txt").write_text("mine\n")
    done = coordinate(home, "--setup-worktrees", status=3)
    assert "is not a worktree of this repository" in done.stderr
    assert (home.root / "other/mine.txt").read_text() == "mine\n"
    shutil.rmtree(home.root / "other")
    shutil.rmtree(made)
    coordinate(home, "--setup-worktrees", "--cleanup")
    assert home.worktrees() == {}
    assert not made.exists()


@pytest.mark.slow
def test_a_worktree_that_lacks_what_its_ref_has_is_no_place_to_test_it(grove):
    home = grove(files=FILES)
    theirs = add_worktree(home, "theirs", "feature/theirs")
    write(
        home,
        scenario("a", "ours", ref="main", command="test -e tests"),
        scenario("b", "theirs", ref="main", command="true"),
    )
    coordinate(home, "--setup-worktrees")
    home.write({"new.txt": "new\n"}, commit="News")
    coordinate(home, status=1)
    assert set(outcomes(home).values()) == {"error"}
    assert "does not contain main" in reasons(home)["a"]
    coordinate(home, "--setup-worktrees", status=1)
    assert outcomes(home) == {"a": "passed", "b": "error"}, "a user's worktree is not moved"
    assert (home.root / "ours/new.txt").exists()
    assert not (theirs / "new.txt").exists()
    coordinate(home, "--pull-from", "main")
    assert (theirs / "new.txt").exists()


def test_two_runs_never_meet_in_a_worktree(home):
    ready = home.base / "meeting"
    write(home, scenario("a", command=f"touch {ready}; sleep 600"))
    with home.start("coordinate", env={"VIRTUAL_ENV": sys.prefix}) as run:
        wait_for(ready, run)
        write(home, scenario("b", command="true"), scenario("c", "two", command="true"))
        coordinate(home, status=1)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    assert outcomes_of(home, -1) == {"b": "error", "c": "passed"}


def outcomes_of(home: Grove, run: int) -> dict[str, str]:
    document = json.loads((home.runs()[run] / "report.json").read_text())
    return {cell["key"]: cell["status"] for cell in document["cells"]}


def test_databases_and_variables_of_a_scenario(grove, require_redis):
    home = grove(files=FILES, config="[services.redis]\n[resources]\ngpu = 1\n[env]\nOURS = '1'\n")
    add_worktree(home, "one", "feature/one")
    write(
        home,
        scenario("a", command='test -n "$REDIS_URL" && test "$OURS$MINE" = 12', services=["redis"], env={"MINE": "2"}),
        scenario("b", command='test -z "$REDIS_URL"', resources=["gpu"], exclusive=True),
        scenario(
            "again",
            command='test -n "$REDIS_URL" && test -S "$TESTGROVE_BROKER" && test -e seen || { touch seen; false; }',
            services=["redis"],
            retries=1,
        ),
    )
    coordinate(home)
    assert outcomes(home)["again"] == "flaky"
    assert "resources: gpu (b)" in coordinate(home, "--dry-run").stdout


def test_a_file_whose_name_is_no_text_is_a_leak_like_others(home):
    write(home, scenario("a", command="""touch "$TMPDIR/$(printf 'caf\\351')" """))
    done = coordinate(home)
    assert "temporary caf\\udce9" in done.stdout
    assert report(home)["cells"][0]["leaks"][0]["name"] == "caf\\udce9"


def test_an_sqlite_file_is_the_scenarios_own(grove):
    migrate = f'echo made > "$SQLITE_PATH.log"; {MAKE_A_TABLE}'
    home = grove(files=FILES, config=f"[services.sqlite]\nmigrate = '{migrate}'\n")
    tree = add_worktree(home, "one", "feature/one")
    (tree / "db.sqlite3").write_text("the user's\n")
    use = 'test -e "$SQLITE_PATH" && ! test "$SQLITE_PATH" -ef db.sqlite3 && echo "$SQLITE_PATH" >> '
    write(
        home,
        *[scenario(f"s{n}", command=f"{use}{home.base}/paths", services=["sqlite"], shareable=True) for n in range(3)],
    )
    coordinate(home, "-j", "2")
    assert len(set((home.base / "paths").read_text().splitlines())) == 3
    assert (tree / "db.sqlite3").read_text() == "the user's\n"
    assert git(tree, "status", "--porcelain").split() == ["??", "db.sqlite3"]


def test_scenarios_that_share_a_worktree_have_ports_of_their_own(home):
    told = {name: home.base / f"port-{name}" for name in "ab"}

    def meets(name: str, other: str) -> str:
        return f"echo $API_PORT > {told[name]}; until [ -e {told[other]} ]; do sleep 0.02; done"

    write(
        home,
        scenario("a", command=meets("a", "b"), shareable=True, timeout=60),
        scenario("b", command=meets("b", "a"), shareable=True, timeout=60),
    )
    coordinate(home, "-j", "2")
    ports = [int(path.read_text()) for path in told.values()]
    assert len(set(ports)) == 2
    assert set(ports) <= set(home.ports)
    assert home.json("ports", "list")["ports"] == []


def test_an_interpreter_that_is_asked_for_is_the_one_that_runs(home):
    own = ".".join(map(str, sys.version_info[:2]))
    write(home, scenario("a", command="true", python=own), scenario("b", "two", command="true", python="3.1"))
    coordinate(home, status=1)
    assert outcomes(home) == {"a": "passed", "b": "error"}
    assert "its scenarios require 3.1" in reasons(home)["b"]


def test_a_resumed_run_cleans_up_what_the_first_one_created(grove):
    home = grove(files=FILES)
    write(home, scenario("a", "made", command="true"), scenario("b", "made", command="false", dependencies=["a"]))
    coordinate(home, "--setup-worktrees", status=1)
    write(home, scenario("a", "made", command="false"), scenario("b", "made", command="true", dependencies=["a"]))
    done = coordinate(home, "--rerun", "failed", "--cleanup")
    assert "worktree made: removed" in done.stdout
    assert home.worktrees() == {}


def test_a_scenario_that_fills_the_disk_ends_with_a_report(home):
    own = needs.mount_namespace()
    write(
        home,
        scenario("before", command="true"),
        scenario("fills", "two", command="yes", dependencies=["before"]),
        scenario("hangs", command="sleep 600", dependencies=["before"]),
        scenario("after", "two", command="true", dependencies=["fills"]),
    )
    home.artifacts.mkdir(exist_ok=True)
    mount = "mount -t tmpfs -o size=16m none test-artifacts || exit 99"
    script = f'{mount}; "$@"; status=$?; cp -r test-artifacts/latest/ "$OUT"; exit $status'
    out = home.base / "full"
    env = {"OUT": str(out), "VIRTUAL_ENV": sys.prefix}
    words = ("sh", sys.executable, "-m", "testgrove", "coordinate", "-j", "2", "--quiet")
    done = home.run("-c", script, *words, program=(*own, "sh"), env=env, check=False)
    assert done.returncode == 1, said(done)
    assert "Traceback" not in done.stderr
    cells = {cell["key"]: cell for cell in json.loads((out / "report.json").read_text())["cells"]}
    assert cells["before"]["status"] == "passed"
    assert cells["fills"]["status"] in ("failed", "error")
    assert "no disk space is left" in cells["hangs"]["reason"], cells["hangs"]
    assert cells["after"]["status"] in ("skipped", "cancelled")
    assert json.loads((out / "integration_report.json").read_text())["summary"]["total"] == 4
    assert not (out / ".reserve").exists()


def test_history_and_merged_reports_of_runs(home):
    write(home, scenario("remembered", command="true"))
    coordinate(home, "--quiet")
    write(home, scenario("remembered", command="false"))
    coordinate(home, "--quiet", status=1)
    entry = home.json("history", "remembered")["entries"][0]
    assert (entry["runs"], entry["pass_rate"], entry["statuses"]) == (2, 50.0, ["passed", "failed"])
    assert "remembered" in home.run("history", "--last", "2").stdout
    two = [folder.name for folder in home.runs()[-2:]]
    merged = home.json("report", "merge", *two)
    assert merged["merged"] == two
    assert {cell["key"]: cell["status"] for cell in merged["cells"]} == {
        f"remembered ({two[0]})": "passed",
        f"remembered ({two[1]})": "failed",
    }
    folder = Path(merged["folder"])
    assert (folder / merged["cells"][0]["attempts"][0]["log"]).exists()
    assert {path.name for path in folder.iterdir()} >= {"report.json", "junit.xml", "report.html", "events.jsonl"}
    again = home.run("report", "merge", str(home.runs()[-1]), "--output", str(home.base / "merged"))
    assert "1 scenario: 1 failed" in again.stdout
    assert home.json("history", "remembered")["entries"][0]["runs"] == 2
