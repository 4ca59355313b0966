"""Making a workspace's database by its service's provider, in a thread beside the making of its environment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from testgrove.app.context import AppContext
from testgrove.app.databases.creation import DatabaseCreation
from testgrove.app.databases.migration import template_spec_in
from testgrove.app.left_databases import remember_left
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.naming import database_name
from testgrove.core.settings.types import Service
from testgrove.services.provider import DatabaseRequest, Provider, ProvisionedDatabase, TemplateSpec


def maker(
    context: AppContext,
    provider: Provider,
    name: str,
    service: Service,
    workspace: Workspace,
    making: DatabaseCreation,
    *,
    empty: bool = False,
) -> tuple[Callable[[], ProvisionedDatabase], TemplateSpec | None]:
    """Return the maker of the database, and the template that it clones. The tree is read now, before
    something is built in it. empty: not migrated."""
    traits = provider.traits()
    template_spec = None
    if traits is not None and not empty:
        template_spec = template_spec_in(workspace, name, service, traits, context.launcher, making)
    request = DatabaseRequest(
        database_name(workspace.spec.id, service="" if name == service.engine else name),
        label=str(workspace.spec.id),
        owner=context.owner_of(workspace),
        leases=context.leases_of(workspace),
        file=workspace.database_folder / service.directory / service.path,
        template_spec=template_spec,
        say=making.say,
        check=making.check,
        note=workspace.notes.append,
        left=partial(remember_left, context.holder.store),
    )
    return partial(provider.make, request), template_spec
