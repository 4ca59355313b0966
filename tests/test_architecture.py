"""Rules of the architecture that import-linter cannot see: what source may say, and where."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from testgrove.core.engines.registry import BUILT_IN

SOURCE = Path(__file__).parents[1] / "src/testgrove"
TABLES = "holders|projects|worktrees|leases|runs|durations"
STATEMENT = re.compile(rf"\s*(SELECT|INSERT|UPDATE|DELETE)\b|.*\b(FROM|INTO|JOIN|UPDATE) ({TABLES})\b", re.DOTALL)
STARTS = re.compile(r"fork(pty)?|exec[lv]p?e?|posix_spawnp?|spawn[lv]p?e?|system|popen")


@cache
def modules() -> dict[str, ast.Module]:
    """Every module, by its path under the source."""
    paths = sorted(SOURCE.rglob("*.py"))
    return {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def statements(tree: ast.AST) -> Iterator[str]:
    """The SQL in a module: every text that begins as a statement does, or names one of the store's tables in one."""
    prose = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}  # docstrings
    for each in ast.walk(tree):
        is_text = isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in prose
        if is_text and STATEMENT.match(each.value):
            yield each.value


def starts(tree: ast.AST) -> Iterator[str]:
    """What in a module makes a process, or replaces this one."""
    for each in ast.walk(tree):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            if each.value.id in ("os", "pty") and STARTS.fullmatch(each.attr):
                yield f"{each.value.id}.{each.attr}"
        elif isinstance(each, ast.ImportFrom) and each.module in ("os", "pty"):
            yield from (f"{each.module}.{name.name}" for name in each.names if STARTS.fullmatch(name.name))


def rows(tree: ast.AST) -> Iterator[str]:
    """Columns that a module takes out of a row by their names."""
    for each in ast.walk(tree):
        if isinstance(each, ast.Subscript) and isinstance(each.slice, ast.Constant):
            named = each.value.id if isinstance(each.value, ast.Name) else getattr(each.value, "attr", "")
            if named == "row" and isinstance(each.slice.value, str):
                yield each.slice.value


def slow_classes(tree: ast.AST) -> Iterator[str]:
    """Frozen dataclasses whose classes are slow to create: each adds half a millisecond to the start of a command."""
    for each in ast.walk(tree):
        if isinstance(each, ast.ClassDef):
            for decorator in map(ast.unparse, each.decorator_list):
                if "dataclass" in decorator and "frozen=True" in decorator and "eq=False" not in decorator:
                    yield f"class {each.name}"


# What is looked for, where it belongs, and lines that must be found.
RULES = {
    "the store's SQL": (
        statements,
        # services: engines speak to databases of the project's
        ("system/store/", "services/"),
        ['store.rows("SELECT * FROM worktrees")', 'db.execute(f"UPDATE runs SET {what}")', 'x = ("a" " FROM leases")'],
    ),
    "starting processes": (
        starts,
        ("system/processes/process.py", "system/processes/supervised_job.py", "documented/"),
        ["os.fork()", "os.execvpe(a, b, c)", "from os import posix_spawn", "pty.fork()", "os.system('x')"],
    ),
    "rows as the database has them": (
        rows,
        ("system/store/",),
        ['row["path"]', "self.row['id']", "place.row['holder'] = None"],
    ),
    "dataclass(frozen=True), not core.frozen": (
        slow_classes,
        ("documented/",),
        ["@dataclass(frozen=True)\nclass A: ...", "@dataclasses.dataclass(order=True, frozen=True)\nclass A: ..."],
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_it_stands_where_it_belongs_only(rule):
    found, homes, _ = RULES[rule]
    strays = {
        name: lines for name, tree in modules().items() if not name.startswith(homes) and (lines := list(found(tree)))
    }
    assert strays == {}, f"{rule}: only in {', '.join(homes)}"


@pytest.mark.parametrize("rule", RULES)
def test_a_breach_is_seen(rule):
    found, _, breaches = RULES[rule]
    for line in breaches:
        assert list(found(ast.parse(line))), line


def test_ordinary_text_is_no_statement():
    tree = ast.parse('"""SELECT in a docstring."""\nsay("Update worktrees from a branch")\nrow = 1\nrows["a"]\n')
    assert [*statements(tree), *starts(tree), *rows(tree)] == []


def test_the_engines_of_this_distribution_are_declared_in_three_places():
    """In their folders, where they are found; as entry points, for others; in the contract of import-linter."""
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["testgrove.engines"] == BUILT_IN
    contracts = project["tool"]["importlinter"]["contracts"]
    (independent,) = (each for each in contracts if each["name"] == "engines are independent of one another")
    assert set(independent["modules"]) == {f"testgrove.services.engines.{name}" for name in BUILT_IN}
