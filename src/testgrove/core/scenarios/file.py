"""Parses scenario files into `Scenario` values. Errors name file, line, scenario, and what was found and expected."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from testgrove.core.frozen import frozen
from testgrove.core.settings.types import Strict, means
from testgrove.errors import UsageError

_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*')
_HEADING = re.compile(r"^\s*\[\[\s*scenarios\s*\]\]", re.MULTILINE)
_SPACE = " \t\r\n"
_WORKTREE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # what JSON can escape, and neither a program's words nor UTF-8 can hold
_LONGEST = 7 * 86400.0


class Scenario(Strict, frozen=True, kw_only=True):
    """A scenario as its file has it: it names its dependencies."""

    name: Annotated[str, means("unique in the file")]
    worktree: Annotated[str, means("the folder, under the base path, of the worktree it runs in")]
    description: Annotated[str, means("description of what it verifies")] = ""
    test_file: Annotated[
        str, means("the argument for pytest: a file, a folder or a test's id (`tests/a.py::test_b`)")
    ] = ""
    command: Annotated[str, means("any command, instead of `test_file`")] = ""
    dependencies: Annotated[tuple[str, ...], means("the scenarios that must pass first")] = ()
    timeout: Annotated[float, means("seconds until its whole process tree is terminated")] = 300.0
    tags: Annotated[tuple[str, ...], means("for `--filter-tag`")] = ()
    retries: Annotated[int, means("retries after a failure; a pass on a retry is `flaky`")] = 0
    retry_count: Annotated[int | None, means("another name for `retries`")] = None
    resources: Annotated[
        tuple[str, ...] | dict[str, int],
        means("what it takes of the resources in the settings: a list of names (1 of each), or a table of amounts"),
    ] = ()
    shareable: Annotated[bool, means("it may share its worktree with other shareable scenarios")] = False
    exclusive: Annotated[bool, means("run it only while no other test of testgrove runs on this machine")] = False
    always: Annotated[bool, means("run it after its dependencies even if they failed: for teardown")] = False
    ref: Annotated[str, means("what `--setup-worktrees` checks out; default: a branch `feature/test-<worktree>`")] = ""
    python: Annotated[str, means("the Python version of a worktree that `--setup-worktrees` creates")] = ""
    services: Annotated[tuple[str, ...], means("the services that give it a database")] = ()
    env: Annotated[dict[str, str], means("variables for this scenario only")] = msgspec.field(default_factory=dict)

    @property
    def tries(self) -> int:
        """How often it may be tried again."""
        return self.retries if self.retry_count is None else self.retry_count

    @property
    def takes(self) -> dict[str, int]:
        """How much it takes of each resource."""
        return dict(self.resources) if isinstance(self.resources, dict) else dict.fromkeys(self.resources, 1)


class ScenarioFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario file as a whole."""

    scenarios: tuple[Scenario, ...]
    description: Annotated[str, means("for people")] = ""
    schema: Annotated[str, means("for editors")] = msgspec.field(default="", name="$schema")


@frozen
class LocatedScenario:
    """A scenario and its location. line: from 1, or 0 if unknown."""

    scenario: Scenario
    line: int


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file."""
    return msgspec.json.schema(ScenarioFile)


def parse(text: str, source: Path) -> tuple[LocatedScenario, ...]:
    """The scenarios of a file, in its order. TOML for a name that ends in ``.toml``, else JSON with ``//`` comments.

    Raises UsageError for what is not such a text, an unknown field, a wrong type or a value that makes no sense.
    """
    data, lines = _toml(text, source) if source.suffix == ".toml" else _json(text, source)
    if isinstance(data, _DuplicateKey):
        raise problem(source, 0, "", f"duplicate key '{data.key}'", code="scenario-twice")
    if not isinstance(data, dict) or not isinstance(data.get("scenarios"), list):
        raise problem(source, 0, "", "expected an object with the list 'scenarios'", code="scenarios-missing")
    for key in data.keys() - {"scenarios", "description", "$schema"}:
        raise problem(source, 0, "", f"'{key}': unknown field", code="scenario-unknown-field")
    found = []
    for number, raw in enumerate(data["scenarios"], 1):
        line = lines[number - 1] if len(lines) == len(data["scenarios"]) else 0
        found.append(_scenario(raw, source, line, number))
    return tuple(found)


def problem(source: Path, line: int, name: str, message: str, *, code: str, hint: str = "") -> UsageError:
    """The error for something in a scenario file."""
    location = f"{source}:{line}" if line else str(source)
    who = f"scenario '{name}': " if name else ""
    return UsageError(
        code, f"{location}: {who}{message}", hint=hint, file=str(source), line=line or None, scenario=name or None
    )


def check(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Return the fields of a scenario that make no sense in themselves, and what is wrong with them."""
    if not scenario.name.strip() or not scenario.name.isprintable():
        yield "name", f"expected a name on one line, found {scenario.name!r}"
    worktree = scenario.worktree
    if not _WORKTREE.fullmatch(worktree) or ".." in worktree or worktree.endswith((".", ".lock")):
        yield "worktree", f"expected the name of a folder under the base path, found {worktree!r}"
    if bool(scenario.test_file.strip()) == bool(scenario.command.strip()):
        yield "test_file", "expected either this or 'command'" + (", found both" if scenario.command else "")
    if scenario.test_file.startswith("-"):
        yield "test_file", f"expected a file, a folder or a test's id, found {scenario.test_file!r}"
    yield from _check_numbers(scenario)
    for key, value in msgspec.to_builtins(scenario).items():
        for text in filter(_NO_TEXT.search, _texts(value)):
            yield key, f"expected text, found {text!a}"
    for name in scenario.env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield "env", f"invalid variable name '{name}'"


