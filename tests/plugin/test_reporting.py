"""What a session writes: each test once, with its outcome, wherever and however it ran."""

from __future__ import annotations

import pytest

from plugin.conftest import Suite

OUTCOMES = """
import pytest

def test_passes():
    print("said on the way")

def test_fails():
    assert 1 == 2, "one is not two"

@pytest.fixture
def broken():
    raise ValueError("no set-up")

@pytest.fixture
def late():
    yield
    raise ValueError("no teardown")

def test_setup_fails(broken): ...
def test_teardown_fails(late): ...

def test_both_fail(late):
    assert 0

def test_no_such_fixture(nowhere): ...

@pytest.mark.skip(reason="not today")
def test_skipped(): ...

def test_skipped_inside():
    pytest.skip("nor tomorrow")

@pytest.mark.xfail(reason="known")
def test_xfailed():
    assert 0

@pytest.mark.xfail(reason="known")
def test_xpassed(): ...

@pytest.mark.xfail(strict=True)
def test_strict_xpass(): ...
"""
EXPECTED = {
    "test_passes": "passed", "test_fails": "failed", "test_setup_fails": "error", "test_teardown_fails": "error",
    "test_both_fail": "failed", "test_no_such_fixture": "error", "test_skipped": "skipped",
    "test_skipped_inside": "skipped", "test_xfailed": "xfailed", "test_xpassed": "xpassed",
    "test_strict_xpass": "failed",
}  # fmt: skip
distributed = pytest.mark.parametrize("arguments", [(), ("-n2",)], ids=["alone", "xdist"])


@pytest.fixture(scope="module", params=[(), ("-n2",)], ids=["alone", "xdist"])
def result(request, tmp_path_factory, plugin_folder):
    """One run of a suite with every outcome."""
    suite = Suite(tmp_path_factory.mktemp("outcomes"), plugin_folder)
    return suite.run(*request.param, tests__test_all=OUTCOMES)


def test_every_outcome_is_reported_once(result):
    assert result.status == 1
    assert result.outcomes() == EXPECTED
    assert [record["type"] for record in result.records].count("session") == 1
    assert result.of("collected") == [{"type": "collected", "selected": 11, "deselected": 0}]
    assert {record["nodeid"] for record in result.of("start")} == {record["nodeid"] for record in result.of("test")}
    assert result.records[-1]["type"] == "finish"
    assert result.records[-1]["exitstatus"] == 1
    assert not result.of("foreign")


def test_a_report_says_why_and_where(result):
    failed = result.test("test_fails")
    assert failed["message"] == "AssertionError: one is not two"
    assert "assert 1 == 2" in failed["text"]
    assert (failed["file"], failed["line"]) == ("tests/test_all.py", 7)
    assert "said on the way" in result.test("test_passes")["output"]
    assert "Captured stdout call" in result.test("test_passes")["output"]
    assert result.test("test_setup_fails")["message"] == "ValueError: no set-up"
    assert result.test("test_teardown_fails")["message"] == "ValueError: no teardown"
    assert "assert 0" in result.test("test_both_fail")["text"]
    assert "no teardown" in result.test("test_both_fail")["text"]
    assert result.test("test_no_such_fixture")["message"] == "fixture 'nowhere' not found"
    assert result.test("test_skipped")["message"] == "not today"
    assert result.test("test_skipped_inside")["message"] == "nor tomorrow"
    assert result.test("test_xfailed")["message"] == "known"
    assert result.test("test_passes")["text"] == ""


def test_the_session_says_with_what_it_ran(suite):
    (session,) = suite.run("-k", "one", test_a="def test_one(): ...\ndef test_two(): ...\n").of("session")
    assert session["pytest"] == pytest.__version__
    assert session["python"].count(".") == 2
    assert session["rootdir"] == str(suite.tree)
    assert session["args"][-2:] == ["-k", "one"]


@distributed
def test_what_was_deselected_is_counted(suite, arguments):
    tests = "".join(f"def test_{i}(): ...\n" for i in range(5))
    result = suite.run("-k", "test_1 or test_2", *arguments, test_a=tests)
    assert result.of("collected") == [{"type": "collected", "selected": 2, "deselected": 3}]


@distributed
def test_a_collection_error_is_reported_once(suite, arguments):
    result = suite.run(*arguments, test_a="import nowhere_to_be_found\n", test_b="def test_b(): ...\n")
    assert result.status != 0
    record = result.test("test_a.py")
    assert record["outcome"] == "error"
    assert "nowhere_to_be_found" in record["message"]
    assert record["file"] == "test_a.py"


