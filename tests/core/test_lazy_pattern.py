"""Patterns that are compiled when they are first used."""

from __future__ import annotations

import re

import pytest

from testgrove.core.lazy_pattern import lazy_pattern


def test_it_behaves_as_the_compiled_pattern():
    lazy, compiled = lazy_pattern(r"(?P<word>\w+)-\1", re.IGNORECASE), re.compile(r"(?P<word>\w+)-\1", re.IGNORECASE)
    for text in ("ab-AB", "ab-cd"):
        assert bool(lazy.search(text)) == bool(compiled.search(text))
        assert lazy.sub("x", text) == compiled.sub("x", text)
    assert (lazy.pattern, lazy.flags, lazy.groupindex) == (compiled.pattern, compiled.flags, compiled.groupindex)
    assert lazy_pattern(rb"\d+").findall(b"1 22") == [b"1", b"22"]


def test_it_is_compiled_when_it_is_first_used():
    broken = lazy_pattern("(")
    with pytest.raises(re.error, match="missing"):
        broken.search("")
