"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.projects import UV
from benchmarks.timing import Figures, Sample, ratio


@dataclass(frozen=True)
class Comparison:
    """How two candidates compare. target: what is hoped for; nothing fails when it is missed."""

    text: str
    figures: Figures
    target: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether the median is as good as the target."""
        return self.figures.median >= self.target if self.at_least else self.figures.median <= self.target


@dataclass
class Result:
    """One benchmark's samples, and what follows from them."""

    name: str
    samples: Mapping[str, Sequence[Sample]]
    comparisons: list[Comparison] = field(default_factory=list)

    def seconds(self, name: str) -> list[float]:
        """A candidate's times."""
        return [sample.seconds for sample in self.samples[name]]

    def faster(self, fast: str, slow: str, target: float) -> None:
        """Compare two candidates' times, where both were measured."""
        if fast in self.samples and slow in self.samples:
            figures = ratio(self.seconds(slow), self.seconds(fast))
            self.comparisons.append(Comparison(f"{fast}: times faster than the {slow}", figures, target))

    def show(self) -> str:
        """A table of the candidates, and the comparisons."""
        lines = [f"\n{self.name}", f"  {'':<28}{'median':>9}{'least':>9}{'most':>9}{'whole':>9}{'cpu':>9}  rounds"]
        for name, samples in self.samples.items():
            own = Figures.of(self.seconds(name))
            whole, cpu = (Figures.of([getattr(one, what) for one in samples]).median for what in ("whole", "cpu"))
            numbers = "".join(f"{value:9.3f}" for value in (own.median, own.least, own.most, whole, cpu))
            lines.append(f"  {name:<28}{numbers}  {len(samples)}")
        for one in self.comparisons:
            sign, verdict = ("≥" if one.at_least else "≤"), ("met" if one.met else "MISSED")
            figures = one.figures
            lines.append(
                f"  {one.text}: {figures.median:.2f} ({figures.least:.2f} … {figures.most:.2f}),"
                f" target {sign} {one.target:g}: {verdict}"
            )
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Everything that was measured."""
        return {
            "name": self.name,
            "samples": {name: [asdict(one) for one in samples] for name, samples in self.samples.items()},
            "comparisons": [asdict(one) | {"met": one.met} for one in self.comparisons],
        }


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    versions = {"git": ("git", "--version"), "uv": (str(UV), "--version")}
    found = {
        name: subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        for name, argv in versions.items()
    }
    return found | {
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def save(path: Path, results: Sequence[Result]) -> None:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"schema": 1, "machine": machine(), "results": [result.as_json() for result in results]}
    path.write_text(json.dumps(document, indent=1) + "\n")
