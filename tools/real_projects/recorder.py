"""A plugin of plain pytest: writes the outcome of each node id to $REAL_PROJECTS_OUTCOMES as JSON."""

import json
import os
from pathlib import Path


def pytest_sessionfinish(session):
    """What the terminal counts, by node id; the worst where a test has two (failed, and an error in its teardown)."""
    if hasattr(session.config, "workerinput"):
        return
    outcomes = {}
    stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
    for outcome in ("passed", "xpassed", "xfailed", "skipped", "failed", "error"):
        for report in stats.get(outcome, ()):
            if getattr(report, "nodeid", ""):
                outcomes[report.nodeid] = outcome
    Path(os.environ["REAL_PROJECTS_OUTCOMES"]).write_text(json.dumps(outcomes))
