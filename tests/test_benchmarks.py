"""The benchmarks run; what they measure is not looked at."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent


def simulate(seeds: int) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-m", "benchmarks.schedule", "--seeds", str(seeds))
    return subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=False)


def test_simulated_runs_are_as_short_as_promised():
    """No clock in it: the figures are the same everywhere."""
    done = simulate(5)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_simulated_runs_of_all_seeds_are_as_short_as_promised():
    done = simulate(60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("held") == 4


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.parametrize("name", ["example", "overhead", "listing", "compiled", "cost"])
def test_a_benchmark_runs_and_saves_its_samples(tmp_path, name, require_postgres, require_redis):
    out = tmp_path / "results.json"
    words = (name, "--rounds", "1", "--seconds", "0.1", "--without", "pip recipe", "--out", str(out))
    argv = (sys.executable, "-m", "benchmarks", *words)
    done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(out.read_text())["results"]
    assert result["comparisons"]
    for samples in result["samples"].values():
        assert all(sample["cpu"] > 0 for sample in samples)
        assert all(0 < sample["seconds"] <= sample["whole"] for sample in samples)


@pytest.mark.slow
def test_the_benchmark_of_scenarios_runs(tmp_path):
    out = tmp_path / "results.json"
    small = (
        "--rounds",
        "1",
        "--sleepers",
        "3",
        "--seconds",
        "0.1",
        "--scenarios",
        "4",
        "--numbers",
        "2",
        "3",
        "--out",
        str(out),
    )
    argv = (sys.executable, "-m", "benchmarks.scenarios", *small)
    done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sleepers, cost, memory = json.loads(out.read_text())["results"]
    assert len(sleepers["samples"]) == 3
    assert len(cost["comparisons"]) == 2
    assert len(memory["comparisons"]) == 4
