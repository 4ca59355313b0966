"""Groups that uv does not read: those of Poetry, PDM and Pipenv, as requirements that it reads.

Poetry and Pipenv have words of their own for them: ``^1.2``, ``{version = "*", extras = [...]}``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CARET_OR_TILDE = lazy_pattern(r"([\^~])(?!=)\s*v?((\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.\d+)*([a-zA-Z.+-].*)?)$")


def poetry_groups(tool: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The dependency groups in the ``[tool.poetry]`` table, as requirements."""
    tables = {"dev": tool.get("dev-dependencies", {})}
    tables |= {name: group.get("dependencies", {}) for name, group in tool.get("group", {}).items()}
    return {name: requirements(table) for name, table in tables.items() if table}


def pdm_groups(tool: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The development dependencies in the ``[tool.pdm]`` table, by group."""
    table = tool.get("dev-dependencies", {})
    return {name: tuple(map(_pdm_requirement, members)) for name, members in table.items()}


def _pdm_requirement(text: str) -> str:
    if not text.startswith("-e "):
        return text
    return "./" + text[3:].strip().removeprefix("file:///${PROJECT_ROOT}/").partition("#")[0]


def requirements(table: Mapping[str, Any]) -> tuple[str, ...]:
    """A table of names and constraints as requirements; those for extras alone are left out."""
    return tuple(text for name, spec in table.items() if name != "python" for text in _each(name, spec))


def _each(name: str, spec: object) -> Iterator[str]:
    if isinstance(spec, list):
        for one in spec:
            yield from _each(name, one)
    elif isinstance(spec, str):
        yield name + specifiers(spec)
    elif isinstance(spec, dict) and not spec.get("optional"):
        yield _detailed(name, spec)


def _detailed(name: str, spec: Mapping[str, Any]) -> str:
    if "path" in spec:
        return f"./{spec['path']}"
    extras = f"[{','.join(spec['extras'])}]" if spec.get("extras") else ""
    markers = [spec["markers"]] if spec.get("markers") else []
    markers += [f"python_version {sign} '{version}'" for sign, version in _python(spec.get("python", ""))]
    where = f" @ {spec['url']}" if "url" in spec else ""
    if "git" in spec:
        ref = next((spec[key] for key in ("rev", "tag", "branch", "ref") if key in spec), "")
        where = f" @ git+{spec['git']}" + (f"@{ref}" if ref else "")
    text = f"{name}{extras}{where or specifiers(str(spec.get('version', '*')))}"
    return f"{text} ; {' and '.join(f'({each})' for each in markers)}" if markers else text


def _python(constraint: str) -> list[tuple[str, str]]:
    """Its parts, each an operator and a version."""
    matches = (re.match(r"([<>=!]=|[<>])(.+)", part) for part in specifiers(constraint).split(","))
    return [(match[1], match[2]) for match in matches if match]


def specifiers(constraint: str) -> str:
    """A constraint of Poetry's as the version specifiers of the standard; empty where any version will do.

    One with alternatives (``||``) cannot be said in them, and counts as any version.
    """
    if "|" in constraint:
        return ""
    constraint = re.sub(r"([<>=!~^])\s+", r"\1", constraint.strip())
    return ",".join(filter(None, map(_one, re.split(r"\s*,\s*|\s+", constraint))))


def _one(part: str) -> str:
    if part in ("", "*"):
        return ""
    if match := _CARET_OR_TILDE.match(part):
        numbers = [int(number) for number in match.group(3, 4, 5) if number is not None]
        return f">={match[2]},<{_after(match[1], numbers)}"
    return part if part[0] in "<>=!~" else f"=={part}"


def _after(sign: str, numbers: list[int]) -> str:
    """The first version that a caret or a tilde excludes."""
    if sign == "~":
        position = min(1, len(numbers) - 1)
    else:
        position = next((position for position, number in enumerate(numbers) if number), len(numbers) - 1)
    return ".".join(map(str, [*numbers[:position], numbers[position] + 1]))
