"""The products on sale, with a Redis cache in front of the database."""

from __future__ import annotations

import json
from datetime import timedelta

from redis import Redis
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shop.errors import ConflictError
from shop.models import Product, Stock

CACHE_KEY = "catalogue"
KEEP = timedelta(minutes=5)


class Catalogue:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def list(self, session: Session) -> list[dict[str, str | int]]:
        """All products with SKU, name and price, by SKU; from the cache where it is filled."""
        cached = self._redis.get(CACHE_KEY)
        if isinstance(cached, str):
            products: list[dict[str, str | int]] = json.loads(cached)
            return products
        rows = session.execute(select(Product.sku, Product.name, Product.price_cents).order_by(Product.sku))
        products = [dict(row) for row in rows.mappings()]
        self._redis.set(CACHE_KEY, json.dumps(products), ex=KEEP)
        return products

    def forget(self) -> None:
        """Empty the cache. Call it after the commit: before it, a reader could fill it with old prices."""
        self._redis.delete(CACHE_KEY)


def add_product(session: Session, *, sku: str, name: str, price_cents: int, quantity: int) -> Product:
    """Put a product on sale. Raise ConflictError for a SKU that is taken."""
    product = Product(sku=sku, name=name, price_cents=price_cents, stock=Stock(quantity=quantity))
    session.add(product)
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(f"there is a product {sku} already") from error
    return product
