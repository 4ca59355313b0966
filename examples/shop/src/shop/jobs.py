"""Orders that wait for the worker (a Redis list), and news about orders (Redis pub/sub)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from redis import Redis

NEWS_CHANNEL = "orders:news"
QUEUE = "orders:placed"


@dataclass(frozen=True)
class News:
    """What happened to an order, for whoever listens."""

    order_id: int
    status: str

    @classmethod
    def parse(cls, text: str) -> News:
        return cls(**json.loads(text))


class OrderQueue:
    """First in, first out."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def put(self, order_id: int) -> None:
        self._redis.rpush(QUEUE, str(order_id))

    def take(self) -> int | None:
        """The oldest order that waits, or None."""
        order_id = self._redis.lpop(QUEUE)
        return int(order_id) if isinstance(order_id, str) else None

    def __len__(self) -> int:
        return int(self._redis.llen(QUEUE))


def publish(redis: Redis, news: News) -> int:
    """Tell everybody who listens; return how many that are."""
    return int(redis.publish(NEWS_CHANNEL, json.dumps(asdict(news))))
