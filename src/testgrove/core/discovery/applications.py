"""The application processes of a project: web applications and workers of the known frameworks."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from testgrove.core.discovery.python_sources import own_calls
from testgrove.core.frozen import frozen

if TYPE_CHECKING:
    import ast
    from collections.abc import Collection, Iterator, Mapping

_NOT_THE_PROJECT = {
    "tests",
    "test",
    "testing",
    "docs",
    "doc",
    "docs_src",
    "examples",
    "example",
    "benchmarks",
    "scripts",
}
_HEALTH = re.compile(r"[\"'](/(?:api/)?(?:health(?:z|check|-check)?|livez|readyz|ping)/?)[\"']")


@frozen
class Application:
    """One process, as the settings have it. name: ``api``, ``web`` or ``worker``; shown: for a comment."""

    name: str
    shown: str
    command: str
    ready: str


def find_applications(
    files: Collection[str], texts: Mapping[str, str], modules: Mapping[str, ast.Module]
) -> tuple[Application, ...]:
    """The processes that can be started from the top of the checkout: one web application, and one Celery worker."""
    found = [*_web_applications(files, texts, modules)][:1]
    for _, name, variable in _made(files, modules, "Celery"):
        if not variable.endswith("()"):
            # As `celery --app` has it; the log line comes once the worker is connected to its broker.
            command = f"celery --app {name}:{variable} worker --loglevel=INFO"
            found.append(Application("worker", "Celery", command, "log:ready\\\\."))
            break
    return tuple(found)


def _web_applications(
    files: Collection[str], texts: Mapping[str, str], modules: Mapping[str, ast.Module]
) -> Iterator[Application]:
    for path, name, variable in _made(files, modules, "FastAPI"):
        factory = "--factory " if variable.endswith("()") else ""
        target = f"{name}:{variable.removesuffix('()')}"
        command = f"uvicorn {factory}{target} --host 127.0.0.1 --port ${{API_PORT}}"
        yield Application("api", "FastAPI", command, _ready("API_PORT", texts[path]))
    for path, name, variable in _made(files, modules, "Flask"):
        target = f"{name}:{variable.removesuffix('()')}"
        command = f"flask --app {target} run --host 127.0.0.1 --port ${{APP_PORT}}"
        yield Application("web", "Flask", command, _ready("APP_PORT", texts[path]))
    if "manage.py" in files and "django" in texts.get("manage.py", "").lower():
        command = "python manage.py runserver --noreload 127.0.0.1:${APP_PORT}"
        yield Application("web", "Django", command, "tcp://127.0.0.1:${APP_PORT}")


def _ready(port: str, text: str) -> str:
    """The check of readiness: a route for it in the same file, else the port."""
    health = _HEALTH.search(text)
    return f"http://127.0.0.1:${{{port}}}{health[1]}" if health else f"tcp://127.0.0.1:${{{port}}}"


def _made(files: Collection[str], modules: Mapping[str, ast.Module], class_name: str) -> Iterator[tuple[str, str, str]]:
    """Yield where an object of a class is made: the file, the module's name, and the variable or the function.

    Variables come first, then the files nearest to the top.
    """
    made = [
        (variable.endswith("()"), path.count("/"), path, name, variable)
        for path, module in modules.items()
        if (name := _module_name(path, files))
        for variable, _ in own_calls(module, class_name)
        if not variable.endswith("()") or not _needs_arguments(module, variable)
    ]
    yield from ((path, name, variable) for _, _, path, name, variable in sorted(made))


def _needs_arguments(module: ast.Module, function: str) -> bool:
    """Return whether a function cannot be called without arguments."""
    for node in module.body:
        if getattr(node, "name", "") == function.removesuffix("()"):
            arguments = node.args  # type: ignore[attr-defined]  # own_calls() finds functions only
            return len(arguments.posonlyargs + arguments.args) > len(arguments.defaults)
    return False


def _module_name(path: str, files: Collection[str]) -> str:
    """The name under which a file is imported from the top or from ``src``; empty where it is not the project's."""
    inner = path.removeprefix("src/")
    parts = list(PurePosixPath(inner).with_suffix("").parts)
    if _NOT_THE_PROJECT & set(parts) or parts[-1].startswith(("test_", "conftest")):
        return ""
    below = ["/".join(parts[: depth + 1]) for depth in range(1, len(parts) - 1)]
    start = "src/" if inner != path else ""
    if any(f"{start}{folder}/__init__.py" not in files for folder in below):
        return ""
    if len(parts) > 1 and f"{start}{parts[0]}/pyproject.toml" in files:  # another project's
        return ""
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts) if all(part.isidentifier() for part in parts) else ""
