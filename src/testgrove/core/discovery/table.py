"""The commented settings that `testgrove init` writes for what was found in a project."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from testgrove.core.discovery.project import Found
from testgrove.core.discovery.services import guessed
from testgrove.core.engines.registry import BUILT_IN, engine_of
from testgrove.core.settings.types import Suite

_ROOT = re.compile(r"^[ \t]*\[tool\.testgrove\][ \t]*(?:#.*)?\r?$", re.MULTILINE)
_COMMENTED_ROOT = re.compile(r"^# root = \"\.\./<repository>.*\n", re.MULTILINE)


def table(found: Found, *, prefix: str, root: str = "") -> str:
    """The settings as commented TOML. prefix: ``tool.testgrove`` in a pyproject.toml, else empty."""
    return "\n".join(_lines(found, prefix, root)).strip("\n") + "\n"


def _lines(found: Found, prefix: str, root: str) -> Iterator[str]:
    def head(*names: str) -> str:
        return f"[{'.'.join(filter(None, (prefix, *names)))}]"

    yield "# What testgrove found here. Everything is optional. Reference: docs/configuration.md of testgrove."
    if prefix:
        yield head()
    where = "where the documented scripts look" if root else "the folder that holds the worktrees"
    yield f'{"" if root else "# "}root = "{root or "../<repository>-worktrees"}"   # {where}'
    versions = ", ".join(f'"{version}"' for version in found.pythons or ("3.11", "3.12"))
    yield f"# pythons = [{versions}]   # a cell for each; without it, the project's own choice"
    yield '# collect = ["screenshots"]   # outputs to keep, in addition to JUnit files, coverage and logs/'
    if found.layout == "flat":
        yield "# The packages are at the top (a flat layout): each worktree uses its own copy."
    yield ""
    yield from _env(found, head("env"))
    for engine in found.services:
        yield ""
        yield head("services", engine)
        yield from _service(engine, found)
    if not found.services:
        yield ""
        likely = guessed(map(engine_of, BUILT_IN))
        yield f"# {head('services', likely)}   # a migrated database for each cell"
        yield '# migrate = "alembic upgrade head"'
    for each in found.applications:
        yield ""
        yield f'{head("processes", each.name)}   # {each.shown}; started for suites with processes = ["{each.name}"]'
        yield f'command = "{each.command}"'
        yield f'ready = "{each.ready}"'
    for name, suite in found.suites.items():
        yield ""
        yield head("suites", name)
        yield from _suite(name, suite, found)
    if not found.suites:
        yield ""
        yield f"# {head('suites', 'unit')}   # no test files were found"
        yield '# command = "pytest tests/unit"'


def _env(found: Found, head: str) -> Iterator[str]:
    if not found.env:
        yield f"# {head}"
        yield '# PAYMENT_API_URL = "http://127.0.0.1:${API_PORT}/mock"'
        return
    yield f"{head}   # the variables that the project reads"
    yield from (f'{name} = "{value}"' for name, value in found.env.items())


def _service(name: str, found: Found) -> Iterator[str]:
    engine = engine_of(name)
    if settings := found.settings.get(name):
        yield f"settings = {settings}   # no password, as the project expects: other users of the machine can connect"
    if files := found.literal.get(name):
        variables = ", ".join(re.findall(r"\w+", " ".join(engine.hints.facts.values())))
        yield f"# {', '.join(files)} names a server literally. Read these variables there: {variables}."
    if engine.migrates:
        yield from _migrated(found, is_meant=name == _of_migration(found))


def _of_migration(found: Found) -> str:
    """The engine that the project's migrations are for: that of most projects with migrations, else the first."""
    engines = [engine for engine in map(engine_of, found.services) if engine.migrates]
    return min(engines, key=lambda engine: not engine.hints.guessed).name


def _migrated(found: Found, *, is_meant: bool) -> Iterator[str]:
    migration = found.migration
    if not is_meant:
        yield '# migrate = "…"   # the command that migrates an empty database'
        return
    if not migration.command:
        yield '# migrate = "alembic upgrade head"   # once, into a template that the databases are cloned from'
        return
    yield f'migrate = "{migration.command}"   # once, into a template that the databases are cloned from'
    if migration.directory:
        yield f"directory = {json.dumps(migration.directory, ensure_ascii=False)}   # where it runs"
    if migration.inputs:
        yield f"inputs = [{', '.join(_quoted(migration.inputs))}]"
    else:
        yield '# inputs = ["migrations/**"]   # files that change its result; default: the usual files of the tool'


def _suite(name: str, suite: Suite, found: Found) -> Iterator[str]:
    yield f"command = {json.dumps(suite.command, ensure_ascii=False)}"
    yield f'purpose = "test-{name}"'
    if name != "unit":
        if found.services:
            yield f"services = [{', '.join(_quoted(found.services))}]"
        yield "ports = true   # APP_PORT, API_PORT, DB_PORT"
        if name == "e2e" and found.applications:
            yield f"processes = [{', '.join(_quoted(each.name for each in found.applications))}]"
    yield "timeout = 600   # seconds"


def _quoted(values: Iterable[str]) -> list[str]:
    return [f'"{value}"' for value in values]


def with_root(text: str, root: str, *, prefix: str) -> str:
    """The settings' text with `root` set, everything else as it was. It has a table, and no root in it."""
    text = _COMMENTED_ROOT.sub("", text)
    line = f'root = "{root}"'
    if not prefix:
        return f"{line}\n{text}"
    if head := _ROOT.search(text):
        return f"{text[: head.end()]}\n{line}{text[head.end() :]}"
    return f"{text.rstrip()}\n\n[{prefix}]\n{line}\n"
