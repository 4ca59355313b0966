"""What waits for something that another command makes, and is not wanted any more."""

from __future__ import annotations

import signal

import pytest

from grove import MAKE_A_TABLE
from services.cases import until


@pytest.mark.slow
def test_ctrl_c_ends_the_wait_for_a_template_that_another_run_builds(grove):
    project = grove()
    began, over = project.base / "began", project.base / "over"
    migrate = f"touch {began}; until test -e {over}; do sleep 0.05; done; {MAKE_A_TABLE}"
    table = (project.repo / "testgrove.toml").read_text()
    suite = '[suites.a]\ncommand = "true"\nservices = ["sqlite"]\n'
    project.write({"testgrove.toml": f'{suite}[services.sqlite]\nmigrate = "{migrate}"\n{table}'}, commit="Services")
    builder = project.start("test")
    until(began.exists, timeout=60)
    waiting = project.start("test", "-v")
    until(
        lambda: (
            len(project.runs()) == 2
            and "another command is building" in (project.runs()[1] / "events.jsonl").read_text()
        ),
        timeout=60,
    )
    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 130, out + err
    assert builder.poll() is None
    over.touch()
    out, err = builder.communicate(timeout=60)
    assert builder.returncode == 0, out + err
