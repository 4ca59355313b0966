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
from testgrove.errors import PreconditionError

if TYPE_CHECKING:
    from testgrove.core.model import Worktree

ENGINE_VARIABLES = {"postgres": "DATABASE_URL", "sqlite": "SQLITE_URL", "redis": "REDIS_URL"}
_ENGINES = "postgres, sqlite or redis"
engine_option = click.option("--engine", help=f"Only this engine: {_ENGINES}. Default: all that are configured.")
one_engine = click.option("--engine", help=f"{_ENGINES}. Default: postgres, else sqlite.")


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
        {"worktree": str(worktree.id), "engine": engine, **database}
        for worktree in current(project)
        for engine, database in worktree.databases.items()
    ]
    if as_json:
        print_json(databases=found, kept=kept)
        return
    for entry in found:
        echo(f"{entry['worktree']}  {entry['engine']}  {entry['name']}  {entry['url']}")
    for entry in kept:
        echo(f"kept  {entry['engine']}  {entry['name']}  {entry['test']}  {entry['kept']}")
    if not found and not kept:
        say("no databases: no worktree made by `testgrove create` has one", quiet=quiet)


@db_command.command("url")
@one_worktree
@one_engine
@common
@example('psql "$(testgrove db url test-integration-api)"')
def url(*, worktree: str, engine: str | None, directory: Path, as_json: bool, quiet: bool) -> None:  # noqa: ARG001 - common options
    """Print a database's URL, password included."""
    from testgrove.cli.worktrees import find

    _, address = _url(find(project_in(directory), worktree), engine)
    if as_json:
        print_json(url=address)
    else:
        echo(address)


@db_command.command("shell")
@one_worktree
@one_engine
@common
@example(
    "testgrove db shell test-integration-api",
    "testgrove db shell test-integration-api --engine redis",
    "testgrove db shell test-order-3f2a",
)
def shell(*, worktree: str, engine: str | None, directory: Path, as_json: bool, quiet: bool) -> int:  # noqa: ARG001 - common options
    """Open psql, sqlite3 or redis-cli on a worktree's database.

    With a name that `db list` shows, open a copy of a failed test's database, kept by --keep-failed.
    """
    from testgrove.app.databases.commands import client_program
    from testgrove.app.databases.failed_shell import open_shell
    from testgrove.app.failures.tests import failed_databases
    from testgrove.app.worktrees.inside import replace_by
    from testgrove.cli.worktrees import find, keep_servers

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
    which, address = _url(found, engine)
    program = client_program(which)
    keep_servers(project, found)
    words = {"postgres": (address,), "sqlite": (address.removeprefix("sqlite:///"),)}
    return replace_by(found, (program, *words.get(which, ("--no-auth-warning", "-u", address))))


@db_command.command("create")
@one_worktree
@engine_option
@common
@example("testgrove db create test-integration-api")
def create(*, worktree: str, engine: str | None, directory: Path, as_json: bool, quiet: bool) -> None:
    """Create and migrate the configured databases that a worktree lacks."""
    _work(worktree, "create", engine, directory, as_json=as_json, quiet=quiet)


@db_command.command("drop")
@one_worktree
@engine_option
@common
@example("testgrove db drop test-integration-api --engine redis")
def drop(*, worktree: str, engine: str | None, directory: Path, as_json: bool, quiet: bool) -> None:
    """Drop a worktree's databases with all their data."""
    _work(worktree, "drop", engine, directory, as_json=as_json, quiet=quiet)


@db_command.command("reset")
@one_worktree
@engine_option
@common
@example("testgrove db reset test-integration-api")
def reset(*, worktree: str, engine: str | None, directory: Path, as_json: bool, quiet: bool) -> None:
    """Empty and migrate a worktree's databases; names, passwords and ports stay."""
    _work(worktree, "reset", engine, directory, as_json=as_json, quiet=quiet)


@db_command.command("migrate")
@one_worktree
@click.option("--to", "revision", metavar="REV", help="Migrate to this revision instead of the newest.")
@common
@example("testgrove db migrate test-migration-x", "testgrove db migrate test-migration-x --to 0003")
def migrate(*, worktree: str, revision: str | None, directory: Path, as_json: bool, quiet: bool) -> None:
    """Run the migration command on a worktree's database, with that worktree's code."""
    from testgrove.errors import PreconditionError

    project = project_in(directory)
    service = project.settings.services.postgres
    if service is None or not service.migrate:
        raise PreconditionError(
            "no-migration",
            "no migration command configured",
            hint='[tool.testgrove.services.postgres] migrate = "alembic upgrade head"',
        )
    with _held(project, worktree, "migrate", quiet=quiet or as_json) as databases:
        databases.migrate(revision)
    _done(as_json=as_json, quiet=quiet, worktree=worktree, action="migrated", engines=["postgres"])


def _work(worktree: str, action: str, engine: str | None, directory: Path, *, as_json: bool, quiet: bool) -> None:
    from testgrove.app.databases.commands import declared_engines

    project = project_in(directory)
    engines = declared_engines(project, engine)
    with _held(project, worktree, action, quiet=quiet or as_json) as databases:
        method: Callable[[list[str]], list[str] | None] = getattr(databases, action)
        done = method(engines)
    words = {"create": "created", "drop": "dropped", "reset": "reset"}
    changed = engines if done is None else done
    _done(as_json=as_json, quiet=quiet, worktree=worktree, action=words[action], engines=changed)


def _held(project: Any, worktree: str, action: str, *, quiet: bool) -> Any:
    from testgrove.app.databases.commands import holding_databases

    return holding_databases(project, worktree, action, lambda text: say(text, quiet=quiet))


def _done(*, as_json: bool, quiet: bool, worktree: str, action: str, engines: list[str]) -> None:
    if as_json:
        print_json(worktree=worktree, action=action, engines=engines)
    else:
        say(f"{worktree}: {action}: {', '.join(engines) or 'nothing to do'}", quiet=quiet)


def _url(worktree: Worktree, engine: str | None) -> tuple[str, str]:
    """The engine and the URL of a worktree's database."""
    from testgrove.app.worktrees.inside import variables_of
    from testgrove.errors import PreconditionError, UsageError

    if engine not in {None, *ENGINE_VARIABLES}:
        raise UsageError("unknown-engine", f"invalid engine '{engine}'", hint=f"one of {', '.join(ENGINE_VARIABLES)}")
    values = variables_of(worktree)
    wanted = [engine] if engine else [each for each in ("postgres", "sqlite") if each in worktree.databases]
    for each in wanted:
        if address := values.get(ENGINE_VARIABLES[each]):
            return each, address
    option = f" --engine {engine}" if engine else ""
    raise PreconditionError(
        "no-database",
        f"worktree {worktree.id} has no database of {engine or 'PostgreSQL or SQLite'}",
        hint=f"testgrove db create {worktree.id}{option}",
    )
