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

    def take(self, patience: float) -> int | None:
        """The oldest order that waits, or None when there is none within so many seconds."""
        taken = self._redis.blpop([QUEUE], timeout=patience)
        return int(taken[1]) if taken else None


def publish(redis: Redis, news: News) -> int:
    """Tell everybody who listens; return how many that are."""
    return int(redis.publish(NEWS_CHANNEL, json.dumps(asdict(news))))
