"""The coverage of a run: started in each attempt, merged at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.tools import SupervisedTool
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.runs.events import CoverageMerged
from testgrove.errors import TestgroveError
from testgrove.system.coverage.overlay import MeasuredEnvironment, measured_environment, merge, overlay_for, place_start
from testgrove.system.processes.supervisor_pool import supervised_run

FOLDER = "coverage"  # in the run's folder


class RunCoverage:
    """Safe to use from all slots. scratch: the run's, where data are until they are merged."""

    def __init__(self, project: Project, holder: Holder, scratch: Path) -> None:
        self._project, self._holder, self._scratch = project, holder, scratch
        self._start = place_start(scratch / "coverage")
        self._guard = threading.Lock()
        self._measured: list[MeasuredEnvironment] = []

    def environ(self, creation: Workspace, environ: Mapping[str, str], name: str) -> dict[str, str]:
        """An attempt's environment with coverage in it. name: of its own in the run. Raises what uv's failures are."""
        data = self._scratch / f"{name}c"
        overlay = overlay_for(
            creation.tree,
            creation.python,
            cache=self._project.locations.cache,
            run=SupervisedTool(self._project, self._holder),
            temporary=self._scratch / f"{name}u",
            offline=self._project.offline,
            on_wait=lambda reason: creation.on_phase("environment", reason),
        )
        with self._guard:
            self._measured.append(MeasuredEnvironment(data, creation.tree, creation.python, overlay))
        return measured_environment(environ, start=self._start, data=data, tree=creation.tree, overlay=overlay)

    def merge(self, folder: Path) -> CoverageMerged:
        """Merge what was measured into the run's folder; what went wrong is in the event."""
        run = partial(supervised_run, self._holder.supervisors)
        try:
            total = merge(self._measured, main=self._project.repository.toplevel, out=folder / FOLDER, run=run)
        except TestgroveError as error:
            return CoverageMerged(t=time.time(), note=error.message)
        note = "" if total is not None else "no Python process of a suite executed code in this tree"
        return CoverageMerged(t=time.time(), total=total, note=note)
