"""db list | url | shell | create | drop | reset | migrate | check: the databases of a worktree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from testgrove.cli.arguments import one_worktree
from testgrove.cli.context import project_in
from testgrove.cli.db_check import check
from testgrove.cli.groups import NearMatches
from testgrove.cli.output import common, echo, example, print_json, say
from testgrove.cli.table import print_table
from testgrove.errors import PreconditionError

if TYPE_CHECKING:
    from testgrove.app.project import Project
    from testgrove.core.model import Worktree

_NAMES = ("--service", "--engine", "service")
service_option = click.option(*_NAMES, help="Only this service, or an engine's default one. Default: all of them.")
one_service = click.option(*_NAMES, help="A service, or an engine's default one. Default: the one that is migrated.")


@click.group("db", cls=NearMatches)
@example("testgrove db list", "testgrove db shell test-integration-api")
def db_command() -> None:
    """The databases of worktrees: list, url, shell, create, drop, reset, migrate, check."""


db_command.add_command(check)


@db_command.command("list")
@common
@example("testgrove db list --json")
def list_databases(*, directory: Path, as_json: bool, quiet: bool) -> None:
    """List the databases of all worktrees and those kept from failed tests. URLs are shown without passwords."""
    from testgrove.app.failures.tests import described, failed_databases
    from testgrove.cli.worktrees import current

    project = project_in(directory)
    kept = [described(database) for database in failed_databases(project)]
    found = [
        {"worktree": str(worktree.id), "service": name, "engine": name, **database}
        for worktree in current(project)
        for name, database in worktree.databases.items()
    ]
    if as_json:
        print_json(databases=found, kept=kept)
        return
    columns = ["worktree", "service", "name", "url"]
    print_table(columns, [[str(entry[column]) for column in columns] for entry in found])
    columns = ["kept", "engine", "name", "test", "file"]
    print_table(columns, [["kept", *(str(each[key]) for key in ("engine", "name", "test", "kept"))] for each in kept])
    if not found and not kept:
        say("no databases: no worktree from `testgrove create` has one", quiet=quiet)


@db_command.command("url")
@one_worktree
@one_service
@common
@example('psql "$(testgrove db url test-integration-api)"')
def url(*, worktree: str, service: str | None, directory: Path, as_json: bool, quiet: bool) -> None:  # noqa: ARG001 - common options
    """Print a database's URL, password included."""
    from testgrove.cli.worktrees import find

    project = project_in(directory)
    found = find(project, worktree)
    _, address = _url(project.around(found.directory), found, service)
    if as_json:
        print_json(url=address)
    else:
        echo(address)


@db_command.command("shell")
@one_worktree
@one_service
@common
@example(
    "testgrove db shell test-integration-api",
    "testgrove db shell test-integration-api --service redis",
    "testgrove db shell test-order-3f2a",
)
def shell(*, worktree: str, service: str | None, directory: Path, as_json: bool, quiet: bool) -> int:  # noqa: ARG001 - common options
    """Open the engine's client (psql, sqlite3, redis-cli) on a worktree's database.

    With a name that `db list` shows, open a copy of a failed test's database, kept by --keep-failed.
    """
    from testgrove.app.databases.failed_shell import open_shell
    from testgrove.app.failures.tests import failed_databases
    from testgrove.app.worktrees.user_commands import replace_by
    from testgrove.cli.worktrees import find, keep_servers
    from testgrove.core.engines.registry import engine_shown, implementation_of

    project = project_in(directory)
    if kept := next((each for each in failed_databases(project) if each.name == worktree), None):
        return open_shell(project, kept)
    try:
        found = find(project, worktree)
    except PreconditionError as error:
        if error.code != "no-such-worktree" or "did you mean" in error.hint:
            raise
        text = f"no worktree or kept database '{worktree}' found in this project"
        raise PreconditionError(error.code, text, hint="testgrove db list") from error
    project = project.around(found.directory)
    name, address = _url(project, found, service)
    engine = engine_shown(name, found.databases[name])
    command = implementation_of(engine.name).shell(address, project.settings.services.get(name))
    keep_servers(project, found)
    return replace_by(found, command)


@db_command.command("create")
@one_worktree
@service_option
@common
@example("testgrove db create test-integration-api")
def create(*, worktree: str, service: str | None, directory: Path, as_json: bool, quiet: bool) -> None:
    """Create and migrate the configured databases that a worktree lacks."""
    _work(worktree, "create", service, directory, as_json=as_json, quiet=quiet)


@db_command.command("drop")
@one_worktree
@service_option
@common
@example("testgrove db drop test-integration-api --service redis")
def drop(*, worktree: str, service: str | None, directory: Path, as_json: bool, quiet: bool) -> None:
    """Drop a worktree's databases with all their data."""
    _work(worktree, "drop", service, directory, as_json=as_json, quiet=quiet)


