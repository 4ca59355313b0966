"""The oldest and the newest Python and pytest, together with the plugins that people have."""

from __future__ import annotations

import pytest

import needs

TESTS = """
import random
import pytest
import shop

tries = []

def test_passes():
    assert shop.double(2) == 4

def test_fails():
    assert shop.double(2) == 5

@pytest.mark.flaky(reruns=2)
def test_flaky():
    tries.append(1)
    assert len(tries) == 2, "not yet"

@pytest.mark.skip(reason="why")
def test_skipped(): ...

@pytest.mark.xfail
def test_xfailed():
    assert 0
"""
EXPECTED = {
    "test_passes": "passed", "test_fails": "failed", "test_flaky": "passed", "test_skipped": "skipped",
    "test_xfailed": "xfailed",
}  # fmt: skip
PLUGINS = ("pytest-xdist", "pytest-randomly", "pytest-rerunfailures", "pytest-cov")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.9", "3.13"])
@pytest.mark.parametrize("wanted", ["pytest==7.4.*", "pytest"])
def test_python_and_pytest_versions(suite, make_environment, version, wanted):
    suite.python = make_environment(str(needs.interpreter(version)), wanted, *PLUGINS)
    main = suite.write(suite.base / "main", shop="def double(n):\n    return 2 * n\n")
    suite.write(shop="def double(n):\n    return 2 * n\n", test_a=TESTS)
    (suite.tree / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    suite.foreign = [main]
    for arguments in ((), ("-n2",), ("-n2", "--cov=shop"), ("--cov=shop",)):
        result = suite.run(*arguments)
        assert result.outcomes() == EXPECTED, result.output
        assert result.test("test_flaky")["reruns"] == 1
        assert result.test("test_flaky")["message"] == ""
        assert result.of("session")[0]["python"].startswith(version)
        assert result.of("collected") == [{"type": "collected", "selected": 5, "deselected": 0}]
        assert result.of("finish")[0]["exitstatus"] == result.status == 1
        assert not result.of("foreign")
        assert "warning" not in result.output
    (suite.tree / "shop.py").unlink()
    for arguments in ((), ("-n2", "--cov=shop")):
        result = suite.run("-k", "passes", *arguments, conftest=f"import sys\nsys.path.append({str(main)!r})\n")
        assert result.outcomes() == {"test_passes": "passed"}, result.output
        assert result.of("foreign")[0]["modules"][0]["checkout"] == str(main)
        assert result.status == 1
