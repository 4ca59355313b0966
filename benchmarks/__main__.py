"""Measure, beside the peers: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import compiled, cost, floors, listing, overhead, projects, ready
from benchmarks.grove import Grove
from benchmarks.peers import peer_server
from benchmarks.results import Comparison, Result, machine, save
from benchmarks.timing import Figures, in_turn, ratio

NAMES = ("example", "real", "overhead", "listing", "compiled", "cost")


def measure_ready(work: Path, name: str, rounds: int, without: set[str]) -> Result:
    """Time to a ready worktree of the example, or of the real repository."""
    repository = projects.example(work) if name == "example" else projects.real(work)
    with peer_server(work) as server:
        what = ready.Ready(repository, Grove(work), server)
        title = f"ready worktree, {name}: {repository.path.name}, {repository.files} files, PostgreSQL"
        print(f"{title} {server.binaries.version}", flush=True)
        what.warm_up()
        result = Result(f"{title} {server.binaries.version}", in_turn(what.candidates(without), rounds))
        what.grove.clean_up(repository.path)
    result.faster(ready.CREATED, ready.PIP_NAME, 15)
    result.faster(ready.RECYCLED, ready.PIP_NAME, 40)
    result.faster(ready.CREATED, ready.UV_NAME, 1.5)
    result.faster(ready.RECYCLED, ready.UV_NAME, 10)
    return result


def measure_overhead(work: Path, rounds: int) -> Result:
    """One recycled cell without services, beside bare pytest."""
    grove = Grove(work)
    print("overhead for one recycled cell without services", flush=True)
    result = Result("overhead, one recycled cell", in_turn(overhead.candidates(work, grove), rounds))
    grove.clean_up(work / "overhead")
    overhead.over_the_floor(result, overhead.GROVE, overhead.BARE)
    return result


def measure_listing(work: Path, rounds: int) -> Result:
    """`list` with many worktrees, compared with a Python that does nothing."""
    grove = Grove(work)
    print(f"`testgrove list` with {listing.WORKTREES} worktrees", flush=True)
    result = Result("list", in_turn(listing.candidates(work, grove), rounds))
    grove.clean_up(work / "listing")
    over = ratio(result.seconds(listing.LIST), result.seconds(floors.LISTING))
    text = f"{listing.LIST}: times {floors.LISTING}"
    result.comparisons.append(Comparison(text, over, listing.OVER_FLOOR, at_least=False))
    floor = ratio(result.seconds(floors.LISTING), result.seconds(listing.NOTHING)).median
    for name, times in ((floors.LISTING, 1.0), (listing.LIST, listing.OVER_FLOOR)):
        figures = ratio(result.seconds(name), result.seconds(listing.NOTHING))
        text = f"{name}: times {listing.NOTHING}"
        result.comparisons.append(Comparison(text, figures, times * floor, at_least=False))
    return result


def measure_compiled(work: Path, rounds: int) -> Result:
    """The second run of a project with a compiled extension, beside plain pytest."""
    grove = Grove(work)
    print("second run of a compiled project", flush=True)
    result = Result("compiled project, second run", in_turn(compiled.candidates(work, grove), rounds))
    grove.clean_up(work / "compiled")
    figures = ratio(result.seconds(compiled.SECOND), result.seconds(compiled.PLAIN))
    text = f"{compiled.SECOND}: times {compiled.PLAIN}"
    result.comparisons.append(Comparison(text, figures, compiled.SLOWER, at_least=False))
    return result


def measure_cost(work: Path, rounds: int, seconds: float) -> Result:
    """The CPU of eight cells, beside pytest by hand."""
    grove = Grove(work)
    print(f"CPU of {cost.CELLS} cells with {seconds:g} s each, two at a time", flush=True)
    result = Result(
        f"CPU of {cost.CELLS} cells of {seconds:g} s", in_turn(cost.candidates(work, grove, seconds), rounds)
    )
    grove.clean_up(work / "cost")
    pairs = zip(result.samples[cost.GROVE], result.samples[cost.HAND], strict=True)
    figures = Figures.of([ours.cpu / hand.cpu for ours, hand in pairs])
    result.comparisons.append(Comparison("CPU, times that of pytest by hand", figures, 1.15, at_least=False))
    return result


@contextmanager
def working_folder(keep: bool) -> Iterator[Path]:
    """A folder with a short path, beside uv's cache if /tmp is on its disk: hard links need that."""
    folder = Path(tempfile.mkdtemp(prefix="tgb-", dir="/tmp"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder)
            shutil.rmtree(Path("/dev/shm") / Grove.scratch_of(folder).name, ignore_errors=True)


def main() -> None:
    """Run the benchmarks that are named, all by default; print tables, write a JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure testgrove beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=12.0, help="CPU for each cell of 'cost'")
    parser.add_argument("--without", action="append", default=[], metavar="CANDIDATE", help="leave one out")
    parser.add_argument("--keep", action="store_true", help="leave the working folder")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks.json"))
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    print(machine(), flush=True)
    results = []
    for name in chosen.names or NAMES:
        with working_folder(chosen.keep) as work:
            if name == "overhead":
                result = measure_overhead(work, chosen.rounds * 2)
            elif name == "listing":
                result = measure_listing(work, chosen.rounds * 2)
            elif name == "compiled":
                result = measure_compiled(work, chosen.rounds)
            elif name == "cost":
                result = measure_cost(work, max(1, chosen.rounds // 2), chosen.seconds)
            else:
                result = measure_ready(work, name, chosen.rounds, set(chosen.without))
        results.append(result)
        save(chosen.out, results)
        print(result.show(), flush=True)
    print(f"\nsaved: {chosen.out}; {machine()}")


if __name__ == "__main__":
    main()
