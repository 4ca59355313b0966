"""Tables: aligned columns, and on a terminal their names above them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from testgrove.cli.output import echo


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of as many cells as there are columns, without columns that are empty.

    In a pipe there is no header, so each line is a row.
    """
    table = [[name.upper() for name in columns], *rows] if rows and sys.stdout.isatty() else rows
    full = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    widths = [max(len(row[index]) for row in table) for index in full]
    for row in table:
        cells = [f"{row[index]:{width}}" for index, width in zip(full, widths, strict=True)]
        echo("  ".join(cells).rstrip())
