"""What clients send and get."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shop.models import Order, OrderStatus
from shop.pricing import format_cents

Sku = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9][A-Z0-9-]{1,30}$")]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Request(BaseModel):
    """A field that we do not know is a mistake of the client's, not to be passed over."""

    model_config = ConfigDict(extra="forbid")


class NewCustomer(Request):
    email: Email
    name: Name


class NewProduct(Request):
    sku: Sku
    name: Name
    price_cents: Annotated[int, Field(ge=0, le=100_000_000)]
    quantity: Annotated[int, Field(ge=0)] = 0


class CartLine(Request):
    quantity: Annotated[int, Field(ge=0, le=1_000)]


class NewOrder(Request):
    customer_id: int
    discount: str | None = None


class Created(BaseModel):
    id: int


class Identity(BaseModel):
    """Which worktree's server answers, in which process, and how many requests it got, this one included."""

    worktree: str
    pid: int
    requests: int


class OrderView(BaseModel):
    id: int
    status: OrderStatus
    total: str
    items: dict[str, int]

    @classmethod
    def of(cls, order: Order) -> Self:
        return cls(
            id=order.id,
            status=order.status,
            total=format_cents(order.total_cents),
            items={item.product.sku: item.quantity for item in order.items},
        )


class BestSellerView(BaseModel):
    sku: str
    pieces: int
    revenue: str
