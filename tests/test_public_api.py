"""The public surface is explicit, and costs nothing until it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources

import pytest

import testgrove
from testgrove.core import scenario_file, settings


def test_every_exported_member_is_there():
    for name in testgrove.__all__:
        assert getattr(testgrove, name) is not None
    assert sorted(testgrove.__all__) == testgrove.__all__


def test_importing_the_package_imports_nothing_else():
    code = "import sys, testgrove; print([name for name in sys.modules if name.startswith('testgrove.')])"
    done = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", [settings, scenario_file], ids=["settings", "scenarios"])
def test_the_published_schema_is_that_of_the_types(kind):
    name = "settings" if kind is settings else "scenarios"
    published = json.loads(resources.files("testgrove").joinpath(f"{name}.schema.json").read_text())
    assert published == json.loads(json.dumps(kind.json_schema())), "write it anew: make schema"
