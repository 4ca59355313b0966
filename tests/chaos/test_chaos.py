"""A share of the random faults with fresh seeds, and the seeded bugs. `make chaos RUNS=2000` is the long run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from chaos.bugs import BUGS
from chaos.faults import Effect
from chaos.plans import COMMANDS, plan

TESTS = Path(__file__).parents[1]


def chaos(**variables: str) -> subprocess.CompletedProcess[str]:
    """`make chaos` with these variables."""
    dropped = {"SEED", "RUNS", "SECONDS", "BUGS", "VERBOSE"}
    env = {name: value for name, value in os.environ.items() if name not in dropped} | variables
    command = [sys.executable, "-m", "chaos"]
    return subprocess.run(command, cwd=TESTS, env=env, text=True, capture_output=True, check=False)


def test_a_seed_names_the_same_plan_again():
    gateways = ("files", "reads", "processes", "store")
    counted = {name: [Effect(number, gateway, "") for number, gateway in enumerate(gateways, 1)] for name in COMMANDS}
    first, again = ([str(plan(Random(f"7:{n}"), counted, mounts=True)) for n in range(200)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 150


def test_the_targets_of_the_seeded_bugs_exist():
    assert len(BUGS) >= 10
    for bug in BUGS.values():
        bug.checked()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_faults_violate_nothing():
    done = chaos(RUNS="100", SECONDS="180")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_each_seeded_bug_is_found():
    done = chaos(RUNS="600", BUGS="all")  # the rarest is found by one run in 65
    assert done.returncode == 0, done.stdout + done.stderr
