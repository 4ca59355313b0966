"""Prices, discounts and shares: every cent is accounted for."""

from __future__ import annotations

from itertools import product

import pytest

from shop.pricing import allocate, discount_cents, format_cents, parse_cents


@pytest.mark.parametrize(("text", "cents"), [("0", 0), ("19", 1900), ("19.99", 1999), ("0.05", 5)])
def test_amounts_are_read_as_cents(text: str, cents: int) -> None:
    assert parse_cents(text) == cents


@pytest.mark.parametrize("text", ["", "-1", "1.9", "1,99", "1.999", " 1", "1e3", "٣", "1234567890"])
def test_anything_else_is_not_an_amount(text: str) -> None:
    with pytest.raises(ValueError, match="expected an amount"):
        parse_cents(text)


def test_what_is_written_reads_back_the_same() -> None:
    assert all(parse_cents(format_cents(cents)) == cents for cents in range(100_000))


def test_negative_amounts_are_written_with_one_sign() -> None:
    assert [format_cents(cents) for cents in (-5, -150)] == ["-0.05", "-1.50"]


@pytest.mark.parametrize(
    ("total", "percent", "expected"),
    [(1000, 10, 100), (999, 10, 100), (995, 10, 100), (994, 10, 99), (1, 90, 1)],
)
def test_half_a_cent_of_discount_is_the_customers(total: int, percent: int, expected: int) -> None:
    assert discount_cents(total, percent) == expected


def test_a_discount_is_the_nearest_cent_and_never_more_than_the_total() -> None:
    for total, percent in product(range(1_500), range(1, 91)):
        discount = discount_cents(total, percent)
        assert 0 <= discount <= total
        assert abs(100 * discount - total * percent) <= 50


@pytest.mark.parametrize(
    ("amount", "weights", "expected"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (5, [3, 7], [2, 3]),
        (1, [0, 1], [0, 1]),
        (0, [0, 0], [0, 0]),
        (0, [], []),
    ],
)
def test_left_over_cents_go_to_the_lines_that_lost_most(
    amount: int, weights: list[int], expected: list[int]
) -> None:
    assert allocate(amount, weights) == expected


def test_shares_add_up_and_are_less_than_a_cent_off() -> None:
    for amount, weights in product(range(60), product(range(0, 50, 7), repeat=3)):
        whole = sum(weights)
        if not whole:
            continue
        shares = allocate(amount, weights)
        assert sum(shares) == amount
        assert all(
            abs(share * whole - amount * weight) < whole
            for share, weight in zip(shares, weights, strict=True)
        )


def test_a_share_of_a_discount_is_never_more_than_its_line_costs() -> None:
    for percent, prices in product(range(1, 91, 4), product((1, 2, 5, 99, 1999), repeat=3)):
        shares = allocate(discount_cents(sum(prices), percent), prices)
        assert all(share <= price for share, price in zip(shares, prices, strict=True))


def test_an_amount_over_lines_without_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="without weight"):
        allocate(1, [0, 0])
