"""Timing whole processes, candidates in turn, medians and ratios."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """seconds: what the benchmark asks about; whole: the process from its spawn to its end; cpu: user and system
    time of the process and all that it started and reaped; load: the machine's load average at the start."""

    seconds: float
    whole: float
    cpu: float
    load: float


class CandidateError(Exception):
    """A candidate did not do its work."""


def timed(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Sample:
    """Run a command to its end. Raises CandidateError, with its output, when its status is not 0."""
    load = os.getloadavg()[0]
    start = time.monotonic()
    with subprocess.Popen(argv, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        whole = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        text = output.decode(errors="replace")
        raise CandidateError(f"{' '.join(argv)[:200]} ended with {process.returncode}:\n{text[-3000:]}")
    return Sample(whole, whole, usage.ru_utime + usage.ru_stime, load)


def in_turn(candidates: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """Measure A B C, A B C, …: what the machine does meanwhile meets all of them. What a sample left to be written to
    disk is written before the next one starts."""
    found: dict[str, list[Sample]] = {name: [] for name in candidates}
    for number in range(1, rounds + 1):
        for name, measure in candidates.items():
            os.sync()
            sample = measure()
            found[name].append(sample)
            figures = f"{sample.seconds:8.3f} s  cpu {sample.cpu:7.3f} s  load {sample.load:.1f}"
            print(f"  round {number}  {name:<20} {figures}", flush=True)
    return found


@dataclass(frozen=True)
class Figures:
    """Median, least and greatest of some numbers."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figures:
        """The figures of at least one number."""
        return cls(statistics.median(values), min(values), max(values))


def above(ours: Sequence[float], bare: Sequence[float]) -> list[float]:
    """How much more each of ours took than bare did in its round, in times of that bare one."""
    return [(one - other) / other for one, other in zip(ours, bare, strict=True)]


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Figures:
    """How many times faster: of the medians; least and most of the rounds, pair by pair."""
    pairs = [one / other for one, other in zip(slow, fast, strict=True)]
    return Figures(statistics.median(slow) / statistics.median(fast), min(pairs), max(pairs))
