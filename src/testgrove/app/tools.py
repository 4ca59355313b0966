"""Long tools of a command: git at work on files, uv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.core.frozen import frozen
from testgrove.system.processes.process import Completed
from testgrove.system.processes.supervisor_pool import supervised_run


@frozen
class SupervisedTool:
    """Runs a tool under a supervisor of this command's."""

    project: Project
    holder: Holder

    def __call__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        timeout: float,
        check: bool,
        log: Path | None = None,
    ) -> Completed:
        if self.project.offline:
            env = {**env, "GIT_ALLOW_PROTOCOL": "file"}  # else submodules are fetched from where they come from
        return supervised_run(self.holder.supervisors, argv, cwd=cwd, env=env, timeout=timeout, check=check, log=log)
