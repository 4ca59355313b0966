"""The arguments of setup() in a setup.py, as far as they can be told without running it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def setup_keywords(content: bytes) -> dict[str, Any]:
    """The arguments of setup(), None for those that are not known.

    Names stand for what the module assigns to them, item by item. Of a list that is put together, the known part
    counts.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return {}
    names = _assigned(tree)
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) == "setup")
    return {str(keyword.arg): _value(keyword.value, names) for call in calls for keyword in call.keywords}


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


def _assigned(tree: ast.Module) -> dict[str, Any]:
    """Return the values of the module's names at its end."""
    names: dict[str, Any] = {}
    for target, node in _assignments(tree):
        if isinstance(target, ast.Name):
            names[target.id] = _value(node, names)
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            table, key = names.get(target.value.id), _value(target.slice, names)
            if isinstance(table, dict) and isinstance(key, str):
                table[key] = _value(node, names)
    return names


def _assignments(tree: ast.Module) -> Iterator[tuple[ast.expr, ast.expr]]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            yield statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            yield statement.target, statement.value


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return the value of an expression; None where it is not known."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Dict):
        pairs = ((_value(key, names), value) for key, value in zip(node.keys, node.values, strict=True) if key)
        return {key: _value(value, names) for key, value in pairs if isinstance(key, str)}
    if isinstance(node, (ast.List, ast.Tuple)):
        members = (_value(each, names) for each in node.elts if not isinstance(each, ast.Starred))
        return [member for member in members if member is not None]
    if isinstance(node, ast.Subscript):
        table, key = _value(node.value, names), _value(node.slice, names)
        return table.get(key) if isinstance(table, dict) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _together(_value(node.left, names), _value(node.right, names))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def _together(left: object, right: object) -> object:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    parts = [each for each in (left, right) if isinstance(each, (list, tuple))]
    return [member for part in parts for member in part] if parts else None
