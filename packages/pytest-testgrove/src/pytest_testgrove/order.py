"""A random order of the tests that a seed repeats.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, List, Optional

if TYPE_CHECKING:
    import pytest

VARIABLE = "TESTGROVE_RANDOM_SEED"


def seed_from_environment() -> Optional[int]:
    """The seed that the run asks for; None where it asks for no order."""
    text = os.environ.get(VARIABLE, "")
    return int(text) if text.isdigit() else None


def hand_over(config: pytest.Config, seed: int) -> bool:
    """Give the seed to a plugin of the project that shuffles; whether there is one.

    To be called before xdist starts its workers, which get the options as they are then.
    """
    option = config.option
    if hasattr(option, "randomly_seed"):  # pytest-randomly
        option.randomly_seed, option.randomly_reorganize = seed, True
        return True
    if hasattr(option, "random_order_seed"):  # pytest-random-order
        option.random_order_seed, option.random_order_enabled = str(seed), True
        return True
    return False


def shuffle(items: List[pytest.Item], seed: int) -> None:
    """Put modules, classes in them and tests in these into the seed's order.

    A test's place depends on its name alone: of a selection, and in another interpreter, the order is the same.
    """

    def key(item: pytest.Item) -> List[bytes]:
        parent = item.parent.nodeid if item.parent is not None else ""
        return [_digest(seed, name) for name in (item.nodeid.partition("::")[0], parent, item.nodeid)]

    items.sort(key=key)


def _digest(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode("utf-8", "replace"), digest_size=8).digest()
