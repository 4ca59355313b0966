"""Questions that the shop's owner asks."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from sqlalchemy import Date, Row, cast, func, select
from sqlalchemy.orm import Session

from shop.models import Order, OrderItem, OrderStatus, Product

_PAID = OrderItem.quantity * OrderItem.unit_price_cents - OrderItem.discount_cents


class BestSeller(NamedTuple):
    sku: str
    pieces: int
    revenue_cents: int


class Day(NamedTuple):
    day: date
    orders: int
    revenue_cents: int


def best_sellers(session: Session, limit: int = 10) -> list[BestSeller]:
    """The products that most pieces were sold of; cancelled orders do not count."""
    pieces = func.sum(OrderItem.quantity)
    rows = session.execute(
        select(Product.sku, pieces, func.sum(_PAID))
        .join(OrderItem, OrderItem.product_id == Product.id)
        .join(Order, Order.id == OrderItem.order_id)
        .where(Order.status != OrderStatus.CANCELLED)
        .group_by(Product.id)
        .order_by(pieces.desc(), Product.sku)
        .limit(limit)
    )
    return [BestSeller(sku, int(sold), int(revenue)) for sku, sold, revenue in rows]


def revenue_by_day(session: Session, since: date) -> list[Day]:
    """Orders and revenue of each day (UTC) from one on; cancelled orders do not count."""
    day = cast(func.timezone("UTC", Order.placed_at), Date)
    rows = session.execute(
        select(day, func.count(Order.id.distinct()), func.sum(_PAID))
        .join(OrderItem, OrderItem.order_id == Order.id)
        .where(Order.status != OrderStatus.CANCELLED, day >= since)
        .group_by(day)
        .order_by(day)
    )
    return [Day(when, int(orders), int(revenue)) for when, orders, revenue in rows]


def newest_orders(session: Session, customer_id: int, limit: int = 20) -> list[Row[tuple[int, OrderStatus]]]:
    """Ids and states of a customer's newest orders."""
    return list(
        session.execute(
            select(Order.id, Order.status)
            .where(Order.customer_id == customer_id)
            .order_by(Order.placed_at.desc(), Order.id.desc())
            .limit(limit)
        )
    )
