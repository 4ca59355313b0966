"""References in values: ``${NAME}``."""

from __future__ import annotations

import re

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def references(value: str) -> set[str]:
    """The names that a value refers to."""
    return set(REFERENCE.findall(value))
