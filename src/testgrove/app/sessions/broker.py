"""A broker for one test session in any checkout: started by the first test that asks, gone with the session."""

from __future__ import annotations

import os
import secrets
import select
import threading
from collections.abc import Callable
from pathlib import Path

from testgrove.app.context import run_context
from testgrove.app.holder import Holder
from testgrove.app.project import Project, table_named
from testgrove.app.providers.broker import ServiceBroker
from testgrove.app.sessions.databases import SessionDatabases
from testgrove.app.sessions.migration import Migration, TestEnvironment
from testgrove.app.worktrees.undo import undo
from testgrove.core.engines.registry import implementation_of
from testgrove.core.model import Lease, LeaseKind
from testgrove.errors import PreconditionError, UnavailableError, UsageError
from testgrove.system.files import explained


def serve_session(
    project: Project, holder: Holder, session: int, tests: TestEnvironment, on_ready: Callable[[Path], object]
) -> None:
    """Serve databases until a process has ended.

    session: its pid. on_ready: called with the path of the socket. Raises PreconditionError if the process does not
    exist, UsageError if the project configures no database.
    """
    _check(project)
    try:
        ended = os.pidfd_open(session)
    except ProcessLookupError as error:
        raise PreconditionError("session-gone", f"process {session} not found") from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UnavailableError("no-pidfd", f"cannot watch process {session}: {why}") from error
    name = f"broker-{secrets.token_hex(3)}"
    scratch, memory = project.locations.scratch / name, project.locations.memory / f"{name}-m"
    cancel = threading.Event()
    context = run_context(project, holder, holder.leases, memory, cancel)
    for place in dict.fromkeys((scratch, memory)):
        holder.leases.record(Lease(LeaseKind.DIRECTORY, str(place)))
        with explained("create the broker's folder", place):
            place.mkdir(mode=0o700)
    migration = Migration(context, project.repository.toplevel, tests)
    databases = SessionDatabases(context, migration)
    hint = _table_named(project, "services.{}")  # for a test that asks for another engine
    broker = ServiceBroker(scratch / "broker.sock", databases.allocators(), hint, context)
    try:
        on_ready(broker.path)
        select.select([ended], [], [])
    finally:
        cancel.set()
        broker.close()
        databases.stop()
        undo(holder, holder.leases, LeaseKind.DATABASE, LeaseKind.DIRECTORY, LeaseKind.PORTS)
        os.close(ended)


def _table_named(project: Project, name: str) -> str:
    return table_named(project.folder_in(project.repository.toplevel, ""), name)


def _check(project: Project) -> None:
    services = project.settings.services
    if not services:
        raise UsageError(
            "no-services",
            f"no database configured in {project.repository.toplevel}",
            hint=f"testgrove init   or declare {_table_named(project, 'services.postgres')}",
        )
    for engine in {service.engine for service in services.values()}:
        implementation_of(engine).require()
