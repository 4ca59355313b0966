"""Runs, end to end: `testgrove test` as its user types it, and what the reports then say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import local_packages
from auditor import git
from grove import Grove, new_base, plant, said, uproot

STORY = {
    ".gitignore": "ignored.txt\n*.log\n",
    "README.md": "A project.\n",
    "code.py": "VALUE = 1\n",
    "gone.txt": "deleted in the working tree\n",
    "data.txt": "as committed\n",
    "tests/unit/test_unit.py": """
import os, pytest
from pathlib import Path

def test_modified_file_is_tested():
    assert Path("data.txt").read_text() == "as changed"

def test_untracked_file_is_there_and_ignored_one_is_not():
    assert Path("new.txt").exists() and not Path("ignored.txt").exists() and not Path("gone.txt").exists()

@pytest.mark.skip(reason="not today")
def test_skipped():
    pass

@pytest.mark.xfail(reason="known")
def test_expected_to_fail():
    assert False

def test_temporary_folder_is_the_attempts_own():
    Path(os.environ["TMPDIR"], "left").mkdir()
""",
    "tests/broken/test_broken.py": """
def test_good():
    pass

def test_bad(capsys):
    print("words of the test")
    assert {"a": 1} == {"a": 2}

def test_without_its_fixture(no_such_fixture):
    pass
""",
    "tests/uncollected/test_uncollected.py": "import module_that_is_not_there\n",
    "tests/unsteady/test_unsteady.py": """
from pathlib import Path

def test_always():
    pass

def test_second_time():
    tried = Path(".tried")
    if not tried.exists():
        tried.touch()
        raise OSError("not yet")
""",
    "tests/ports/test_ports.py": """
import os, socket

def test_ports_are_ours_and_free():
    ports = [int(os.environ[name]) for name in ("APP_PORT", "API_PORT", "DB_PORT")]
    assert ports == list(range(ports[0], ports[0] + 3))
    for port in ports:
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # others' may still be closing
            server.bind(("127.0.0.1", port))
    assert os.environ["URL"] == f"http://127.0.0.1:{ports[1]}/mock"
    assert os.environ["BOTH"] == f"{os.environ['URL']} in {os.environ['WORKTREE_ID']}"
    assert os.environ["TEST_MODE"] == "true"
""",
    "tests/outputs/test_outputs.py": """
from pathlib import Path

