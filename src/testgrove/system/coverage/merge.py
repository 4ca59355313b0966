"""Merges the coverage data of a run, and reports on it.

Runs in the environment of one of its cells, on Python 3.9 and later, with the standard library and coverage alone.
Its argument is a JSON file: files (of data), trees (the worktrees, this one's first), main (the repository), out (a
folder), overlay (a folder with coverage, where the environment has none). ``total.json`` in out is the answer.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def merge(files: list[str], trees: list[str], main: str, out: str, overlay: str) -> None:
    """Merge files into ``out/.coverage``, with the repository's paths; write ``coverage.xml`` and ``html``.

    Sources are read from the worktree, which holds what was tested even if its user has gone on writing.
    """
    if overlay:
        sys.path.append(overlay)
    from coverage import Coverage  # noqa: PLC0415 - from the overlay, if that is needed

    os.chdir(trees[0])  # where the project's settings are
    here = Coverage(data_file=f"{out}/.merging")
    here.set_option("paths", {**(here.get_option("paths") or {}), "testgrove": trees})
    here.combine(_of_one_kind(files, out), strict=True, keep=True)
    here.save()
    total = here.xml_report(outfile=f"{out}/coverage.xml", ignore_errors=True)
    here.html_report(directory=f"{out}/html", ignore_errors=True)
    xml = Path(out, "coverage.xml")
    xml.write_text(
        xml.read_text(encoding="utf-8").replace(f"{trees[0]}<", f"{main}<").replace(f"{trees[0]}/", f"{main}/"),
        encoding="utf-8",
    )
    there = Coverage(data_file=f"{out}/.coverage", config_file=False)
    there.set_option("paths", {"testgrove": [main, trees[0]]})
    there.combine([f"{out}/.merging"], strict=True)
    there.save()
    Path(out, "total.json").write_text(json.dumps({"total": total}), encoding="utf-8")


def _of_one_kind(files: list[str], out: str) -> list[str]:
    """The files; where only some have branches, all without: coverage combines one kind only."""
    from coverage import CoverageData  # noqa: PLC0415 - as above

    read: dict[str, Any] = {}
    for file in files:
        read[file] = CoverageData(basename=file)
        read[file].read()
    with_branches = [file for file, data in read.items() if data.has_arcs()]
    if not with_branches or len(with_branches) == len([data for data in read.values() if data.measured_files()]):
        return files
    plain = []
    for number, (file, data) in enumerate(read.items()):
        if file not in with_branches:
            plain.append(file)
            continue
        plain.append(f"{out}/.lines{number}")
        lines = CoverageData(basename=plain[-1])
        lines.add_lines({name: data.lines(name) or [] for name in data.measured_files()})
        lines.write()
    return plain


if __name__ == "__main__":
    merge(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
