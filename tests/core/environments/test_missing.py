"""Distributions that an environment lacks."""

from __future__ import annotations

import pytest

from testgrove.core.environments.missing import distribution_of


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("httpx", "httpx"),
        ("yaml", "pyyaml"),
        ("distutils", "setuptools"),
        ("tkinter", ""),
        ("imp", ""),
        ("_speedups", ""),
        ("google", ""),
        ("utils", ""),
    ],
)
def test_a_distribution_is_named_only_where_it_is_no_other_is_likely(module, distribution):
    assert distribution_of(module) == distribution
