"""Builds the documentation into site/: the pages of docs/, and those that are generated from the code.

Zensical runs no hooks, so the pages are gathered in one folder first. The site may fetch nothing from elsewhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from reference import HERE, pages

SOURCE = HERE / ".tools" / "docs-source"  # docs_dir in mkdocs.yml
SITE = HERE / "site"
_FETCHED = re.compile(
    r"<(?:script|img|iframe)[^>]+src=.?https?:[^>]*>|<link[^>]+rel=.?(?:stylesheet|preconnect)[^>]+https?:"
)


def gather() -> None:
    """Copy the written pages and write the generated ones beside them."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(HERE / "docs", SOURCE)
    for name, text in pages().items():
        page = SOURCE / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text)


def refuse_fetching() -> None:
    """Exit with a message if a page of the site would load anything from another host."""
    for page in SITE.rglob("*.html"):
        if found := _FETCHED.search(page.read_text()):
            sys.exit(f"{page}: would fetch from another host: {found[0]}")


def main() -> None:
    """Gather the pages, build the site, check it."""
    gather()
    program = Path(sys.executable).with_name("zensical")
    done = subprocess.run([program, "build", "--strict", "--clean"], cwd=HERE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    refuse_fetching()


if __name__ == "__main__":
    main()