@distributed
def test_a_skipped_module_is_reported(suite, arguments):
    result = suite.run(*arguments, test_a="import pytest\npytest.importorskip('nowhere')\n", test_b="def test_b(): ...")
    assert result.test("test_a.py")["outcome"] == "skipped"
    assert "nowhere" in result.test("test_a.py")["message"]


def test_an_empty_selection_is_reported_as_such(suite):
    result = suite.run("-k", "nothing", test_a="def test_a(): ...\n")
    assert result.status == 5
    assert result.of("collected") == [{"type": "collected", "selected": 0, "deselected": 1}]
    assert result.of("finish")[0]["exitstatus"] == 5


def test_files_are_named_from_the_tree_where_pytests_root_is_another(suite):
    suite.write(back__tests__test_a="def test_a():\n    assert 0\n")
    (suite.tree / "back/pytest.ini").write_text("[pytest]\n")
    record = suite.run("back").test("test_a")
    assert record["nodeid"] == "tests/test_a.py::test_a"
    assert record["file"] == "back/tests/test_a.py"


def test_the_duration_covers_setup_call_and_teardown(suite):
    source = """
        import time, pytest

        @pytest.fixture
        def slow():
            time.sleep(0.1)
            yield
            time.sleep(0.1)

        def test_a(slow):
            time.sleep(0.1)
    """
    import textwrap

    assert 0.3 <= suite.run(test_a=textwrap.dedent(source)).test("test_a")["duration"] < 5


def test_long_texts_lose_their_middle(suite):
    result = suite.run(test_a="def test_a():\n    print('<' + 'ü' * 200_000 + '>')\n    assert 0, 'x' * 300_000\n")
    record = result.test("test_a")
    for field in ("text", "output"):
        assert len(record[field].encode()) <= 100_000
        assert "bytes are left out here" in record[field]
    assert "<üü" in record["output"]
    assert record["output"].rstrip().endswith("ü>")
    assert len(record["message"]) <= 500


def test_text_that_is_not_unicode_is_reported(suite):
    result = suite.run(test_a="def test_a():\n    assert 0, 'a\\udc80\\x00\\u2028b'\n")
    assert result.test("test_a")["outcome"] == "failed"


@distributed
def test_subtests_are_part_of_their_test(suite, arguments):
    source = """
import unittest

class TestIt(unittest.TestCase):
    def test_good(self):
        with self.subTest("one"):
            pass

    def test_bad(self):
        for number in range(3):
            with self.subTest(number=number):
                assert number != 1, "not one"

def test_fixture(subtests):
    with subtests.test("two"):
        assert 0, "in the subtest"
    with subtests.test("three"):
        pass
"""
    result = suite.run(*arguments, test_a=source)
    assert result.outcomes() == {"TestIt::test_good": "passed", "TestIt::test_bad": "failed", "test_fixture": "failed"}
    assert "not one" in result.test("test_bad")["text"]
    assert "in the subtest" in result.test("test_fixture")["message"]


def test_a_test_that_hangs_can_be_named(suite):
    source = "import os, signal\ndef test_a(): ...\ndef test_b():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    result = suite.run(test_a=source)
    assert result.status == -9
    assert [record["nodeid"] for record in result.of("start")] == ["test_a.py::test_a", "test_a.py::test_b"]
    assert result.outcomes() == {"test_a": "passed"}
    assert not result.of("finish")


def test_a_worker_that_crashes_fails_its_test(suite):
    source = "import os\ndef test_a():\n    os._exit(1)\ndef test_b(): ...\n"
    result = suite.run("-n1", test_a=source)
    assert result.status == 1
    assert result.outcomes() == {"test_a": "failed", "test_b": "passed"}
    assert "crashed" in result.test("test_a")["message"]


def test_a_forked_child_that_comes_back_writes_nothing(suite):
    source = """
import os
def test_a():
    if os.fork():
        os.wait()
def test_b(): ...
"""
    result = suite.run("-p", "no:terminal", test_a=source)
    assert result.outcomes() == {"test_a": "passed", "test_b": "passed"}
    assert len(result.of("finish")) == 1


def test_a_full_disk_is_not_a_green_result(suite):
    source = """
import os, pathlib
def test_a():
    log = pathlib.Path(os.environ["TESTGROVE_SESSION"]) / "tests.jsonl"
    for fd in pathlib.Path("/proc/self/fd").iterdir():
        if os.path.realpath(fd) == str(log):
            os.dup2(os.open("/dev/full", os.O_WRONLY), int(fd.name))
"""
    result = suite.run(test_a=source)
    assert result.status == 1
    assert "No space left" in result.output
