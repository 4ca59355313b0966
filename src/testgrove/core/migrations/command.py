"""A project's migration command, and what brings a database to another revision than the newest."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from testgrove.core.engines.registry import default_services, migrated_service
from testgrove.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testgrove.core.settings.types import Service


_FORM = "--migrate-to REV, or --migrate-to SERVICE=REV"


def migration_to(name: str, service: Service, revision: str) -> str:
    """The command that brings a database to a revision. name: the service's. Raises UsageError (``no-migrate-to``)."""
    if service.migrate_to:
        return service.migrate_to.replace("${REVISION}", shlex.quote(revision))
    words = service.migrate.split()
    if "alembic" in service.migrate and words[-1] in ("head", "heads"):
        return " ".join([*words[:-1], shlex.quote(revision)])
    raise UsageError(
        "no-migrate-to",
        f"cannot derive how to migrate to {revision}: 'services.{name}.migrate' is '{service.migrate}'",
        hint=f'set it: [tool.testgrove.services.{name}] migrate_to = "… ${{REVISION}}"',
    )


def revisions_asked(asked: Sequence[str], services: Mapping[str, Service], present: Sequence[str]) -> dict[str, str]:
    """Return the revision to stop at, by service.

    asked: `SERVICE=REV`, or `REV` for the default service. services: all of the project. present: those of the
    worktree. Raises UsageError (``migrate-to-unused``, ``no-migrate-to``).
    """
    found: dict[str, str] = {}
    for text in asked:
        named, equals, revision = text.partition("=")
        name = default_services(services).get(named, named) if equals else migrated_service(services)
        revision = revision if equals else text
        if not revision:
            raise UsageError("migrate-to-unused", f"--migrate-to {text}: the revision is empty", hint=_FORM)
        if name in found:
            raise UsageError("migrate-to-unused", f"--migrate-to {text}: service '{name}' has a revision already")
        service = services[name] if name is not None and name in present else None
        if name is None or service is None or not (service.migrate or service.migrate_to):
            raise _nothing_to_migrate(text, named if equals else "", revision, services, present)
        if service.is_shared:
            raise UsageError(
                "migrate-to-unused",
                f"--migrate-to {text}: the database is shared ([services.{name}] isolation = 'none'), "
                "and testgrove does not change it",
                hint="remove --migrate-to",
            )
        migration_to(name, service, revision)
        found[name] = revision
    return found


def _nothing_to_migrate(
    text: str, named: str, revision: str, services: Mapping[str, Service], present: Sequence[str]
) -> UsageError:
    what = f"service '{named}' with a migration" if named else "service that is migrated on a database server"
    there = [name for name in present if services[name].migrate and not services[name].is_shared]
    hint = "remove --migrate-to, or configure one, such as [tool.testgrove.services.postgres]"
    if there:
        hint = f"--migrate-to {there[0]}={revision}"
    message = f"--migrate-to {text}: this worktree has no {what} (available: {', '.join(there) or 'none'})"
    return UsageError("migrate-to-unused", message, hint=hint)
