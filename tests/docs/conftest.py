"""The documentation's pages, and a shell in which their examples are typed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """What makes the generated pages."""
    spec = importlib.util.spec_from_file_location("reference", HERE / "tools/reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pages(reference) -> dict[str, str]:
    """The generated pages, by their path below docs/."""
    return reference.pages()
