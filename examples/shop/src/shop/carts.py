"""Carts: a Redis hash for each customer, forgotten after a week without a change."""

from __future__ import annotations

from datetime import timedelta

from redis import Redis

KEEP = timedelta(days=7)


class Carts:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def put(self, customer_id: int, sku: str, quantity: int) -> None:
        """Set how many pieces of a product are in the cart; 0 takes it out."""
        key = _key(customer_id)
        with self._redis.pipeline() as pipeline:
            if quantity:
                pipeline.hset(key, sku, str(quantity))
            else:
                pipeline.hdel(key, sku)
            pipeline.expire(key, KEEP)
            pipeline.execute()

    def get(self, customer_id: int) -> dict[str, int]:
        """Quantities by SKU; empty for a customer without a cart."""
        return {str(sku): int(quantity) for sku, quantity in self._redis.hgetall(_key(customer_id)).items()}

    def clear(self, customer_id: int) -> None:
        """Throw the cart away."""
        self._redis.delete(_key(customer_id))


def _key(customer_id: int) -> str:
    return f"cart:{customer_id}"