def test_outputs():
    for name in (".coverage", "htmlcov/index.html", "logs/app.log", "prof/deep/it.prof", "stray.txt"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
""",
    "check.sh": "echo checked $(pwd)\ntest -f code.py\n",
}
CONFIG = """
collect = ["prof"]
[env]
URL = "http://127.0.0.1:${API_PORT}/mock"
[suites.unit]
command = "pytest tests/unit"
[suites.broken]
command = "pytest tests/broken"
[suites.uncollected]
command = "pytest tests/uncollected"
[suites.unsteady]
command = "pytest tests/unsteady"
retries = 2
[suites.ports]
command = "pytest tests/ports"
ports = true
env = { BOTH = "${URL} in ${WORKTREE_ID}" }
[suites.outputs]
command = "pytest tests/outputs --junitxml=junit-outputs.xml"
[suites.script]
command = "sh check.sh"
[suites.bad-script]
command = "sh -c 'echo no; exit 3'"
[suites.absent]
command = "no-such-program --fast"
[suites.absent-in-a-line]
command = "true && no-such-program --fast"
"""
EXPECTED = {
    "unit": "passed",
    "broken": "failed",
    "uncollected": "failed",
    "unsteady": "flaky",
    "ports": "passed",
    "outputs": "passed",
    "script": "passed",
    "bad-script": "failed",
    "absent": "error",
    "absent-in-a-line": "error",
}


def users_state(repo: Path) -> dict[str, Any]:
    """Everything of the user's that a run must not touch."""
    files = {
        str(path.relative_to(repo)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in repo.rglob("*")
        if path.is_file() and not {".git", "test-artifacts"} & set(path.relative_to(repo).parts)
    }
    files.pop("worktrees_registry.json", None)
    return {
        "files": files,
        "index": (repo / ".git/index").read_bytes(),
        "status": git(repo, "status", "--porcelain=v2", "--branch"),
        "head": (repo / ".git/HEAD").read_text(),
        "refs": git(repo, "for-each-ref"),
        "stash": git(repo, "stash", "list"),
        "config": (repo / ".git/config").read_bytes(),
    }


def run_json(grove: Grove, *words: str, **options: Any) -> dict[str, Any]:
    """`testgrove test --json`, whatever comes of it."""
    done = grove.run("test", "--json", *words, check=False, **options)
    assert done.stdout, said(done)
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == document["exit_status"], said(done)
    return document


def only(report: dict[str, Any]) -> dict[str, Any]:
    """The one cell."""
    (cell,) = report["cells"]
    found: dict[str, Any] = cell
    return found


def nodeids(cell: dict[str, Any]) -> list[str]:
    return [test["nodeid"] for test in cell["attempts"][-1]["tests"]]


class Story:
    """One run of many suites over a working tree with changes of every kind."""

    def __init__(self, grove: Grove) -> None:
        self.grove = grove
        grove.git("branch", "another")
        grove.write({"data.txt": "put aside"})
        grove.git("stash", "push", "--quiet")
        grove.write({"data.txt": "as changed", "code.py": "VALUE = 2\n", "new.txt": "new", "ignored.txt": "mine"})
        grove.git("add", "code.py")
        (grove.repo / "gone.txt").unlink()
        git(grove.repo, "status")  # the index's times are fresh
        self.before = users_state(grove.repo)
        self.done = grove.run("test", check=False)
        self.after = users_state(grove.repo)
        (self.folder,) = grove.runs()
        self.report = json.loads((self.folder / "report.json").read_text())
        self.cells = {cell["suite"]: cell for cell in self.report["cells"]}


@pytest.fixture(scope="module")
def story():
    base = new_base()
    yield Story(plant(base, files=STORY, config=CONFIG, variables=local_packages.settings()))
    uproot(base)


in_one_run = pytest.mark.xdist_group("story")


@in_one_run
def test_each_suite_ends_as_it_should_and_the_run_fails(story):
    assert {name: cell["status"] for name, cell in story.cells.items()} == EXPECTED, said(story.done)
    assert story.done.returncode == story.report["exit_status"] == 1
    assert story.report["summary"]["cells"] == {
        "total": 10, "passed": 4, "failed": 3, "error": 2, "skipped": 0, "flaky": 1, "cancelled": 0,
    }  # fmt: skip
    assert story.report["complete"] is True


@in_one_run
def test_the_header_says_what_was_tested(story):
    assert story.report["header"] == "working tree: 3 modified, 1 untracked"
    assert story.report["header"] in story.done.stdout


@in_one_run
def test_nothing_of_the_users_changes(story):
    assert story.after == story.before


@in_one_run
def test_outcomes_of_tests_are_told_apart(story):
    counts = {name: {k: n for k, n in cell["tests"].items() if n} for name, cell in story.cells.items()}
    assert counts["unit"] == {"passed": 3, "skipped": 1, "xfailed": 1}
    assert counts["broken"] == {"passed": 1, "failed": 1, "error": 1}
    assert counts["uncollected"] == {"error": 1}
    assert counts["script"] == counts["absent"] == {}


@in_one_run
def test_a_failure_is_reported_with_its_words(story):
    (bad,) = [test for test in story.cells["broken"]["attempts"][0]["tests"] if test["outcome"] == "failed"]
    assert bad["nodeid"] == "tests/broken/test_broken.py::test_bad"
    assert (bad["file"], bad["line"]) == ("tests/broken/test_broken.py", 5)
    assert "assert {'a': 1} == {'a': 2}" in bad["text"]
    assert "words of the test" in bad["output"]
    assert "test_bad" in story.done.stdout
    assert "module_that_is_not_there" in story.done.stdout
    log = story.folder / story.cells["broken"]["attempts"][0]["log"]
    assert "words of the test" in log.read_text()


@in_one_run
def test_a_test_that_passes_in_the_end_is_flaky_and_every_attempt_is_kept(story):
    cell = story.cells["unsteady"]
    assert [attempt["status"] for attempt in cell["attempts"]] == ["failed", "passed"]
    assert cell["flaky_tests"] == ["tests/unsteady/test_unsteady.py::test_second_time"]
    assert len({attempt["log"] for attempt in cell["attempts"]}) == 2
    assert all((story.folder / attempt["log"]).exists() for attempt in cell["attempts"])


@in_one_run
def test_a_suite_that_is_not_pytest_is_judged_by_its_status_and_says_so(story):
    assert "not verified" in story.cells["script"]["reason"]
    assert story.cells["bad-script"]["reason"] == "exit status 3"
    assert (story.folder / story.cells["script"]["attempts"][0]["log"]).read_text().startswith("checked ")


@in_one_run
def test_a_command_that_is_not_there_is_named(story):
    cell = story.cells["absent"]
    assert "command 'no-such-program' not found" in cell["reason"]
    assert cell["hint"]
    assert "no-such-program" in story.done.stdout
    assert "command not found" in story.cells["absent-in-a-line"]["reason"]


@in_one_run
def test_junit_tells_the_cells_apart(story):
    root = ET.parse(story.folder / "junit.xml").getroot()
    suites = {suite.get("name"): suite for suite in root.iter("testsuite")}
    assert set(suites) == set(EXPECTED)
    assert {name for name, suite in suites.items() if suite.find(".//failure") is not None} == {"broken", "bad-script"}
    assert {name for name, suite in suites.items() if suite.find(".//error") is not None} == {
        "broken", "uncollected", "absent", "absent-in-a-line",
    }  # fmt: skip
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(names) == len(set(names))
    assert ("broken.tests.broken.test_broken", "test_bad") in names
    totals = {
        key: sum(int(suite.get(key, "0")) for suite in suites.values()) for key in ("tests", "failures", "errors")
    }
    assert totals == {key: int(root.get(key, "-1")) for key in totals}
    assert totals["tests"] == len(names)


@in_one_run
def test_the_html_report_is_one_file_with_the_whole_story(story):
    text = (story.folder / "report.html").read_text()
    assert not re.search(r"(?:src|href)=[\"'](?:https?:|//)", text)
    assert all(name in text for name in EXPECTED)
    assert "test_bad" in text
    assert "words of the test" in text


@in_one_run
def test_outputs_are_moved_into_the_runs_folder(story):
    folder = story.folder / "test-outputs-tree"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {
        "output.log", ".coverage", "htmlcov/index.html", "logs/app.log", "prof/deep/it.prof", "junit-outputs.xml",
    }  # fmt: skip


@in_one_run
def test_latest_points_to_the_run(story):
    latest = story.grove.artifacts / "latest"
    assert latest.is_symlink()
    assert latest.resolve() == story.folder
    assert str(story.folder) in story.done.stdout


@in_one_run
def test_finished_worktrees_are_parked_and_nothing_else_is_left(story):
    worktrees = story.grove.worktrees()
    assert {entry["status"] for entry in worktrees.values()} == {"parked"}
    assert set(worktrees) == {f"test-{name}-tree" for name in EXPECTED}
    assert story.grove.registry()["allocated_ports"] == []
    assert not list(story.grove.scratch.iterdir())
    story.grove.auditor().assert_no_leftovers()


@in_one_run
def test_plain_output_is_one_line_for_each_thing(story):
    assert "\x1b" not in story.done.stdout
    assert story.done.stderr == ""
    for name, status in EXPECTED.items():
        assert re.search(rf"^{name}: {status}", story.done.stdout, re.MULTILINE), story.done.stdout


SMALL = {
    "tests/unit/test_one.py": "def test_one(): pass\ndef test_two(): pass\n",
    "tests/integration/test_where.py": """
import os, sys
from pathlib import Path

def test_where():
    assert Path(sys.prefix) == Path.cwd() / ".venv"
    seen = Path(os.environ["SEEN"], os.environ["WORKTREE_ID"])
    seen.write_text(Path("marker.txt").read_text() + sys.version)
""",
    "marker.txt": "committed ",
}


@pytest.fixture
def small(grove):
    """A project without configuration, but for the ports."""
    return grove(files=SMALL, variables=local_packages.settings())


def test_suites_are_found_without_configuration(small):
    report = run_json(small, env={"SEEN": str(small.base)})
    assert {cell["suite"]: cell["status"] for cell in report["cells"]} == {"unit": "passed", "integration": "passed"}
    assert report["header"] == "working tree: no changes"
    assert report["folder"] == str(small.runs()[0])
    assert report["exit_status"] == 0


@pytest.mark.slow
def test_refs_and_the_working_tree(small):
    """Each ref as it is, whatever the working tree holds; the working tree as it is, whatever HEAD holds."""
    small.git("branch", "old")
    small.git("tag", "v1")
    small.write({"marker.txt": "newer "}, commit="Newer")
    small.write({"marker.txt": "uncommitted "})
    seen = small.base / "seen"
    seen.mkdir()
    words = [word for ref in ("old", "v1", "HEAD", "main") for word in ("--ref", ref)]

    report = run_json(small, "integration", *words, env={"SEEN": str(seen)})
    assert report["status"] == "passed"
    assert run_json(small, "integration", env={"SEEN": str(seen)})["header"] == "working tree: 1 modified"

    found = {path.name.removeprefix("test-integration-"): path.read_text().split()[0] for path in seen.iterdir()}
    assert found == {"old": "committed", "v1": "committed", "HEAD": "newer", "main": "newer", "tree": "uncommitted"}
    head = small.git("rev-parse", "HEAD").strip()
    assert {cell["ref"]: cell["attempts"][0]["commit"] == head for cell in report["cells"]} == {
        "old": False, "v1": False, "HEAD": True, "main": True,
    }  # fmt: skip
    assert f"HEAD ({head[:10]})" in report["header"]
    assert small.git("branch", "--show-current") == "main\n"


@pytest.mark.slow
def test_interpreters_side_by_side(grove, pythons):
    small = grove(files=SMALL)
    seen = small.base / "seen"
    seen.mkdir()
    words = [word for python in pythons for word in ("--python", python)]
    report = run_json(small, "integration", *words, env={"SEEN": str(seen)})
    assert {cell["python"]: cell["status"] for cell in report["cells"]} == dict.fromkeys(pythons, "passed")
    versions = {path.name: path.read_text().split()[1] for path in seen.iterdir()}
    assert {name: version.rpartition(".")[0] for name, version in versions.items()} == {
        f"test-integration-tree-py{python}": python for python in pythons
    }
    root = ET.parse(Path(report["folder"]) / "junit.xml").getroot()
    assert {case.get("classname") for case in root.iter("testcase")} == {
        f"integration-py{python}.tests.integration.test_where" for python in pythons
    }


def test_arguments_after_the_dashes_go_to_pytest(small):
    cell = only(run_json(small, "unit", "--", "-k", "two or nothing", "-q"))
    assert nodeids(cell) == ["tests/unit/test_one.py::test_two"]
    assert cell["attempts"][0]["deselected"] == 1
    assert cell["command"] == "pytest tests/unit -k 'two or nothing' -q"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nothing"], 2, "suite 'nothing' not found"),
        (["--ref", "no-such-branch"], 3, "no-such-branch"),
        (["--python", "3.99"], 3, "3.99"),
        (["-j", "0"], 2, "expected a number from 1"),
        (["--no-such-option"], 2, "no-such-option"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_happens(small, words, status, message):
    done = small.run("test", *words, check=False)
    assert (done.returncode, message in done.stderr, done.stdout) == (status, True, ""), said(done)
    assert small.runs() == []
    small.auditor().assert_nothing()


def test_an_interpreter_that_the_settings_name_and_that_is_missing_fails_its_cell_alone(grove):
    report = run_json(grove(config='pythons = ["3.11", "3.99"]\n', variables=local_packages.settings()))
    assert {cell["python"]: cell["status"] for cell in report["cells"]} == {"3.11": "passed", "3.99": "error"}
    (cell,) = [cell for cell in report["cells"] if cell["status"] == "error"]
    assert "3.99" in cell["reason"]
    assert report["exit_status"] == 1


def test_a_project_without_tests_is_told_how_to_name_some(grove):
    done = grove(files={"README.md": "Nothing.\n"}).run("test", check=False)
    assert done.returncode == 2
    assert "no test suites" in done.stderr
    assert "[tool.testgrove.suites" in done.stderr


def test_a_detached_head_is_tested(small):
    small.git("switch", "--quiet", "--detach")
    before = users_state(small.repo)
    assert run_json(small, "unit")["status"] == "passed"
    assert users_state(small.repo) == before


@pytest.mark.slow
def test_from_a_subfolder_and_from_a_linked_worktree(small):
    """The checkout one stands in is tested, and the artifacts are the main checkout's."""
    linked = small.base / "linked"
    small.git("worktree", "add", "--quiet", str(linked), "-b", "side")
    (linked / "tests/unit/test_one.py").write_text("def test_of_the_side(): pass\n")

    inner = only(run_json(small, "unit", cwd=small.repo / "tests/unit"))
    side = run_json(small, "unit", cwd=linked / "tests")

    assert len(nodeids(inner)) == 2
    assert nodeids(only(side)) == ["tests/unit/test_one.py::test_of_the_side"]
    assert side["header"] == "working tree: 1 modified"
    assert Path(side["folder"]).parent == small.artifacts
    assert git(linked, "status", "--porcelain") == " M tests/unit/test_one.py\n"
    assert git(linked, "branch", "--show-current") == "side\n"


@pytest.mark.slow
def test_a_parked_worktree_with_a_users_file_is_left_alone(small):
    first = only(run_json(small, "unit"))
    assert first["attempts"][0]["log"].startswith("test-unit-tree/")
    tree = small.tree("test-unit-tree")
    mine = tree / "notes.txt"
    mine.write_text("mine\n")
    changed = tree / "marker.txt"
    changed.write_text("changed by hand\n")

    second = only(run_json(small, "unit"))
    third = only(run_json(small, "unit"))

    assert [cell["attempts"][0]["log"].partition("/")[0] for cell in (second, third)] == ["test-unit-tree-2"] * 2
    assert (mine.read_text(), changed.read_text()) == ("mine\n", "changed by hand\n")
    mine.unlink()
    git(mine.parent, "checkout", "--quiet", "marker.txt")
    assert only(run_json(small, "unit"))["attempts"][0]["log"].startswith("test-unit-tree/")


@pytest.mark.slow
def test_what_a_suite_writes_into_its_tree_is_gone_when_it_is_recycled(grove):
    """Its own files, those that git tracks, nested repositories, and what git does not see."""
    scribble = """
import os, socket, subprocess
from pathlib import Path

def test_it():
    assert Path("README.md").read_text() == "A project.\\n"
    assert not {"left", "inner", "pipe", "socket"} & set(os.listdir())
    assert not Path("closed").exists()
    Path("README.md").write_text("changed")
    Path("left").mkdir()
    Path("left/over.txt").touch()
    subprocess.run(["git", "init", "--quiet", "inner"], check=True)
    Path("closed").mkdir()
    os.mkfifo("closed/pipe")
    socket.socket(socket.AF_UNIX).bind("socket")
    Path("closed").chmod(0o500)
"""
    here = grove(files={"README.md": "A project.\n", "tests/test_it.py": scribble})
    logs = []
    for _ in range(2):
        cell = only(run_json(here))
        assert cell["status"] == "passed"
        logs.append(cell["attempts"][0]["log"])
    assert logs[0] == logs[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_repository_of_another_user_is_named_with_what_makes_git_trust_it(grove):
    here = grove(files=SMALL)
    for path in (here.repo, *here.repo.rglob("*")):
        os.chown(path, 65534, 65534)
    done = here.run("test", check=False, env={"GIT_CONFIG_GLOBAL": "/dev/null"})
    assert done.returncode == 3, said(done)
    assert f"git config --global --add safe.directory {here.repo}" in done.stderr


def test_a_run_in_which_everything_was_skipped_says_so(grove):
    skipped = "import pytest\n\n@pytest.mark.skip(reason='later')\ndef test_it(): pass\n"
    done = grove(files={"tests/test_it.py": skipped}, variables=local_packages.settings()).run("test")
    assert "every test was skipped" in done.stdout
    assert "passed" not in done.stdout


def test_cells_that_start_together_all_find_uv():
    program = """
import sys, threading
from testgrove.system.environment.build import find_uv
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(8)
found = []
def look():
    barrier.wait()
    found.append(find_uv())
threads = [threading.Thread(target=look) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(found) == 8, found
"""
    for _ in range(5):
        subprocess.run([sys.executable, "-c", program], check=True)
