"""The documentation pages that are generated from the code. tools/build_docs.py adds them to the written ones."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import msgspec

from testgrove import errors
from testgrove.cli.main import COMMANDS, cli
from testgrove.core.runs import events
from testgrove.core.scenarios import file
from testgrove.core.settings import types

HERE = Path(__file__).resolve().parent.parent


def pages() -> dict[str, str]:
    """Path below docs/ to Markdown."""
    return {
        "reference/commands.md": commands_page(),
        "reference/settings.md": settings_page(),
        "reference/scenarios.md": scenarios_page(),
        "reference/events.md": events_page(),
        "glossary.md": glossary_page(),
        "changelog.md": (HERE / "CHANGELOG.md").read_text(),
        "decisions/index.md": decisions_page(),
        "index.md": (HERE / "README.md").read_text().replace("](docs/", "]("),
    }


# Commands


def commands_page() -> str:
    """Every command with its options and examples, as `--help` has them."""
    root = click.Context(cli, info_name="testgrove")
    found = [each for name in COMMANDS for each in _with_subcommands(name, cli, root)]
    common = _common_options([command for _, command in found])
    parts = ["# Commands", "`testgrove COMMAND --help` shows the same in a terminal. Options of every command:"]
    parts.append(_table([_option(each) for each in common.values()]))
    for context, command in found:
        parts += _command(context, command, set(common))
    parts += ["## Exit statuses", _table(_exit_statuses(), head=("status", "meaning"))]
    parts.append("`exec`, `shell` and `db shell` pass the status of what they run on; 126 and 127 are env(1)'s.")
    return "\n\n".join(parts) + "\n"


def _exit_statuses() -> list[tuple[str, ...]]:
    known = [(error.exit_status, _prose(error.__doc__ or "")) for error in errors.TestgroveError.__subclasses__()]
    ends = [(0, "Done."), (1, "Tests failed, or could not run."), (70, "A bug in testgrove.")]
    return [(str(status), text) for status, text in sorted([*ends, *known])]


def _with_subcommands(
    name: str, group: click.Group, parent: click.Context
) -> list[tuple[click.Context, click.Command]]:
    command = group.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent)
    found = [(context, command)]
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found += _with_subcommands(inner, command, context)
    return found


def _common_options(commands: list[click.Command]) -> dict[str, click.Option]:
    """The options that every command but the groups and `completion` has."""
    whole = [_options(command) for command in commands if not isinstance(command, click.Group)]
    first = max(whole, key=len)
    return {key: option for key, option in first.items() if sum(key in each for each in whole) >= len(whole) - 1}


def _options(command: click.Command) -> dict[str, click.Option]:
    return {each.opts[0]: each for each in command.params if isinstance(each, click.Option)}


def _command(context: click.Context, command: click.Command, common: set[str]) -> list[str]:
    text, _, examples = (command.help or "").partition("\b")
    words = f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    level = "##" if context.parent and context.parent.parent is None else "###"
    parts = [f"{level} {context.command_path}", f"```text\n{words}\n```", _prose(text)]
    own = [_option(option) for key, option in _options(command).items() if key not in common]
    if own:
        parts.append(_table(own))
    lines = [line.strip() for line in examples.splitlines()[2:] if line.strip()]
    return [*parts, "```sh\n" + "\n".join(lines) + "\n```"]


def _option(option: click.Option) -> tuple[str, str]:
    names = ", ".join([*sorted(option.opts, key=len), *option.secondary_opts])
    value = "" if option.is_flag else f" {option.make_metavar(click.Context(cli))}"
    more = f" Default: `{option.default}`." if option.show_default else " Required." if option.required else ""
    return f"`{names}{value}`", _prose(option.help or "") + more


def _prose(text: str) -> str:
    """Help as Markdown."""
    return "\n\n".join(_escaped(" ".join(each.split())) for each in text.split("\n\n") if each.strip())


def _escaped(text: str) -> str:
    """Text in which nothing but code between backticks means anything to Markdown or HTML."""
    parts = text.replace("``", "`").split("`")
    parts[::2] = [re.sub(r"([*_\[\]|])", r"\\\1", escape(part, quote=False)) for part in parts[::2]]
    return "`".join(parts)


# Settings

SETTINGS = """
Every key of `[tool.testgrove]` in `pyproject.toml`, or of `testgrove.toml`. What they are for:
[configuration](../configuration.md). A JSON Schema for editors is in the package: `schemas/settings.schema.json`.
"""


def settings_page() -> str:
    """Every key of [tool.testgrove], from the types that read it."""
    tables = {
        "": types.Settings,
        "ports": types.Ports,
        "services.<name>": types.Service,
        "processes.<name>": types.Process,
        "suites.<name>": types.Suite,
        "dependencies.<name>": types.Dependencies,
    }
    parts = [f"# Settings\n{SETTINGS}"]
    for name, struct in tables.items():
        if name:
            parts += [f"## `{name}`", " ".join((struct.__doc__ or "").split())]
        parts.append(_table(_keys(struct), head=("key", "type", "default", "meaning")))
    return "\n\n".join(parts) + "\n"


SCENARIOS = """
Every field of a scenario in a scenario file: JSON (with `//` comments), `{"scenarios": [{…}, …]}`, or TOML,
`[[scenarios]]`. What they are for: [scenarios](../scenarios.md). A JSON Schema for editors is in the package:
`schemas/scenarios.schema.json`.
"""


def scenarios_page() -> str:
    """Every field of a scenario, from the type that reads it."""
    table = _table(_keys(file.Scenario), head=("field", "type", "default", "meaning"))
    return f"# Scenario files\n{SCENARIOS}\n{table}\n"


def _keys(struct: type[msgspec.Struct]) -> list[tuple[str, ...]]:
    """The rows of a table's keys; those that are tables themselves have a heading of their own."""
    rows = []
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        meta = [each for each in get_args(hints[field.name])[1:] if isinstance(each, msgspec.Meta)]
        if meta:
            rows.append((f"`{field.encode_name}`", _kind(field), _default(field), _escaped(meta[0].description or "")))
    return rows


