"""How large functions, modules and folders may be, so that a reader finds and understands them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parent.parent
MODULES = sorted(
    path
    for root in ("src/testgrove", "packages/pytest-testgrove/src")
    for path in (TOP / root).rglob("*.py")
    if "documented" not in path.parts  # copied into users' repositories: each is to be understood alone
)
LONGEST_FUNCTION = 45
NINE_OF_TEN_FUNCTIONS = 20
LONGEST_MODULE = 350
MODULES_IN_A_FOLDER = 25


def functions(module: Path) -> Iterator[tuple[int, str]]:
    """The functions of a module: lines without decorators, and where."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.end_lineno - node.lineno + 1, f"{module.relative_to(TOP)}:{node.lineno} {node.name}"


def test_functions_are_short():
    found = sorted(each for module in MODULES for each in functions(module))
    assert len(found) > 1000
    assert [each for each in found if each[0] > LONGEST_FUNCTION] == []
    assert found[len(found) * 9 // 10][0] <= NINE_OF_TEN_FUNCTIONS


def test_modules_are_short():
    lines = {str(module.relative_to(TOP)): len(module.read_text().splitlines()) for module in MODULES}
    assert {name: count for name, count in lines.items() if count > LONGEST_MODULE} == {}


def test_folders_hold_few_modules():
    found = Counter(module.parent.relative_to(TOP) for module in MODULES if module.name != "__init__.py")
    assert {str(folder): count for folder, count in found.items() if count > MODULES_IN_A_FOLDER} == {}
