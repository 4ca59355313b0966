"""PostgreSQL servers of a run's, a session's or a command's own."""

from __future__ import annotations

from secrets import token_hex

from testgrove.app.databases.engines import RunMeans
from testgrove.core.settings.types import Service
from testgrove.services.binaries import PostgresBinaries
from testgrove.services.engines.postgres.server import PostgresServer, Template
from testgrove.system.files import explained


def start_server(means: RunMeans, service: Service, binaries: PostgresBinaries, template: Template) -> PostgresServer:
    """Start a server on a template, in a new folder that is removed with the owner of the means.

    Raises UnavailableError, PreconditionError, ExhaustedError.
    """
    directory = means.folder / f"pg-{token_hex(4)}"
    with explained("create the server's folder", directory):
        directory.mkdir(mode=0o700)

    def start(port: int) -> PostgresServer:
        return PostgresServer.start(
            template,
            binaries=binaries,
            host=means.host,
            directory=directory,
            socket_dir=directory,
            port=port,
            settings=service.settings,
        )

    return means.ports.start("postgres", start)