KINDS = {
    "str": "text",
    "bool": "true or false",
    "int": "number",
    "float": "number",
    "tuple[str, ...]": "list of texts",
    "dict[str, str]": "table of texts",
    "dict[str, int]": "table of numbers",
    "tuple[str, ...] | dict[str, int]": "list of texts or table of numbers",
    "str | tuple[str, ...]": "text or list of texts",
}


def _kind(field: msgspec.structs.FieldInfo) -> str:
    """A type in words."""
    base = get_args(field.type)[0] if hasattr(field.type, "__metadata__") else field.type
    choices = [each for each in _flat(base) if isinstance(each, str)]
    if choices:
        return ", ".join(f"`{each}`" for each in choices)
    text = re.sub(r"<class '(\w+)'>", r"\1", str(base)).removesuffix(" | None")
    return KINDS[text]


def _flat(kind: Any) -> list[Any]:
    inner = get_args(kind)
    return [each for one in inner for each in _flat(one)] if inner else [kind]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT:
        return "required"
    value = field.default
    if value in ("", (), None, msgspec.NODEFAULT):
        return ""
    plain = list(value) if isinstance(value, tuple) else int(value) if isinstance(value, float) else value
    return f"`{msgspec.json.encode(plain).decode().replace(',', ', ')}`"


# Events

EVENTS = """
A run's `events.jsonl` has one JSON object on each line, in the order in which things happened. `type` names the event,
`t` is the moment in seconds since the epoch, durations are seconds. [Reports](../reports.md) are computed from it.
"""


def events_page() -> str:
    """Every line that a run's log can hold."""
    parts = [f"# Events\n{EVENTS}The version of the format is `version` in `run_started`, now {events.VERSION}."]
    for event in get_args(events.AnyEvent):
        parts += [f"## `{event.__struct_config__.tag}`", _docstring(event), _fields(event)]
    parts += ["## A cell in `run_started`", _docstring(events.CellInfo), _fields(events.CellInfo)]
    parts += ["## A scenario in a cell", _docstring(events.ScenarioInfo), _fields(events.ScenarioInfo)]
    parts += ["## Words", _literals()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _docstring(struct: type) -> str:
    return _escaped(" ".join((struct.__dict__.get("__doc__") or "").split()))


def _fields(struct: type[msgspec.Struct]) -> str:
    rows = [
        (f"`{field.encode_name}`", _event_kind(field.type))
        for field in msgspec.structs.fields(struct)
        if field.name != "t"
    ]
    return _table(rows, head=("field", "type")) if rows else ""


def _event_kind(kind: Any) -> str:
    """A type in words, as JSON has it."""
    named = {
        events.Status: "a status",
        events.Phase: "a phase",
        events.TestOutcome: "an outcome",
        events.WorktreeAction: "an action",
        events.LeakKind: "a kind of leak",
    }
    if kind in named:
        return named[kind]
    text = re.sub(r"<class '([\w.]+)'>", r"\1", str(kind))
    text = text.replace("testgrove.core.runs.events.", "").replace("msgspec.", "")
    words = {"str": "text", "bool": "true or false", "int": "whole number", "float": "number", "None": "null"}
    text = text.replace("tuple[CellInfo, ...]", "list of cells").replace("tuple[str, ...]", "list of texts")
    text = text.replace("dict[str, str]", "object of texts").replace("dict[str, int]", "object of numbers")
    text = text.replace("ScenarioInfo", "a scenario")
    return " or ".join(words.get(part, part) for part in text.split(" | "))


def _literals() -> str:
    rows = [
        (name, ", ".join(f"`{word}`" for word in get_args(kind)))
        for name, kind in (
            ("status", events.Status),
            ("phase", events.Phase),
            ("outcome", events.TestOutcome),
            ("action", events.WorktreeAction),
            ("kind of leak", events.LeakKind),
        )
    ]
    return _table(rows, head=("", "one of"))


# Glossary


def glossary_page() -> str:
    """The first section of the design page."""
    design = (HERE / "docs/design.md").read_text()
    section = design[design.index("## 1. Words") : design.index("## 2. ")].partition("\n")[2].strip()
    return f"# Glossary\n\n{section}\n"


# Decisions


def decisions_page() -> str:
    """The titles of the records."""
    records = sorted((HERE / "docs/decisions").glob("0*.md"))
    lines = [f"- [{path.read_text().splitlines()[0].removeprefix('# ')}]({path.name})" for path in records]
    return "\n".join(["# Decisions", "", "What was decided, what was rejected, and why.", "", *lines, ""])


def _table(rows: list[tuple[str, ...]], head: tuple[str, ...] = ("option", "meaning")) -> str:
    cells = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
