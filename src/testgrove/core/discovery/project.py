"""Facts in a project's files: its suites, services, variables, migrations and processes. Nothing of it is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field

from testgrove.core.discovery.applications import Application, find_applications
from testgrove.core.discovery.django_databases import literal_databases
from testgrove.core.discovery.mapping import asked_of, connects_without_password, env_lines
from testgrove.core.discovery.migrations import Migration, find_migration
from testgrove.core.discovery.python_sources import parse_modules
from testgrove.core.discovery.services import OTHER_DATABASES, guessed, is_used, requirements, runs_in_compose
from testgrove.core.discovery.used_variables import is_env_file, used_variables
from testgrove.core.engines.declaration import Engine
from testgrove.core.engines.registry import engine_of, known_engines
from testgrove.core.environments.workflows import is_workflow
from testgrove.core.frozen import frozen
from testgrove.core.runs.default_suites import find_suites
from testgrove.core.settings.types import Settings, Suite

_READ = re.compile(
    r"pyproject\.toml|setup\.cfg|Pipfile|(?:.*/)?requirements[^/]*\.(?:txt|in)"
    r"|requirements/[^/]*\.(?:txt|in)|(?:docker-)?compose[^/]*\.ya?ml|\.?pytest\.ini|tox\.(?:ini|toml)|.*\.py"
)
_BASE = re.compile(r"^down_revision(?:\s*:[^=\n]+)?\s*=\s*None\s*$", re.MULTILINE)


@frozen
class Found:
    """The facts found in a project.

    Attributes:
        suites: by name. services: engines. migration: how a database is brought up to date.
        layout: ``src``, ``flat`` or empty. pythons: the versions that it declares to support.
        env: variables that the project reads, as texts with references to those that testgrove gives.
        applications: the processes that can be started.
        settings: by engine, its server's settings as TOML. literal: by engine, files that name a server literally.
    """

    suites: Mapping[str, Suite]
    services: tuple[str, ...] = ()
    migration: Migration = Migration()
    layout: str = ""
    pythons: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    applications: tuple[Application, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    literal: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def is_read(path: str) -> bool:
    """Return whether `find` wants a file's text; more is known by name alone."""
    return _READ.fullmatch(path) is not None or is_env_file(path) or is_workflow(path)


def find(files: Collection[str], texts: Mapping[str, str]) -> Found:
    """Look at a checkout. files: all of it, relative to the top; texts: those that is_read() names.

    Raises PreconditionError (``environment-failed``) for a pyproject.toml or setup.cfg that cannot be read.
    """
    modules = parse_modules(texts)
    names = requirements(texts)
    engines = [engine_of(name) for name in known_engines()]
    services = [
        each
        for each in engines
        if (each.hints.packages & names or runs_in_compose(each.hints.images, texts)) and is_used(each, texts)
    ]
    migration = find_migration(files, several_bases=_has_several_bases(texts))
    likely = engine_of(guessed(engines))
    by_its_own = migration.command and not migration.command.startswith("python")  # Django alone may well use a file
    if by_its_own and likely not in services and not names & OTHER_DATABASES:
        services.insert(0, likely)
    if not any(each.migrates for each in services):
        migration = Migration()
    uses = used_variables(texts, modules)
    return Found(
        find_suites(Settings(), files, texts),
        tuple(each.name for each in services),
        migration,
        _layout(files),
        _pythons(texts),
        env_lines(uses, services),
        find_applications(files, texts, modules),
        {each.name: each.hints.open_settings for each in services if _is_open(each, uses)},
        {each.name: found for each in services if (found := _literal(each, modules))},
    )


def _is_open(engine: Engine, uses: Mapping[str, str]) -> bool:
    return bool(engine.hints.open_settings) and connects_without_password(uses, engine)


def _literal(engine: Engine, modules: Mapping[str, ast.Module]) -> tuple[str, ...]:
    """The files that name a server of an engine literally, and read nothing about one from the environment."""
    if not engine.hints.backends:
        return ()

    def reads_variables(path: str) -> bool:
        uses = used_variables({}, {path: modules[path]})
        return any(asked_of(name, example, [engine]) for name, example in uses.items())

    found = literal_databases(modules, engine.hints.backends)
    return tuple(path for path in found if path.isprintable() and not reads_variables(path))  # they go into a comment


def _has_several_bases(texts: Mapping[str, str]) -> bool:
    revisions = (text for path, text in texts.items() if "/versions/" in path and path.endswith(".py"))
    return sum(1 for text in revisions if _BASE.search(text)) > 1


def _layout(files: Iterable[str]) -> str:
    folders = {name.partition("/")[0] for name in files if "/" in name and name.endswith(".py")}
    packages = folders - {"tests", "test", "scripts", "docs"}
    return "src" if "src" in packages else "flat" if packages else ""


def _pythons(texts: Mapping[str, str]) -> tuple[str, ...]:
    both = texts.get("pyproject.toml", "") + texts.get("setup.cfg", "") + texts.get("setup.py", "")
    found = set(re.findall(r"Programming Language :: Python :: (3\.\d+)", both))
    return tuple(sorted(found, key=lambda version: int(version[2:])))
