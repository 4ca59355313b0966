"""The interpreter is asked before its environment is known to stay; the answer counts for that question only."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from testgrove.app.worktrees.preflight import ask_ahead
from testgrove.system.preflight.check import AskedAhead
from testgrove.system.processes import process


@pytest.fixture
def ahead(tmp_path: Path, monkeypatch):
    """A question that counts, in a file, how often an interpreter was started for it; and that question."""
    count = tmp_path / "count"
    script = f"from pathlib import Path; Path({str(count)!r}).open('a').write('x')"
    monkeypatch.setattr("testgrove.system.preflight.check._question", lambda *_: [sys.executable, "-c", script])
    asked = AskedAhead(tree=tmp_path, python=Path(sys.executable), env={"A": "1"}, directory="")
    yield asked, [sys.executable, "-c", script], count
    asked.close()


def test_the_same_question_starts_no_other_interpreter(ahead, tmp_path):
    asked, argv, count = ahead
    assert asked.run(argv, cwd=tmp_path, env={"A": "1"}, timeout=60).returncode == 0
    assert count.read_text() == "x"


@pytest.mark.parametrize("changed", ["words", "variables", "environment"])
def test_another_question_or_environment_starts_one(ahead, tmp_path, changed, monkeypatch):
    asked, argv, _ = ahead
    started = []
    monkeypatch.setattr(process, "run", lambda argv, **_: started.append(argv))
    if changed == "environment":
        asked.close()
    argv = [*argv, "shop"] if changed == "words" else argv
    asked.run(argv, cwd=tmp_path, env={} if changed == "variables" else {"A": "1"}, timeout=60)
    assert started == [argv]


def test_an_interpreter_that_cannot_run_is_left_to_the_check_of_the_environment(tmp_path):
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch(0o755)  # as a full disk leaves it
    spec = SimpleNamespace(directory="")
    workspace = SimpleNamespace(tree=tmp_path, directory=tmp_path, spec=spec, making=None, suite_environ=dict)
    assert ask_ahead(workspace, SimpleNamespace(plan=(), environment={"python": "3.12"})) is None