def _check_numbers(scenario: Scenario) -> Iterator[tuple[str, str]]:
    if not 0 < scenario.timeout <= _LONGEST:
        yield "timeout", f"expected seconds between 0 and a week, found {scenario.timeout:g}"
    if scenario.retry_count is not None and scenario.retries:
        yield "retry_count", "expected either 'retry_count' or 'retries', found both"
    if not 0 <= scenario.tries <= 20:
        yield "retries", f"expected 0 to 20, found {scenario.tries}"
    for name, amount in scenario.takes.items():
        if amount < 1:
            yield "resources", f"expected a number from 1 for '{name}', found {amount}"


def _texts(value: object) -> Iterator[str]:
    """All texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for pair in value.items() for each in pair for text in _texts(each))
    elif isinstance(value, (list, tuple)):
        yield from (text for each in value for text in _texts(each))


def _scenario(raw: object, source: Path, line: int, number: int) -> LocatedScenario:
    name = raw.get("name") if isinstance(raw, dict) else None
    shown = name if isinstance(name, str) and name else f"number {number}"
    for each in (raw, *(raw.values() if isinstance(raw, dict) else ())):
        if isinstance(each, _DuplicateKey):
            raise problem(source, line, shown, f"duplicate key '{each.key}'", code="scenario-twice")
    try:
        scenario = msgspec.convert(raw, Scenario, strict=True)
    except msgspec.ValidationError as error:
        raise _explain(error, source, line, shown) from error
    for key, what in check(scenario):
        raise problem(source, line, shown, f"'{key}': {what}", code="scenario-invalid")
    return LocatedScenario(scenario, line)


def _explain(error: msgspec.ValidationError, source: Path, line: int, name: str) -> UsageError:
    message, _, where = str(error).partition(" - at ")
    key = where.strip("`").removeprefix("$").removeprefix(".")
    fields = msgspec.structs.fields(Scenario)
    if match := re.search(r"unknown field `(.+)`", message):
        near = difflib.get_close_matches(match[1], [field.name for field in fields], 2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"available: {', '.join(f.name for f in fields)}"
        return problem(source, line, name, f"'{match[1]}': unknown field", code="scenario-unknown-field", hint=hint)
    if match := re.search(r"required field `(.+)`", message):
        return problem(source, line, name, f"'{match[1]}' is missing", code="scenario-missing-field")
    said = message[0].lower() + message[1:].replace("`", "'")
    return problem(source, line, name, f"'{key}': {said}" if key else said, code="scenario-wrong-type")


class _DuplicateKey(dict[str, Any]):
    """An object with a duplicate key."""

    key = ""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    duplicate = _DuplicateKey(found)
    keys = [key for key, _ in pairs]
    duplicate.key = next(key for key in keys if keys.count(key) > 1)
    return duplicate


def _json(text: str, source: Path) -> tuple[Any, list[int]]:
    """The data, and the line on which each scenario begins."""
    blanked = _COMMENT.sub(lambda found: found[0] if found[0].startswith('"') else " " * len(found[0]), text)
    try:
        data = json.loads(blanked, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:  # a ValueError by itself is a number of thousands of digits
        line = getattr(error, "lineno", 0)
        said = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))
        raise problem(source, line, "", f"not valid JSON: {said}", code="scenarios-syntax") from error
    starts = _starts(blanked) if isinstance(data, dict) else []
    return data, [blanked.count("\n", 0, start) + 1 for start in starts]


def _starts(text: str) -> list[int]:
    """Return where the elements of the list ``scenarios`` begin, in the text of a valid JSON object."""
    decoder, at = json.JSONDecoder(), text.index("{") + 1

    def skip(at: int, also: str = "") -> int:
        while text[at] in _SPACE + also:
            at += 1
        return at

    while text[at := skip(at, ",")] != "}":
        key, at = decoder.raw_decode(text, at)
        at = skip(at, ":")
        if key == "scenarios" and text[at] == "[":
            starts, at = [], at + 1
            while text[at := skip(at, ",")] != "]":
                starts.append(at)
                _, at = decoder.raw_decode(text, at)
            return starts
        _, at = decoder.raw_decode(text, at)
    return []


def _toml(text: str, source: Path) -> tuple[Mapping[str, Any], list[int]]:
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise problem(source, 0, "", f"not valid TOML: {error}", code="scenarios-syntax") from error
    return data, [text.count("\n", 0, match.start()) + 1 + match[0].count("\n") for match in _HEADING.finditer(text)]
