"""The worker: confirms the orders that wait in the queue, until it is told to stop. ``python -m shop.worker``"""

from __future__ import annotations

import os
import signal
from threading import Event

from redis import Redis
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from shop.errors import NotFoundError
from shop.jobs import News, OrderQueue, publish
from shop.models import OrderStatus
from shop.orders import confirm_order
from shop.settings import Settings

PATIENCE = 1.0  # seconds to wait for an order before looking whether to stop


def confirm(sessions: sessionmaker[Session], redis: Redis, order_id: int) -> bool:
    """Confirm an order; return whether it was (not when it was cancelled meanwhile, or is gone)."""
    with sessions.begin() as session:
        try:
            changed = confirm_order(session, order_id)
        except NotFoundError:
            return False
    if changed:
        publish(redis, News(order_id, OrderStatus.CONFIRMED))
    return changed


def main() -> None:
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = Settings.from_environment(os.environ)
    engine = create_engine(settings.database_url)
    sessions = sessionmaker(engine)
    with Redis.from_url(settings.redis_url, decode_responses=True) as redis:
        queue = OrderQueue(redis)
        redis.ping()
        print("waiting for orders", flush=True)
        while not stop.is_set():
            if (order_id := queue.take(PATIENCE)) is not None and confirm(sessions, redis, order_id):
                print(f"confirmed {order_id}", flush=True)
    engine.dispose()


if __name__ == "__main__":
    main()
