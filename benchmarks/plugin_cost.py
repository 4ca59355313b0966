"""What pytest-testgrove costs where none of its fixtures is used: `python -m benchmarks.plugin_cost [--pairs N]`.

Two environments, alike but for the plugin; ten trivial tests in each; the runs are interleaved, and the figure is the
median of the differences.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.projects import HERE, UV, environment
from benchmarks.results import machine


def make(folder: Path, *more: str | Path) -> Path:
    """An environment with pytest; its interpreter."""
    subprocess.run((UV, "venv", "-q", "--python", sys.executable, folder), check=True, env=environment())
    python = folder / "bin/python"
    subprocess.run((UV, "pip", "install", "-q", "--python", python, "pytest", *more), check=True, env=environment())
    return python


def seconds(python: Path, project: Path) -> float:
    """One run."""
    began = time.perf_counter()
    subprocess.run((python, "-m", "pytest", "-q"), cwd=project, check=True, capture_output=True, env=environment())
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    about = "What pytest-testgrove costs where none of its fixtures is used."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plugin_cost", description=about)
    parser.add_argument("--pairs", type=int, default=100)
    pairs = parser.parse_args().pairs
    print(machine())
    work = Path(tempfile.mkdtemp(prefix="tgb-", dir="/tmp"))
    try:
        bare, plugged = make(work / "bare"), make(work / "plugged", HERE / "packages/pytest-testgrove")
        project = work / "project"
        project.mkdir()
        (project / "test_it.py").write_text("".join(f"def test_{n}(): pass\n" for n in range(10)))
        for python in (bare, plugged):  # byte code
            seconds(python, project)
        without, differences = [], []
        for number in range(pairs):
            order = (bare, plugged) if number % 2 else (plugged, bare)
            took = {python: seconds(python, project) for python in order}
            without.append(took[bare])
            differences.append((took[plugged] - took[bare]) * 1000)
        low, _, high = statistics.quantiles(differences, n=4)
        print(f"{pairs} pairs: without it {statistics.median(without) * 1000:.0f} ms; the difference is in the median")
        print(f"{statistics.median(differences):.1f} ms (half of them between {low:.1f} and {high:.1f})")
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
