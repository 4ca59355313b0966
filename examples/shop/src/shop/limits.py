"""A rate limiter: so many calls in a window that begins with the first of them."""

from __future__ import annotations

from datetime import timedelta

from redis import Redis

from shop.errors import TooManyRequestsError


class RateLimiter:
    def __init__(self, redis: Redis, *, name: str, calls: int, window: timedelta) -> None:
        self._redis = redis
        self._name = name
        self._calls = calls
        self._window = window

    def check(self, who: str) -> int:
        """Count a call and return how many are left. Raise TooManyRequestsError when there are none."""
        key = f"limit:{self._name}:{who}"
        with self._redis.pipeline() as pipeline:
            pipeline.set(key, "0", ex=self._window, nx=True)
            pipeline.incr(key)
            _, used = pipeline.execute()
        if used > self._calls:
            seconds = self._window.total_seconds()
            raise TooManyRequestsError(f"{self._calls} calls in {seconds:g} s are allowed")
        return self._calls - int(used)
