"""The public surface is explicit, and costs nothing until it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources

import testgrove
from testgrove.core.documents.schema_files import schema_files


def test_every_exported_member_is_there():
    for name in testgrove.__all__:
        assert getattr(testgrove, name) is not None
    assert sorted(testgrove.__all__) == testgrove.__all__


def test_importing_the_package_imports_nothing_else():
    code = "import sys, testgrove; print([name for name in sys.modules if name.startswith('testgrove.')])"
    done = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True)
    assert done.stdout.strip() == "[]"


def test_the_published_schemas_are_those_of_the_types():
    folder = resources.files("testgrove") / "schemas"
    published = {file.name: json.loads(file.read_text()) for file in folder.iterdir()}
    assert published == json.loads(json.dumps(schema_files())), "write them anew: make schema"
