"""Money, in whole cents. Pure functions: no database, no clock."""

from __future__ import annotations

import re
from collections.abc import Sequence

_AMOUNT = re.compile(r"([0-9]{1,9})(?:\.([0-9]{2}))?")


def parse_cents(text: str) -> int:
    """``"19.99"`` or ``"19"`` in cents. Raise ValueError for anything else."""
    if match := _AMOUNT.fullmatch(text):
        return int(match[1]) * 100 + int(match[2] or 0)
    raise ValueError(f"expected an amount like 19.99, found {text!r}")


def format_cents(cents: int) -> str:
    """1999 as ``"19.99"``."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02}"


def discount_cents(total_cents: int, percent: int) -> int:
    """What a discount takes off a total, to the nearest cent; half a cent is the customer's."""
    return (total_cents * percent + 50) // 100


def allocate(amount_cents: int, weights: Sequence[int]) -> list[int]:
    """Spread an amount over lines in proportion to their weights; not a cent is lost.

    Each share is at most one cent away from the exact one. Left-over cents go to the lines that lost most to
    rounding, the first of equals first. Raise ValueError when all weights are 0 and the amount is not.
    """
    whole = sum(weights)
    if whole == 0:
        if amount_cents:
            raise ValueError("an amount cannot be spread over lines without weight")
        return [0] * len(weights)
    shares = [amount_cents * weight // whole for weight in weights]
    lost = [amount_cents * weight % whole for weight in weights]
    by_loss = sorted(range(len(weights)), key=lambda line: -lost[line])
    for line in by_loss[: amount_cents - sum(shares)]:
        shares[line] += 1
    return shares
