"""What the API answers to which request. Rules live elsewhere; this is their HTTP face."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from redis import Redis
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from shop import catalogue, orders, sales
from shop.carts import Carts
from shop.catalogue import Catalogue
from shop.errors import ConflictError, NotFoundError
from shop.jobs import News, OrderQueue, publish
from shop.limits import RateLimiter
from shop.models import Customer, Order
from shop.pricing import format_cents
from shop.schemas import (
    BestSellerView,
    CartLine,
    Created,
    Identity,
    NewCustomer,
    NewOrder,
    NewProduct,
    OrderView,
    Sku,
)
from shop.settings import Settings


@dataclass
class Shop:
    """What the routes work with. requests: how many this server was sent so far."""

    settings: Settings
    sessions: sessionmaker[Session]
    redis: Redis
    carts: Carts
    catalogue: Catalogue
    order_limit: RateLimiter
    requests: int = 0


def _shop(request: Request) -> Shop:
    shop: Shop = request.app.state.shop
    return shop


def _session(request: Request) -> Iterator[Session]:
    with _shop(request).sessions() as session:
        yield session


TheShop = Annotated[Shop, Depends(_shop)]
TheSession = Annotated[Session, Depends(_session)]
router = APIRouter()


@router.get("/health")
def health(shop: TheShop, session: TheSession) -> dict[str, str]:
    """Answers once the database and Redis do."""
    session.execute(text("SELECT 1"))
    shop.redis.ping()
    return {"status": "ok"}


@router.get("/identity")
def identity(shop: TheShop) -> Identity:
    return Identity(worktree=shop.settings.worktree, pid=os.getpid(), requests=shop.requests)


@router.post("/customers", status_code=201)
def add_customer(new: NewCustomer, session: TheSession) -> Created:
    customer = Customer(email=new.email, name=new.name)
    session.add(customer)
    try:
        session.commit()
    except IntegrityError as error:
        raise ConflictError(f"{new.email} is registered already") from error
    return Created(id=customer.id)


@router.get("/products")
def list_products(shop: TheShop, session: TheSession) -> list[dict[str, str | int]]:
    return shop.catalogue.list(session)


@router.post("/products", status_code=201)
def add_product(new: NewProduct, shop: TheShop, session: TheSession) -> Created:
    product = catalogue.add_product(session, **new.model_dump())
    session.commit()
    shop.catalogue.forget()
    return Created(id=product.id)


@router.get("/carts/{customer_id}")
def show_cart(customer_id: int, shop: TheShop) -> dict[str, int]:
    return shop.carts.get(customer_id)


@router.put("/carts/{customer_id}/{sku}", status_code=204)
def put_in_cart(customer_id: int, sku: Sku, line: CartLine, shop: TheShop) -> None:
    shop.carts.put(customer_id, sku, line.quantity)


@router.post("/orders", status_code=201)
def place_order(new: NewOrder, shop: TheShop, session: TheSession, response: Response) -> OrderView:
    """Order what is in the customer's cart."""
    shop.order_limit.check(str(new.customer_id))
    cart = shop.carts.get(new.customer_id)
    today = datetime.now(UTC).date()
    order = orders.place_order(session, new.customer_id, cart, today=today, code=new.discount)
    session.commit()
    shop.carts.clear(new.customer_id)
    OrderQueue(shop.redis).put(order.id)
    publish(shop.redis, News(order.id, order.status))
    response.headers["Location"] = f"{shop.settings.public_url}/orders/{order.id}"
    return OrderView.of(order)


@router.get("/orders/{order_id}")
def show_order(order_id: int, session: TheSession) -> OrderView:
    order = session.get(Order, order_id)
    if order is None:
        raise NotFoundError(f"there is no order {order_id}")
    return OrderView.of(order)


@router.post("/orders/{order_id}/cancel")
def cancel_order(order_id: int, shop: TheShop, session: TheSession) -> OrderView:
    order = orders.cancel_order(session, order_id)
    session.commit()
    publish(shop.redis, News(order.id, order.status))
    return OrderView.of(order)


@router.get("/best-sellers")
def best_sellers(session: TheSession) -> list[BestSellerView]:
    return [
        BestSellerView(sku=product.sku, pieces=product.pieces, revenue=format_cents(product.revenue_cents))
        for product in sales.best_sellers(session)
    ]