@db_command.command("reset")
@one_worktree
@service_option
@common
@example("testgrove db reset test-integration-api")
def reset(*, worktree: str, service: str | None, directory: Path, as_json: bool, quiet: bool) -> None:
    """Empty and migrate a worktree's databases; names, passwords and ports stay."""
    _work(worktree, "reset", service, directory, as_json=as_json, quiet=quiet)


@db_command.command("migrate")
@one_worktree
@one_service
@click.option("--to", "revision", metavar="REV", help="Migrate to this revision instead of the newest.")
@common
@example("testgrove db migrate test-migration-x", "testgrove db migrate test-migration-x --to 0003")
def migrate(
    *, worktree: str, service: str | None, revision: str | None, directory: Path, as_json: bool, quiet: bool
) -> None:
    """Run the migration command on a worktree's database, with that worktree's code."""
    from testgrove.app.databases.commands import declared_services
    from testgrove.core.engines.registry import migrated_service
    from testgrove.errors import PreconditionError

    project = _project_of(worktree, directory)
    services = project.settings.services
    name = migrated_service(services) if service is None else declared_services(project, service)[0]
    if name is None or not services[name].migrate:
        there = [each for each, declared in services.items() if declared.migrate]
        what = f"service '{name}' has no migration command" if name else "no default service with a migration command"
        raise PreconditionError(
            "no-migration",
            f"{what} (available: {', '.join(there) or 'none'})",
            hint=f"testgrove db migrate {worktree} --service {there[0]}"
            if there
            else f'[tool.testgrove.services.{name or "NAME"}] migrate = "alembic upgrade head"',
        )
    with _held(project, worktree, "migrate", quiet=quiet or as_json) as databases:
        databases.migrate(revision, name)
    _done(as_json=as_json, quiet=quiet, worktree=worktree, action="migrated", services=[name])


def _work(worktree: str, action: str, service: str | None, directory: Path, *, as_json: bool, quiet: bool) -> None:
    from testgrove.app.databases.commands import declared_services

    project = _project_of(worktree, directory)
    services = declared_services(project, service)
    with _held(project, worktree, action, quiet=quiet or as_json) as databases:
        method: Callable[[list[str]], list[str] | None] = getattr(databases, action)
        done = method(services)
    words = {"create": "created", "drop": "dropped", "reset": "reset"}
    changed = services if done is None else done
    _done(as_json=as_json, quiet=quiet, worktree=worktree, action=words[action], services=changed)


def _project_of(worktree: str, directory: Path) -> Project:
    """Return the project with the settings of the worktree, which can be that of another sub-project."""
    from testgrove.cli.worktrees import find

    project = project_in(directory)
    return project.around(find(project, worktree).directory)


def _held(project: Any, worktree: str, action: str, *, quiet: bool) -> Any:
    from testgrove.app.databases.commands import holding_databases

    return holding_databases(project, worktree, action, lambda text: say(text, quiet=quiet))


def _done(*, as_json: bool, quiet: bool, worktree: str, action: str, services: list[str]) -> None:
    if as_json:
        print_json(worktree=worktree, action=action, engines=services, services=services)
    else:
        say(f"{worktree}: {action}: {', '.join(services) or 'nothing to do'}", quiet=quiet)


def _url(project: Project, worktree: Worktree, asked: str | None) -> tuple[str, str]:
    """The service and the URL of a worktree's database. asked: a service, or an engine's default one."""
    from testgrove.app.worktrees.user_commands import variables_of
    from testgrove.core.engines.registry import default_services, engine_shown, known_engines
    from testgrove.core.naming import url_variable
    from testgrove.errors import PreconditionError, UsageError

    shown, defaults = worktree.databases, default_services(project.settings.services)
    if asked not in {None, *shown, *project.settings.services, *known_engines()}:
        known = ", ".join(project.settings.services) or "none"
        raise UsageError("unknown-engine", f"'{asked}' is not under [tool.testgrove.services]; there: {known}")
    values = variables_of(worktree)
    for name in [defaults.get(asked, asked)] if asked else _in_order(shown):
        engine = engine_shown(name, shown[name]) if name in shown else None
        if engine is None:
            continue
        plain = values.get(engine.url_variable) if defaults.get(engine.name, engine.name) == name else ""
        if address := plain or values.get(url_variable(name)):
            return name, address
    option = f" --service {asked}" if asked else ""
    raise PreconditionError(
        "no-database",
        f"worktree {worktree.id} has no database of {asked or 'an engine with migrations'}",
        hint=f"testgrove db create {worktree.id}{option}",
    )


def _in_order(shown: dict[str, dict[str, Any]]) -> list[str]:
    """Return the services in order of preference, if none is named: those of engines with migrations, files last."""
    from testgrove.core.engines.registry import engine_shown

    engines = {name: engine_shown(name, entry) for name, entry in shown.items()}
    found = [name for name, engine in engines.items() if engine.migrates]
    return sorted(found, key=lambda name: (engines[name].isolation == "file", name != engines[name].name))
