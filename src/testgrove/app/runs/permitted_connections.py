"""The addresses that an attempt may connect to: its databases, and what the settings configure or permit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.connections.addresses import Address
from testgrove.core.connections.permitted import PermittedConnections, permitted_for, variable_leads
from testgrove.core.runs.plan import Cell
from testgrove.core.settings.parse import expand_env
from testgrove.core.settings.service_variables import service_variables


def permitted_in_attempt(
    creation: Workspace, cell: Cell, environ: Mapping[str, str], temporary: Path
) -> PermittedConnections:
    """environ: the suite's, of which counts what testgrove and the settings have set."""
    project = creation.project
    folders = (creation.tree, creation.tree.resolve(), temporary, temporary.resolve(), creation.database_folder)
    permitted = permitted_for(creation.databases, folders, project.settings.allow_connections, environ)
    own, external = list(permitted.own), list(permitted.external)
    services = project.settings.services
    embedded = {service.engine for service in services.values() if service.is_embedded}
    ours = service_variables(services)
    for name, address in _led_to(creation, cell, environ):
        is_own = name in ours and address.engine in embedded and address.is_local
        (own if is_own else external).append(address)
    return replace(permitted, own=tuple(own), external=tuple(external))


def _led_to(creation: Workspace, cell: Cell, environ: Mapping[str, str]) -> Iterator[tuple[str, Address]]:
    """Yield the variables set by testgrove, the settings and the processes' `env`, with the addresses they name."""
    for name in creation.set_variables():
        for address in variable_leads(name, environ):
            yield name, address
    own = creation.own_variables()
    for name in own:
        for address in variable_leads(name, own):
            yield "", address
    for process in cell.settings.processes:
        settings = creation.project.settings.processes[process]
        values = expand_env(settings.env, dict(environ), source=f"'processes.{process}.env", partial=True)
        for name in values:
            for address in variable_leads(name, {**environ, **values}):
                yield "", address
