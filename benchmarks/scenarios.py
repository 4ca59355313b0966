"""What `testgrove coordinate` costs: `python -m benchmarks.scenarios [sleepers|cost|memory]… --rounds N`.

sleepers: 80 scenarios that sleep, on 8 slots, beside a bare pool that runs the same pytest commands 8 at a time, and
beside xdist, which runs the same tests in 8 workers of one pytest.

cost: the coordinator's own time for a scenario, one slot, supervisors warm: from one scenario's end to the next one's,
less the time of the pytest process, as its supervisor has it. With leak checks off, and with the fast ones.

memory: the most that the coordinator itself ever held, in MB (VmHWM), with 50, 500 and 2,000 scenarios that only call
`true`, on 4 slots: how much more when the last has ended than when the first had, shared out; and in all, with the
reports.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.__main__ import working_folder
from benchmarks.grove import Grove
from benchmarks.projects import environment, made_up
from benchmarks.results import Comparison, Result, machine, save
from benchmarks.timing import CandidateError, Figures, Sample, in_turn, ratio, timed

COORDINATE, POOL, XDIST = "testgrove coordinate", "bare pool", "pytest -n 8"
SLOTS = 8
NAMES = ("sleepers", "cost", "memory")
_POOL = """
import subprocess, sys
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(int(sys.argv[1])) as pool:
    done = pool.map(lambda name: subprocess.run(["pytest", "-q", name], capture_output=True), sys.argv[2:])
    sys.exit(any(each.returncode for each in done))
"""


class Site:
    """A project with one worktree in which all scenarios run. number: of scenarios; seconds: that each sleeps."""

    def __init__(self, work: Path, number: int, seconds: float) -> None:
        self.grove = Grove(work)
        self.names = [f"tests/test_{each:03}.py" for each in range(number)]
        body = f"import time\n\n\ndef test_it():\n    time.sleep({seconds})\n"
        scenarios = [
            {"name": Path(name).stem, "worktree": "one", "test_file": name, "shareable": True} for name in self.names
        ]
        files = dict.fromkeys(self.names, body) | {"scenarios.json": json.dumps({"scenarios": scenarios})}
        self.project = made_up(work / "scenarios", files, "")
        (self.project / "requirements.txt").write_text("pytest\npytest-xdist\n")
        timed(["git", "commit", "-qam", "xdist"], cwd=self.project, env=os.environ)
        words = (self.grove.program, "coordinate", "--setup-worktrees", "--only-setup")
        timed(words, cwd=self.project, env=self.grove.env)
        self.tree = work / "scenarios-worktrees/one"
        path = f"{self.tree}/.venv/bin{os.pathsep}{os.environ['PATH']}"
        self.bare = environment(PATH=path, VIRTUAL_ENV=f"{self.tree}/.venv")

    def coordinate(self, slots: int, checks: str) -> Sample:
        """A whole run, the start of testgrove included."""
        words = (self.grove.program, "coordinate", "-j", str(slots), "--quiet", "--leak-checks", checks)
        return timed(words, cwd=self.project, env=self.grove.env)

    def candidates(self) -> dict[str, Callable[[], Sample]]:
        """The three, ready to be measured."""
        pool = [sys.executable, "-c", _POOL, str(SLOTS), *self.names]
        xdist = ["pytest", "-q", "-n", str(SLOTS), "tests"]
        return {
            COORDINATE: lambda: self.coordinate(SLOTS, "fast"),
            POOL: lambda: timed(pool, cwd=self.tree, env=self.bare),
            XDIST: lambda: timed(xdist, cwd=self.tree, env=self.bare),
        }

    def own_costs(self, checks: str) -> list[float]:
        """Seconds over the process, of each scenario but the first."""
        self.coordinate(1, checks)
        log = (self.project / "test-artifacts/latest/events.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in log]
        ends = [(event["t"], event["cell"]) for event in events if event["type"] == "cell_finished"]
        took = {event["cell"]: event["duration"] for event in events if event["type"] == "attempt_finished"}
        return [end - before - took[cell] for (before, _), (end, cell) in pairwise(ends)]

    def peaks(self, number: int) -> tuple[float, float, float]:
        """MB: when the first of so many scenarios has ended, when the last has, and at the end of the run."""
        scenarios = [
            {"name": f"s{each}", "worktree": "one", "command": "true", "shareable": True} for each in range(number)
        ]
        file = self.project.parent / f"{number}.json"
        file.write_text(json.dumps({"scenarios": scenarios}))
        words = (self.grove.program, "coordinate", str(file), "-j", "4", "--quiet", "--leak-checks", "fast")
        first = last = peak = 0.0
        with subprocess.Popen(words, cwd=self.project, env=self.grove.env, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                peak = max(peak, memory_peak(process.pid))
                if not first and any(b"cell_finished" in log.read_bytes() for log in self._artifacts("events.jsonl")):
                    first = peak
                if not self._artifacts("integration_report.json"):
                    last = peak
                time.sleep(0.02)
        if process.returncode != 0:
            raise CandidateError(f"{number} scenarios ended with {process.returncode}")
        shutil.rmtree(self.project / "test-artifacts")
        return first or last, last, peak

    def _artifacts(self, name: str) -> list[Path]:
        return list(self.project.glob(f"test-artifacts/2*/{name}"))


def memory_peak(pid: int) -> float:
    """MB: the most that a process has held; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1000


