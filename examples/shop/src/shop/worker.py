"""The worker: confirms the orders that wait in the queue. ``python -m shop.worker`` does so once and ends."""

from __future__ import annotations

import os

from redis import Redis
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from shop.jobs import News, OrderQueue, publish
from shop.models import OrderStatus
from shop.orders import confirm_order
from shop.settings import Settings


def confirm_waiting(sessions: sessionmaker[Session], redis: Redis) -> int:
    """Confirm every order that waits; return how many were confirmed (orders cancelled meanwhile are not)."""
    queue = OrderQueue(redis)
    confirmed = 0
    while (order_id := queue.take()) is not None:
        with sessions.begin() as session:
            changed = confirm_order(session, order_id)
        if changed:
            publish(redis, News(order_id, OrderStatus.CONFIRMED))
            confirmed += 1
    return confirmed


def main() -> None:
    settings = Settings.from_environment(os.environ)
    engine = create_engine(settings.database_url)
    try:
        with Redis.from_url(settings.redis_url, decode_responses=True) as redis:
            print(f"confirmed {confirm_waiting(sessionmaker(engine), redis)}")
    finally:
        engine.dispose()


if __name__ == "__main__":
    main()
