"""The commented settings that `testgrove init` writes, from what a project's files show. Nothing of it is run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from testgrove.core.engines.declaration import Engine
from testgrove.core.engines.registry import BUILT_IN, engine_of, known_engines
from testgrove.core.environments.declared import normal, parse_toml, read_declared
from testgrove.core.runs.default_suites import find_suites
from testgrove.core.settings.types import Settings, Suite

# The files whose text is read; more is known by name alone.
READ = re.compile(
    r"pyproject\.toml|setup\.cfg|setup\.py|Pipfile|(?:.*/)?requirements[^/]*\.(?:txt|in)"
    r"|requirements/[^/]*\.(?:txt|in)|(?:docker-)?compose[^/]*\.ya?ml|\.?pytest\.ini|tox\.(?:ini|toml)|noxfile\.py"
    r"|manage\.py"
)
_OTHER_DATABASES = {"mysqlclient", "pymysql", "aiosqlite", "mysql-connector-python"}
_ROOT = re.compile(r"^[ \t]*\[tool\.testgrove\][ \t]*(?:#.*)?$", re.MULTILINE)
_COMMENTED_ROOT = re.compile(r"^# root = \"\.\./<repository>.*\n", re.MULTILINE)
_SQL = re.compile(r"(?:[\w./-]*[/_])?(?:migrations|sql|schema)/[^/]+\.sql")


@dataclass(frozen=True)
class Found:
    """What a project has. suites: by name; services: engines; migrate: the command, or empty; layout: ``src``, ``flat``
    or empty; pythons: the versions that it declares to support."""

    suites: Mapping[str, Suite]
    services: tuple[str, ...] = ()
    migrate: str = ""
    inputs: tuple[str, ...] = ()
    layout: str = ""
    pythons: tuple[str, ...] = ()


def find(files: Collection[str], texts: Mapping[str, str]) -> Found:
    """Look at a checkout. files: all of it, relative to the top; texts: those that READ matches, by name.

    Raises PreconditionError (``environment-failed``) for a pyproject.toml or setup.cfg that cannot be read.
    """
    names = _requirements(texts)
    engines = [engine_of(name) for name in known_engines()]
    services = [each.name for each in engines if each.hints.packages & names or _composed(each.hints.images, texts)]
    migrate, inputs = _migration(files)
    guessed = _guessed(engines)
    if migrate and guessed not in services and not names & _OTHER_DATABASES and not migrate.startswith("python"):
        services.insert(0, guessed)  # Django alone may well use a file
    if not any(engine_of(name).migrates for name in services):
        migrate, inputs = "", ()
    suites = find_suites(Settings(), files, texts)
    return Found(suites, tuple(services), migrate, inputs, _layout(files), _pythons(texts))


def _guessed(engines: Iterable[Engine]) -> str:
    """The engine of a project that has migrations, and says nothing else."""
    return next(each.name for each in engines if each.hints.guessed)


def _requirements(texts: Mapping[str, str]) -> set[str]:
    """The names of all distributions that the project asks for, in whatever way."""
    declared = read_declared({name: text.encode() for name, text in texts.items()})
    groups = (*declared.extras.values(), *declared.groups.values())
    lines: list[str] = [*declared.dependencies, *(str(each) for group in groups for each in group)]
    listings = (text for name, text in texts.items() if name.endswith((".txt", ".in", "Pipfile")))
    lines += [line for text in listings for line in text.splitlines()]
    poetry = parse_toml(texts.get("pyproject.toml", "").encode()).get("tool", {}).get("poetry", {})
    for part in (poetry, *poetry.get("group", {}).values()):
        lines += [*part.get("dependencies", {}), *part.get("dev-dependencies", {})]
    found = (re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[([^\]]*)\])?", line) for line in lines)
    # An extra often bears the name of what it adds: celery[redis].
    return {normal(name.strip()) for match in found if match for name in (match[1], *(match[2] or "").split(","))}


def _composed(images: str, texts: Mapping[str, str]) -> bool:
    if not images:
        return False
    composed = (text for name, text in texts.items() if name.endswith(("yml", "yaml")))
    image = re.compile(rf"^\s*image:\s*[\"']?(?:\S*/)?(?:{images})", re.MULTILINE)
    return any(image.search(text) for text in composed)


def _migration(files: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """The command that brings a database up to date, and its input globs where the usual ones do not fit."""
    if "alembic.ini" in files:
        return "alembic upgrade head", ()
    if "manage.py" in files and any("/migrations/" in f"/{name}" for name in files):
        return "python manage.py migrate --noinput", ()
    folders = {str(PurePosixPath(name).parent) for name in files if _SQL.fullmatch(name)}
    if len(folders) != 1:
        return "", ()
    folder = folders.pop()
    return f"for file in {folder}/*.sql; do psql -q -v ON_ERROR_STOP=1 -f $file || exit 1; done", (f"{folder}/*.sql",)


def _layout(files: Iterable[str]) -> str:
    folders = {name.partition("/")[0] for name in files if "/" in name and name.endswith(".py")}
    packages = folders - {"tests", "test", "scripts", "docs"}
    return "src" if "src" in packages else "flat" if packages else ""


def _pythons(texts: Mapping[str, str]) -> tuple[str, ...]:
    both = texts.get("pyproject.toml", "") + texts.get("setup.cfg", "") + texts.get("setup.py", "")
    found = set(re.findall(r"Programming Language :: Python :: (3\.\d+)", both))
    return tuple(sorted(found, key=lambda version: int(version[2:])))


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
    yield "# [" + head("env")[1:]
    yield '# PAYMENT_API_URL = "http://127.0.0.1:${API_PORT}/mock"'
    for engine in found.services:
        yield ""
        yield head("services", engine)
        if engine_of(engine).migrates:
            yield from _migrated(found)
    if not found.services:
        yield ""
        guessed = _guessed(map(engine_of, BUILT_IN))
        yield f"# {head('services', guessed)}   # a migrated database for each cell"
        yield '# migrate = "alembic upgrade head"'
    for name, suite in found.suites.items():
        yield ""
        yield head("suites", name)
        yield from _suite(name, suite, found)
    if not found.suites:
        yield ""
        yield f"# {head('suites', 'unit')}   # no test files were found"
        yield '# command = "pytest tests/unit"'


def _migrated(found: Found) -> Iterator[str]:
    if not found.migrate:
        yield '# migrate = "alembic upgrade head"   # once, into a template that the databases are cloned from'
        return
    yield f'migrate = "{found.migrate}"   # once, into a template that the databases are cloned from'
    if found.inputs:
        yield f"inputs = [{', '.join(_quoted(found.inputs))}]"
    else:
        yield '# inputs = ["migrations/**"]   # files that change its result; default: the usual files of the tool'


def _suite(name: str, suite: Suite, found: Found) -> Iterator[str]:
    yield f'command = "{suite.command}"'
    yield f'purpose = "test-{name}"'
    if name != "unit":
        if found.services:
            yield f"services = [{', '.join(_quoted(found.services))}]"
        yield "ports = true   # APP_PORT, API_PORT, DB_PORT"
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
