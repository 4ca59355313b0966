"""`python -m real_projects [--sources DIR] [--only NAME] [--work DIR]`: measure, then write docs/real-projects.md."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from real_projects.measure import Measured, as_document, measure
from real_projects.page import write
from real_projects.project import listed
from real_projects.sources import available

HERE = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    """Measure the named projects, or all; rows of others stay as they were measured."""
    parser = argparse.ArgumentParser(prog="make real-projects")
    parser.add_argument("--sources", type=Path, help="a folder with clones of projects and a NAME.toml beside each")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    # Outside this repository, whose settings pytest would find for a project that has none.
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "testgrove-real-projects")
    options = parser.parse_args()
    projects = listed(options.sources)
    if unknown := set(options.only) - {project.name for project in projects}:
        parser.error(f"{', '.join(sorted(unknown))}: not found (available: {', '.join(p.name for p in projects)})")
    for project in projects:
        if not options.only or project.name in options.only:
            if not available(project, options.sources):
                print(f"{project.name}: skipped, it is only in git: clone {project.git} to SOURCES/{project.name}")
                continue
            measured = measure(project, options.sources, options.work.resolve() / project.name)
            print(f"{project.name}: {'the same' if measured.same else measured.failure or measured.differences[:10]}")
            _save(project.name, measured)


def _save(name: str, measured: Measured) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    results[name] = as_document(measured)
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    write(results, HERE / "docs" / "real-projects.md")


if __name__ == "__main__":
    main()
