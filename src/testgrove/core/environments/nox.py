"""Installs and test commands of nox, as far as a noxfile.py has them in literals. Nothing is run."""

from __future__ import annotations

import ast
import shlex
from typing import TYPE_CHECKING

from testgrove.core.environments.install_words import InstallTargets, asked
from testgrove.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

_INSTALLING = ("install", "conda_install", "run_install")


@frozen
class NoxSession:
    """A session. asked: what it installs; commands: what it runs."""

    name: str
    asked: InstallTargets
    commands: tuple[str, ...]


def read_nox(content: bytes, own: str = "") -> tuple[NoxSession, ...]:
    """The sessions, in the order of the file; none for what is not Python. own: the name of the project itself."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return ()
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return tuple(_session(each, own) for each in functions if any(map(_is_session, each.decorator_list)))


def _is_session(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(target, "attr", getattr(target, "id", "")) == "session"


def _session(function: ast.FunctionDef, own: str) -> NoxSession:
    receiver = function.args.args[0].arg if function.args.args else "session"
    words: list[str] = []
    commands: list[str] = []
    for method, arguments in _calls(function, receiver):
        if method in _INSTALLING:
            skipped = ("uv", "sync", "pip", "install", "poetry", "pdm") if method == "run_install" else ()
            words += [word for word in arguments if word not in skipped]
        elif method == "run" and arguments:
            commands.append(shlex.join(arguments))
    return NoxSession(function.name, asked(words, own), tuple(commands))


def _calls(function: ast.FunctionDef, receiver: str) -> Iterator[tuple[str, list[str]]]:
    """Each ``session.method(…)`` with its literal arguments, in the order of the file."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == receiver:
            yield call.func.attr, [word for argument in call.args for word in _literals(argument)]


def _literals(argument: ast.expr) -> Iterator[str]:
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value
    elif isinstance(argument, ast.Starred) and isinstance(argument.value, (ast.List, ast.Tuple)):
        for element in argument.value.elts:
            yield from _literals(element)
