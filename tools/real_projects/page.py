"""The page of the documentation: a table, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from real_projects.project import listed

_HEAD = """# Real projects

Each row is a project of other authors. Its tests were run by the commands of its own CI, and by `testgrove test`.
`make real-projects` measures, and writes this page.

- **source**: a distribution of the package index, or a repository and what was checked out of it.
- **settings**: `none`, or those that `testgrove init` wrote. Nothing was edited by hand.
- **same**: whether both ran the same node ids with the same outcomes. The output of `manage.py test` has no names;
  there, the number of each outcome is compared.
- **seconds**: the plain command; the first `testgrove test`, which makes the environment; a later one.
- **later runs cost**: clock and CPU time of later runs of `testgrove test`, as multiples of the plain command's. Both
  sides took turns, up to three times. Each `testgrove test` starts the servers that it needs and removes them; those
  of the plain command were started before it and are not counted. `-`: measured before the two sides took turns.

All was measured on two cores that had other work to do: the same project took up to twice as long at another time.

"""
_COLUMNS = (
    "project",
    "source",
    "kinds",
    "settings",
    "plain",
    "same",
    "seconds: plain, first, later",
    "later runs cost",
)
_TAIL = """
## Measure it yourself

`make real-projects ONLY=click` measures one project. Sources come from the package index. Projects that are only in
git are cloned by you into a folder, each by its name in the table: `make real-projects SOURCES=DIR`. That also takes
each `DIR/NAME` with a `DIR/NAME.toml` beside it, which has the keys of `tools/real_projects/project.py`: `kinds`,
`install`, `test` and others. It uses a temporary folder.
"""


def write(results: Mapping[str, Mapping[str, Any]], page: Path) -> None:
    """Write the page from all results."""
    rows = [_row(name, result) for name, result in sorted(results.items())]
    same = sum(1 for result in results.values() if _same(result))
    table = [_line(_COLUMNS), _line("---" for _ in _COLUMNS), *(_line(row) for row in rows)]
    why = [f"- **{name}**: {text}" for name, result in sorted(results.items()) if (text := _why(result))]
    summary = f"{same} of {len(results)} are the same.\n"
    if unmeasured := sorted({project.name for project in listed(None)} - results.keys()):
        summary += f"\nListed, but not measured: {', '.join(unmeasured)}.\n"
    notes = "\n".join(["", "## Notes", "", *why, ""]) if why else ""
    page.write_text(_HEAD + "\n".join([summary, *table, ""]) + notes + _TAIL)


def _row(name: str, result: Mapping[str, Any]) -> tuple[str, ...]:
    pairs = result.get("pairs") or 1
    seconds = (result["plain_seconds"] / pairs, result["first_seconds"], result["second_seconds"] / pairs)
    times = " · ".join(f"{value:.1f}" for value in seconds) if any(seconds) else ""
    same = "yes" if _same(result) else "no"
    kinds = ", ".join(result["kinds"])
    return name, result["source"], kinds, result["configuration"], result["plain"], same, times, _cost(result)


def _cost(result: Mapping[str, Any]) -> str:
    """How much more later runs need: clock, CPU."""
    if not result.get("plain_cpu"):
        return "-"
    clock, cpu = (result[f"second_{what}"] / result[f"plain_{what}"] for what in ("seconds", "cpu"))
    return f"clock × {clock:.1f}, CPU × {cpu:.1f}"


def _why(result: Mapping[str, Any]) -> str:
    said = [result["note"]] if result["note"] else []
    if result["failure"]:
        said.append(f"`{result['failure'].splitlines()[0]}`")
    elif result["differences"]:
        said.append(f"{len(result['differences'])} differ, the first: `{result['differences'][0]}`")
    return " ".join(said)


def _same(result: Mapping[str, Any]) -> bool:
    return not result["failure"] and not result["differences"]


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"
