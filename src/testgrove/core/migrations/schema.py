"""A database's schema as a value: what there is, by kind and name, with its definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Schema = Mapping[str, str]  # "table public.orders" → definition, which may be empty


def lines(schema: Schema) -> list[str]:
    """One text for each thing in a schema, ordered by name."""
    return [f"{name}: {definition}" if definition else name for name, definition in sorted(schema.items())]


def difference(wanted: Schema, found: Schema) -> list[str]:
    """Return how two schemas differ: lines that begin with ``-`` (missing) or ``+`` (too much), by name."""
    missing, extra = set(lines(wanted)), set(lines(found))
    both = [(line, "-") for line in missing - extra] + [(line, "+") for line in extra - missing]
    return [
        f"{sign} {line}" for line, sign in sorted(both, key=lambda each: (each[0].partition(":")[0], each[1] == "+"))
    ]


def shown(diff: Iterable[str], indent: str = "") -> str:
    """A difference as text; a definition's further lines are indented."""
    return "\n".join(indent + line.replace("\n", f"\n{indent}    ") for line in diff)
