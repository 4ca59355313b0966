"""The HTTP API: ``uvicorn --factory shop.api:create_app``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from redis import Redis
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker
from starlette.types import ASGIApp, Receive, Scope, Send

from shop.carts import Carts
from shop.catalogue import Catalogue
from shop.errors import ConflictError, InvalidDiscountError, NotFoundError, ShopError, TooManyRequestsError
from shop.limits import RateLimiter
from shop.routes import Shop, router
from shop.settings import Settings

ORDERS_IN_A_MINUTE = 30
_STATUS: dict[type[ShopError], int] = {
    NotFoundError: 404,
    ConflictError: 409,
    InvalidDiscountError: 422,
    TooManyRequestsError: 429,
}


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Nothing is connected to before the first request needs it.

    Without settings they are read from the environment; raise MissingSettingError when that lacks some.
    """
    settings = settings or Settings.from_environment(os.environ)
    engine = create_engine(settings.database_url)
    redis = Redis.from_url(settings.redis_url, decode_responses=True)

    @asynccontextmanager
    async def close_connections(_: FastAPI) -> AsyncIterator[None]:
        yield
        engine.dispose()
        redis.close()

    app = FastAPI(title="shop", lifespan=close_connections)
    app.state.shop = shop = Shop(
        settings=settings,
        sessions=sessionmaker(engine),
        redis=redis,
        carts=Carts(redis),
        catalogue=Catalogue(redis),
        order_limit=RateLimiter(redis, name="orders", calls=ORDERS_IN_A_MINUTE, window=timedelta(minutes=1)),
    )
    app.include_router(router)
    app.add_middleware(CountRequests, shop=shop)
    app.add_exception_handler(ShopError, _explain)
    return app


class CountRequests:
    """ASGI middleware that counts what reaches the server, whatever becomes of it."""

    def __init__(self, app: ASGIApp, shop: Shop) -> None:
        self._app = app
        self._shop = shop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._shop.requests += 1
        await self._app(scope, receive, send)


async def _explain(_: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    return JSONResponse({"detail": str(error)}, status_code=status)
