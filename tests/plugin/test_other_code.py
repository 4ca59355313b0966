"""When pytest ends: modules that came from another checkout of the repository make the run an error."""

from __future__ import annotations

import sys
import time
from types import ModuleType

import pytest

from pytest_testgrove.foreign import Checkouts, find

IMPORTS = "import shop\ndef test_a():\n    assert shop.VALUE\n"
distributed = pytest.mark.parametrize("arguments", [(), ("-n2",)], ids=["alone", "xdist"])


@pytest.fixture
def main(suite):
    """Another checkout, which the suite knows of."""
    suite.foreign = [suite.write(suite.base / "main", shop="VALUE = 1\n")]
    return suite.foreign[0]


@distributed
def test_a_conftest_that_edits_the_path_is_an_error(suite, main, arguments):
    conftest = f"import sys\nsys.path.insert(0, {str(main)!r})\n"
    result = suite.run(*arguments, conftest=conftest, test_a=IMPORTS)
    assert result.status == 1
    assert result.outcomes() == {"test_a": "passed"}
    assert len(result.of("foreign")) == (2 if arguments else 1)
    for record in result.of("foreign"):
        assert record["count"] == 1
        assert record["modules"] == [{"module": "shop", "file": f"{main}/shop.py", "checkout": str(main)}]
    assert result.of("finish")[0]["exitstatus"] == 1
    assert "these tests ran code from elsewhere" in result.output
    assert f"shop: {main}/shop.py" in result.output


@distributed
def test_a_conftest_that_adds_this_tree_passes(suite, main, arguments):
    conftest = f"import sys\nsys.path.insert(0, {str(suite.tree / 'lib')!r})\n"
    result = suite.run(*arguments, conftest=conftest, lib__shop="VALUE = 2\n", test_a=IMPORTS)
    assert result.status == 0, result.output
    assert not result.of("foreign")
    assert "other code" not in result.output


def test_an_exit_status_that_says_more_is_kept(suite, main):
    conftest = f"import sys\nsys.path.insert(0, {str(main)!r})\nimport shop\n"
    result = suite.run("-k", "nothing", conftest=conftest, test_a=IMPORTS)
    assert result.status == 5
    assert result.of("foreign")


def test_only_twenty_modules_are_listed(suite, main):
    suite.write(main, **{f"many__m{number}": "" for number in range(30)})
    source = f"import sys; sys.path.insert(0, {str(main)!r})\n" + "".join(f"import many.m{i}\n" for i in range(30))
    result = suite.run(test_a=source + "def test_a(): ...\n")
    (record,) = result.of("foreign")
    assert len(record["modules"]) == 20
    assert record["count"] == 31
    assert "and 11 more" in result.output


def test_a_broken_list_of_checkouts_is_a_usage_error(suite):
    suite.inject = False
    suite.env = {"TESTGROVE_SESSION": str(suite.session()), "TESTGROVE_FOREIGN": "nonsense"}
    result = suite.run(test_a="def test_a(): ...\n")
    assert result.status == 4
    assert "TESTGROVE_FOREIGN" in result.output


# --- the classification itself


def module(name, **attributes):
    made = ModuleType(name)
    made.__dict__.update(attributes)
    return {name: made}


@pytest.fixture
def places(tmp_path):
    """tree in main, nested in tree: each with a package."""
    for folder in ("main", "main/worktrees/unit", "main/worktrees/unit/inner"):
        (tmp_path / folder / "shop").mkdir(parents=True)
        (tmp_path / folder / "shop/__init__.py").touch()
    main = tmp_path / "main"
    tree = main / "worktrees/unit"
    return main, tree, tree / "inner"


@pytest.mark.parametrize(
    ("file", "checkout"),
    [("worktrees/unit/shop/__init__.py", None), ("shop/__init__.py", "."),
     ("worktrees/unit/inner/shop/__init__.py", "worktrees/unit/inner"), ("worktrees/unitary/x.py", "."),
     ("worktrees/unit/../../shop/__init__.py", "."), ("worktrees/unit/gone/x.py", None)],
)  # fmt: skip
def test_the_innermost_checkout_counts(places, file, checkout):
    main, tree, inner = places
    found = find(module("shop", __file__=f"{main}/{file}"), Checkouts(str(tree), [str(main), str(inner)]))
    assert [item["checkout"] for item in found] == ([str((main / checkout).resolve())] if checkout else [])


def test_links_are_followed(places, tmp_path):
    main, tree, _ = places
    site = tmp_path / "env/lib/python3.11/site-packages"
    site.mkdir(parents=True)
    (site / "shop").symlink_to(main / "shop")
    (site / "one.py").symlink_to(main / "one.py")
    (main / "one.py").touch()
    (tree / "two.py").symlink_to(main / "one.py")
    (tmp_path / "alias").symlink_to(tree)
    checkouts = Checkouts(str(tree), [str(main)])
    assert checkouts.owner(f"{site}/shop/__init__.py") == str(main)
    assert checkouts.owner(f"{site}/one.py") == str(main)
    assert checkouts.owner(f"{tree}/two.py") == str(main)
    assert checkouts.owner(f"{tmp_path}/alias/shop/__init__.py") == ""
    assert Checkouts(f"{tmp_path}/alias", [str(main)]).owner(f"{tree}/shop/__init__.py") == ""


def test_a_portion_of_a_namespace_package_counts(places):
    main, tree, _ = places
    checkouts = Checkouts(str(tree), [str(main)])
    assert find(module("acme", __path__=[f"{tree}/shop"]), checkouts) == []
    found = find(module("acme", __path__=[f"{tree}/shop", f"{main}/shop"]), checkouts)
    assert found == [{"module": "acme", "file": f"{main}/shop", "checkout": str(main)}]


def test_whatever_stands_among_the_modules_is_survived(places):
    main, tree, _ = places

    class Lazy(ModuleType):
        def __getattr__(self, name):
            raise RuntimeError(f"must not be asked for {name}")

    modules = {"none": None, "number": 3, "lazy": Lazy("lazy"), "odd": ModuleType("odd"), **sys.modules}
    modules["odd"].__file__ = 7
    modules["odd"].__path__ = 8
    assert find(modules, Checkouts(str(tree), [str(main)])) == []


def test_two_thousand_modules_cost_a_few_milliseconds(tmp_path):
    modules = {}
    for number in range(300):
        folder = tmp_path / f".venv/lib/python3.11/site-packages/package{number // 10}/part{number}"
        folder.mkdir(parents=True)
        for name in range(7):
            (folder / f"m{name}.py").touch()
            modules |= module(f"p{number}.m{name}", __file__=f"{folder}/m{name}.py")
    best = min(_seconds(modules, str(tmp_path)) for _ in range(5))
    assert best < 0.03, "3 ms on a quiet machine; ten times that is a defect"


def _seconds(modules, tree):
    started = time.perf_counter()
    assert find(modules, Checkouts(tree, ["/nowhere/main"])) == []
    return time.perf_counter() - started
