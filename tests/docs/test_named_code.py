"""The pages for contributors name files and functions that exist, so that a first guess leads to the right place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT, ROOT / "src/testgrove", ROOT / "packages/pytest-testgrove/src", ROOT / "docs")
IN_CODE = re.compile(r"`([\w./*<>-]+\.py|[\w./<>-]+/)(?:: (\w+)(?:\.(\w+))?\(\))?`")
PAGES = ("docs/architecture.md", "CONTRIBUTING.md")


def found(path: str) -> list[Path]:
    """What a path means: from the top or from a package; a name alone, any file of that name."""
    path = re.sub(r"<(engine|name)>", "postgres", path)
    patterns = [path] if "/" in path else [path, f"**/{path}"]
    return [file for top in SOURCES for pattern in patterns for file in top.glob(pattern) if ".venv" not in file.parts]


def names(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(page):
    text = (ROOT / page).read_text()
    mentions = [match.groups() for match in IN_CODE.finditer(text)]
    assert len(mentions) > 20, "the pattern finds nothing"
    for path, *called in mentions:
        files = found(path)
        assert files, f"{page} names {path}, which does not exist"
        for name in filter(None, called):
            assert any(name in names(file) for file in files), f"{page} names {name}() in {path}"
