"""The tables of services: each is read by the type that its engine declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from testgrove.core.engines.registry import engine_of, known_engines
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.core.settings.errors import explain
from testgrove.core.settings.types import Service
from testgrove.errors import UsageError

_NAME = lazy_pattern(r"[a-z][a-z0-9_-]{0,29}")


def read_services(tables: dict[str, Any], source: Path, prefix: str) -> dict[str, Service]:
    """The services by name. prefix: of the keys (``tool.testgrove.services.``). Raises UsageError."""
    return {name: _read(name, table, source, f"{prefix}{name}") for name, table in tables.items()}


def _read(name: str, table: Any, source: Path, key: str) -> Service:
    def wrong(code: str, problem: str, key: str = key, hint: str = "") -> UsageError:
        return UsageError(code, f"{source}: '{key}': {problem}", hint=hint, file=str(source), key=key)

    if not isinstance(table, dict):
        raise wrong("config-wrong-type", f"expected a table, found {table!r}")
    if not _NAME.fullmatch(name):
        raise wrong("config-invalid", "expected a name of up to 30 lower-case letters, digits, '_' or '-'")
    asked = table.get("engine", name)
    try:
        engine = engine_of(asked) if isinstance(asked, str) else None
    except UsageError as error:
        if "engine" in table or error.code != "unknown-engine":
            raise wrong("config-invalid", error.message, f"{key}.engine", error.hint) from error
        raise wrong("config-unknown-key", "unknown key", hint=_suggestion(name)) from error
    kind = (engine and engine.settings) or Service
    if engine and (unused := sorted(engine.refused & table.keys())):
        keys = (field.encode_name for field in msgspec.structs.fields(kind))
        there = ", ".join(each for each in keys if each not in engine.refused)
        raise wrong("config-unknown-key", "unknown key", f"{key}.{unused[0]}", f"there are: {there}")
    try:
        return msgspec.structs.replace(msgspec.convert(table, kind, strict=True), engine=asked)
    except msgspec.ValidationError as error:
        raise explain(table, kind, source, f"{key}.", error) from error


def _suggestion(name: str) -> str:
    import difflib  # noqa: PLC0415 - for a mistake only

    engines = known_engines()
    near = difflib.get_close_matches(name, engines, 2)
    said = f"did you mean {' or '.join(near)}? or " if near else ""
    return f'{said}name its engine: engine = "…" (available: {", ".join(engines)})'
