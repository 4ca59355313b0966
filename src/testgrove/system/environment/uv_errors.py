"""A failure of uv, from its output: the error, its cause, and what to do."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from testgrove.core.environments.declared import parse_toml
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.errors import ExhaustedError, PreconditionError, TestgroveError, UnavailableError

OFFLINE = lazy_pattern(r"network was disabled|connectivity is disabled|not found in the cache")
# Lines that name a cause, the surest first; of each, the last one counts.
_CAUSES = (
    lazy_pattern(r"(?:\S+: )?fatal error: .+"),  # a compiler's
    lazy_pattern(r"\S*meson\.build:\d+:\d+: ERROR: .+|CMake Error.*|error: linker .+|.*cannot find -l\S+"),
    lazy_pattern(r"(?:ModuleNotFoundError|ImportError): .+"),
    lazy_pattern(r"Failed to fetch: .+"),
    lazy_pattern(r"Because .+"),
    lazy_pattern(r"\w*(?:Error|Exception): .+"),
)
_BUILD = lazy_pattern(r"[Bb]uild backend|Failed to build|build_(?:wheel|editable)")
_LONGEST = 24


def explain_failure(output: str, tree: Path, command: str) -> TestgroveError:
    """The error for a failed uv. tree: the checkout. command: what repeats it, if that can be said."""
    code, what = "environment-failed", f"uv failed to create the environment of {tree}"
    message = "\n  ".join([f"{what}:", *essence(output), *_build_requirements(output, tree), *_cause(output)])
    for pattern, error, hint in _FAILURES:
        if re.search(pattern, output):
            code = "disk-full" if error is ExhaustedError else code
            said = hint.format(parent=tree.parent, command=command).removesuffix("; to check: ")
            return error(code, message, hint=said, tree=str(tree), command=command)
    return PreconditionError(code, message, hint=command, tree=str(tree), command=command)


# Errors in uv's output, first match wins: pattern, error, hint.
_FAILURES: tuple[tuple[str, type[TestgroveError], str], ...] = (
    (r"No space left on device|os error 28\b|os error 122\b|quota exceeded", ExhaustedError, "df -h {parent}"),
    (
        OFFLINE.pattern,
        UnavailableError,
        "run it once without --offline to fill uv's cache",
    ),
    (
        r"error sending request|dns error|Failed to (fetch|download)|[Cc]onnection (refused|reset)|timed out",
        UnavailableError,
        "--offline   with a warm cache; else check the network and the index settings",
    ),
    (
        r"Python requirement|does not satisfy Python|requires-python",
        PreconditionError,
        "choose another interpreter with --python",
    ),
    (
        r"Multiple top-level (packages|modules) discovered",
        PreconditionError,
        "name its packages under [tool.setuptools], or write `package = false` under [tool.uv]",
    ),
    (r"No solution found", PreconditionError, "change the requirements that conflict; to check: {command}"),
)


def essence(output: str) -> list[str]:
    """The last error that uv reported; the middle of a long one is left out."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if re.match(r"error:|\s+× ", line)]
    lines = lines[errors[-1] :] if errors else lines[-12:]
    return lines if len(lines) <= _LONGEST else [*lines[:8], "…", *lines[-15:]]


def _cause(output: str) -> list[str]:
    """The line that names the cause, where it is not among the last ones anyway."""
    found = next((match for sign in _CAUSES if (match := sign.findall(output))), [])
    last = " ".join(output.rstrip().splitlines()[-2:])
    return [found[-1].strip()] if found and found[-1].strip() not in last else []


def _build_requirements(output: str, tree: Path) -> list[str]:
    """Return the requirements of the project's own build, if building failed."""
    if not _BUILD.search(output):
        return []
    with suppress(OSError, ValueError):
        system = parse_toml((tree / "pyproject.toml").read_bytes()).get("build-system", {})
        if isinstance(system, dict) and system.get("requires"):
            return [f"build requirements in pyproject.toml: {', '.join(map(str, system['requires']))}"]
    return []
