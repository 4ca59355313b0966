"""A random order that its seed repeats, together with xdist and with plugins that shuffle themselves."""

from __future__ import annotations

import pytest

SOURCE = """
import pytest

class TestOne:
    def test_a(self): ...
    def test_b(self): ...
    def test_c(self): ...

@pytest.mark.parametrize("n", range(4))
def test_d(n): ...
def test_e(): ...
"""
FILES = {f"test_{name}": SOURCE for name in "xyz"}


def order(suite, seed, *arguments):
    suite.env["TESTGROVE_RANDOM_SEED"] = str(seed)
    result = suite.run(*arguments, **FILES)
    assert result.status == 0, result.output
    return [record["nodeid"] for record in result.of("test")]


@pytest.mark.slow
def test_a_seed_repeats_the_order_and_another_changes_it(suite):
    plain = suite.run(**FILES).of("test")
    first = order(suite, 1)
    assert order(suite, 1) == first
    assert sorted(order(suite, 2)) == sorted(first) == sorted(record["nodeid"] for record in plain)
    assert order(suite, 2) != first
    assert first != [record["nodeid"] for record in plain]


def test_modules_and_classes_stay_together(suite):
    found = [nodeid.rpartition("::")[0] for nodeid in order(suite, 3)]
    blocks = [name for name, before in zip(found, [None, *found], strict=False) if name != before]
    assert len(blocks) == len(set(blocks)) == 6


def test_a_selection_keeps_the_order(suite):
    whole = order(suite, 5)
    assert order(suite, 5, "-k", "test_a or test_d") == [name for name in whole if "test_a" in name or "test_d" in name]


@pytest.mark.slow
def test_xdists_workers_agree(suite):
    found = order(suite, 7, "-n2", "-v")
    assert sorted(found) == sorted(order(suite, 7))
    assert order(suite, 7, "-n1") == order(suite, 7)


def test_a_nested_pytest_is_left_alone(suite):
    inner = "import os\ndef test_seed(): assert 'TESTGROVE_RANDOM_SEED' not in os.environ\n"
    suite.env["TESTGROVE_RANDOM_SEED"] = "1"
    for arguments in ((), ("-n1",)):
        result = suite.run(*arguments, test_a=inner)
        assert result.status == 0, result.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plugin", "said"),
    [("pytest-randomly", "--randomly-seed=11"), ("pytest-random-order", "--random-order-seed=11")],
)
def test_a_plugin_that_shuffles_gets_the_seed(suite, make_environment, plugin, said):
    suite.python = make_environment(suite.python, "pytest", "pytest-xdist", plugin)
    ours = order(suite, 11, "-p", "no:randomly", "-p", "no:random_order")
    theirs = order(suite, 11)
    assert order(suite, 11) == theirs != ours
    assert order(suite, 11, "-n1") == theirs
    assert said in suite.run(**FILES).output
