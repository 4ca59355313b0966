"""What helps after a failed attempt, where its output tells."""

from __future__ import annotations

from collections.abc import Iterator

from testgrove.app.project import Project
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.runs.cause import missing_module, refused_service
from testgrove.errors import TestgroveError
from testgrove.system.environment import build


def advice(project: Project, workspace: Workspace, output: str) -> Iterator[str]:
    """Notes for the user. output: the last of what the attempt's command printed."""
    if refused := refused_service(output, {service.engine for service in project.settings.services.values()}):
        yield refused
    module, plan = missing_module(output), workspace.plan
    if module and plan is not None and plan.contents.passed_over:
        try:
            told = build.declared_elsewhere(workspace.tree, module, plan)
        except TestgroveError:  # the tests may have changed the files
            return
        if told:
            yield f"{told}; `groups`, `extras` or `dependencies_default` in [tool.testgrove] choose it"
