"""What helps after a failed attempt, where its output tells."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from testgrove.app.project import Project, table_named
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.discovery.missing_services import missing_service
from testgrove.core.runs.cause import missing_module
from testgrove.errors import TestgroveError
from testgrove.system.environment import build


def advice(project: Project, workspace: Workspace, output: str) -> Iterator[str]:
    """Notes for the user. output: the last of what the attempt's command printed."""
    declared = {service.engine for service in project.settings.services.values()}
    if missing := missing_service(output, declared, partial(table_named, project.repository.toplevel)):
        yield missing
    module, plan = missing_module(output), workspace.plan
    if module and plan is not None and plan.contents.passed_over:
        try:
            told = build.declared_elsewhere(workspace.tree, module, plan)
        except TestgroveError:  # the tests may have changed the files
            return
        if told:
            yield f"{told}; `groups`, `extras` or `dependencies_default` in [tool.testgrove] choose it"