def measure_sleepers(work: Path, rounds: int, number: int, seconds: float) -> Result:
    """The makespans, beside one another."""
    site = Site(work, number, seconds)
    result = Result(f"{number} sleepers of {seconds:g} s on {SLOTS} slots", in_turn(site.candidates(), rounds))
    times = ratio(result.seconds(COORDINATE), result.seconds(POOL))
    result.comparisons.append(Comparison("makespan, times that of the bare pool", times, 1.05, at_least=False))
    return result


def measure_cost(work: Path, number: int) -> Result:
    """The coordinator's own cost for a scenario."""
    site = Site(work, number, 0.0)
    result = Result(f"own cost of one of {number} scenarios, seconds", {})
    for checks, target in (("off", 0.025), ("fast", 0.045)):
        costs = site.own_costs(checks)
        print(f"  leak checks {checks}: median {1000 * statistics.median(costs):.1f} ms", flush=True)
        text = f"leak checks {checks}: seconds over the pytest process"
        result.comparisons.append(Comparison(text, Figures.of(costs), target, at_least=False))
    return result


def measure_memory(work: Path, numbers: Sequence[int]) -> Result:
    """The coordinator's memory, with more and more scenarios."""
    site = Site(work, 1, 0.0)
    result = Result("the coordinator's own memory, MB", {})
    for number in numbers:
        first, last, peak = site.peaks(number)
        print(f"  {number} scenarios: {first:.1f} MB, {last:.1f} MB, with the reports {peak:.1f} MB", flush=True)
        grown = 1000 * (last - first) / number
        for text, value, target in (("kB for each that has ended", grown, 8), ("MB in all", peak, 64)):
            result.comparisons.append(Comparison(f"{number} scenarios: {text}", Figures.of([value]), target, False))
    return result


def main() -> None:
    """Run what is named, all by default; print tables, write a JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scenarios", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sleepers", type=int, default=80)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a sleeper sleeps")
    parser.add_argument("--scenarios", type=int, default=500, help="of 'cost'")
    parser.add_argument("--numbers", type=int, nargs="+", default=[50, 500, 2000], help="of scenarios, of 'memory'")
    parser.add_argument("--keep", action="store_true", help="leave the working folder")
    parser.add_argument("--out", type=Path, default=Path("build/scenarios.json"))
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    print(machine(), flush=True)
    results = []
    for name in dict.fromkeys(chosen.names or NAMES):
        with working_folder(chosen.keep) as work:
            if name == "sleepers":
                result = measure_sleepers(work, chosen.rounds, chosen.sleepers, chosen.seconds)
            elif name == "memory":
                result = measure_memory(work, chosen.numbers)
            else:
                result = measure_cost(work, chosen.scenarios)
        results.append(result)
        save(chosen.out, results)
        print(result.show(), flush=True)
    print(f"\nsaved: {chosen.out}; {machine()}")


if __name__ == "__main__":
    main()
