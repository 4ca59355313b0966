"""The environment variables that a project reads, from its files. No value is taken that could be a secret."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from testgrove.core.discovery.python_sources import dotted, text_of
from testgrove.core.environments.workflows import is_workflow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_READS = re.compile(r"(?:.*\.)?(?:environ\.(?:get|pop|setdefault)|getenv|[a-z_]*env(?:iron)?(?:\.\w+)?|config)")
_ENV_FILE = re.compile(r"(?:.*/)?\.env(?:\.[\w.-]+)?")
_ENV_LINE = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z]\w*)[ \t]*=[ \t]*[\"']?([^\s\"'#]*)", re.MULTILINE)
_YAML_LINE = re.compile(r"^[ \t]*(?:-[ \t]+)?([A-Z][A-Z0-9_]*)[ \t]*[:=][ \t]*[\"']?([^\s\"'#]*)", re.MULTILINE)


def is_env_file(path: str) -> bool:
    """Return whether a file is a ``.env`` or an example of one."""
    return _ENV_FILE.fullmatch(path) is not None


def used_variables(texts: Mapping[str, str], modules: Mapping[str, ast.Module]) -> dict[str, str]:
    """The variables that a project reads, each with its default or an example; empty where there is none.

    Python code counts first. What an env file, a Compose file or a workflow sets counts where Python code mentions the
    name, in any case: a container's variables are its own.
    """
    found: dict[str, str] = {}
    for module in modules.values():
        for name, value in (*_read_by_calls(module), *_read_by_classes(module)):
            found[name] = found.get(name) or value
    words = {word.lower() for path, text in texts.items() if path.endswith(".py") for word in _NAME.findall(text)}
    for name, value in _set_elsewhere(texts):
        if name in found or name.lower() in words:
            found[name] = found.get(name) or value
    return found


def _read_by_calls(module: ast.Module) -> Iterator[tuple[str, str]]:
    """``os.environ["X"]``, ``os.getenv("X", "default")``, ``env.str("X")``, ``config("X", default="…")``."""
    for node in ast.walk(module):
        if isinstance(node, ast.Subscript) and dotted(node.value).rpartition(".")[2] == "environ":
            name, value = text_of(node.slice), ""
        elif isinstance(node, ast.Call) and node.args and _READS.fullmatch(dotted(node.func)):
            name, value = text_of(node.args[0]), _default(node)
        else:
            continue
        if _NAME.fullmatch(name):
            yield name, value


def _default(call: ast.Call) -> str:
    named = next((each.value for each in call.keywords if each.arg == "default"), None)
    return text_of(named or (call.args[1] if len(call.args) > 1 else None))


def _read_by_classes(module: ast.Module) -> Iterator[tuple[str, str]]:
    """The fields of pydantic's settings: ``POSTGRES_SERVER: str``, in any case, with their ``env_prefix``."""
    for node in ast.walk(module):
        if not isinstance(node, ast.ClassDef) or not any(dotted(base).endswith("Settings") for base in node.bases):
            continue
        prefix = next(filter(None, map(_prefix, ast.walk(node))), "")
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                yield f"{prefix}{field.target.id}".upper(), text_of(field.value)


def _prefix(node: ast.AST) -> str:
    """The value of ``env_prefix``, of `model_config` or of the older class `Config`."""
    if isinstance(node, ast.keyword):
        return text_of(node.value) if node.arg == "env_prefix" else ""
    is_set = isinstance(node, ast.Assign) and dotted(node.targets[0]) == "env_prefix"
    return text_of(node.value) if is_set else ""  # type: ignore[attr-defined]  # an assignment has a value


def _set_elsewhere(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for path, text in texts.items():
        if is_env_file(path):
            yield from _ENV_LINE.findall(text)
        elif path.endswith(("compose.yml", "compose.yaml")) or "compose." in path or is_workflow(path):
            yield from _YAML_LINE.findall(text)
