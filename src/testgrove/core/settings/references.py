"""References in values: ``${NAME}``."""

from __future__ import annotations

from testgrove.core.lazy_pattern import lazy_pattern

REFERENCE = lazy_pattern(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def references(value: str) -> set[str]:
    """The names that a value refers to."""
    return set(REFERENCE.findall(value))
