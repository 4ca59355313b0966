"""Errors in a settings table: the key as the user wrote it, and what is allowed there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from testgrove.errors import UsageError


def explain(
    data: dict[str, Any], into: type[msgspec.Struct], source: Path, prefix: str, error: msgspec.ValidationError
) -> UsageError:
    """The error for data that does not convert into a type. prefix: of the keys (``tool.testgrove.``)."""
    message, _, where = str(error).partition(" - at ")
    key = where.strip("`").removeprefix("$").removeprefix(".").replace("[...]", ".*")
    path = _found(data, into, [part for part in key.split(".") if part])
    if match := re.search(r"unknown field `(.+)`", message):
        name = ".".join([*path, match[1]])
        hint = _there(_table_at(into, path), match[1])
        return _error("config-unknown-key", source, prefix + name, "unknown key", hint)
    name = prefix + ".".join(path) if path else prefix.rstrip(".")
    if match := re.search(r"required field `(.+)`", message):
        return _error("config-missing-key", source, f"{name}.{match[1]}", "is missing")
    return _error("config-wrong-type", source, name, _in_words(message, data, path), _suggested(message, data, path))


_KINDS = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "array": "a list",
    "object": "a table",
}  # fmt: skip


def _in_words(message: str, data: dict[str, Any], path: list[str]) -> str:
    """Put msgspec's message about a value in words of TOML, with the value itself."""
    match = re.fullmatch(r"Expected `(.+)`, got `.+`", message)
    value = _value_at(data, path)
    if not match or value is None:
        return message[0].lower() + message[1:].replace("`", "'")
    kinds = [_KINDS.get(kind, kind) for kind in match[1].split(" | ") if kind != "null"]
    expected = f"seconds ({kinds[0]})" if path[-1] == "timeout" else " or ".join(kinds)
    return f"expected {expected}, found {json.dumps(value, default=str, ensure_ascii=False)[:60]}"


def _suggested(message: str, data: dict[str, Any], path: list[str]) -> str:
    """The same value as it should be written; empty where that is not clear."""
    value, wanted = _value_at(data, path), re.match(r"Expected `([a-z]+)", message)
    kind = wanted[1] if wanted else ""
    if not path:
        return ""
    name, of_list, _ = path[-1].partition("[")
    written: Any = None
    if kind == "array" and not of_list:
        written = _texts([value])
    elif kind in ("float", "int") and isinstance(value, str):
        written = _number(value)
    elif kind == "str" and of_list:
        written = _texts(_value_at(data, [*path[:-1], name]))
    elif kind == "str":
        written = next(iter(_texts([value]) or ()), None)
    return "" if written is None else f"{name} = {json.dumps(written, ensure_ascii=False)}"


def _texts(values: list[Any]) -> list[str] | None:
    """Texts and numbers as texts; None where one is something else, or has lost an end: 3.10 is read as 3.1."""
    found = [str(value) for value in values if isinstance(value, str | int | float) and not isinstance(value, bool)]
    lost = any(isinstance(value, float) and re.search(r"\.\d$", str(value)) for value in values)
    return found if len(found) == len(values) and not lost else None


def _number(text: str) -> int | None:
    """``10 minutes`` as 600, ``3`` as 3."""
    match = re.fullmatch(r"\s*(\d+)\s*(s|secs?|seconds?|m|mins?|minutes?|h|hours?)?\s*", text)
    return int(match[1]) * {"m": 60, "h": 3600}.get((match[2] or "s")[0], 1) if match else None


def _value_at(data: Any, path: list[str]) -> Any:
    """The value at a path, whose parts are names, or those of lists with a number (``pythons[0]``)."""
    for part in path:
        name, _, index = part.partition("[")
        data = data.get(name) if isinstance(data, dict) else None
        if index and isinstance(data, list):
            data = data[int(index.removesuffix("]"))]
    return data if path else None


def _error(code: str, source: Path, key: str, problem: str, hint: str = "") -> UsageError:
    return UsageError(code, f"{source}: '{key}': {problem}", hint=hint, file=str(source), key=key)


def _found(data: dict[str, Any], into: type[msgspec.Struct], parts: list[str]) -> list[str]:
    """The path with the names that msgspec leaves out (``*``): of each table, the first entry that is wrong."""
    path: list[str] = []
    for part in parts:
        if part == "*":
            names = _at(data, path)
            part = next((name for name in names if _is_wrong(_only(data, path, name), into)), part)  # noqa: PLW2901
        path.append(part)
    return path


def _at(data: dict[str, Any], path: list[str]) -> dict[str, Any]:
    for part in path:
        data = data[part]
    return data


def _only(data: dict[str, Any], path: list[str], name: str) -> dict[str, Any]:
    """The data with one entry alone in the table at path."""
    if not path:
        return {name: data[name]}
    return data | {path[0]: _only(data[path[0]], path[1:], name)}


def _is_wrong(data: dict[str, Any], into: type[msgspec.Struct]) -> bool:
    try:
        msgspec.convert(data, into, strict=True)
    except msgspec.ValidationError:
        return True
    return False


def _table_at(into: type[msgspec.Struct], path: list[str]) -> tuple[str, ...]:
    """The keys of the table at path."""
    here: Any = msgspec.inspect.type_info(into)
    for part in path:
        if isinstance(here, msgspec.inspect.StructType):
            here = next(field.type for field in here.fields if field.encode_name == part)
        else:
            here = here.value_type
        if isinstance(here, msgspec.inspect.Metadata):
            here = here.type
        if isinstance(here, msgspec.inspect.UnionType):
            here = here.types[0]
    return tuple(field.encode_name for field in here.fields)


def _there(keys: tuple[str, ...], wrong: str) -> str:
    import difflib  # noqa: PLC0415 - for a mistake only

    near = difflib.get_close_matches(wrong, keys, 2)
    return f"did you mean {' or '.join(near)}?" if near else f"available: {', '.join(keys)}"
