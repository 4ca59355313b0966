"""The tables, as the newest migration leaves them."""

from __future__ import annotations

import enum
from datetime import date, datetime

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMING = {
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


class OrderStatus(enum.StrEnum):
    """An order is placed, then confirmed by the worker; either can be cancelled."""

    PLACED = "placed"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


def _values(statuses: type[OrderStatus]) -> list[str]:
    return [status.value for status in statuses]


class Customer(Base):
    __tablename__ = "customers"
    __table_args__ = (Index("uq_customers_email_any_case", text("lower(email)"), unique=True),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    email: Mapped[str]
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Product(Base):
    __tablename__ = "products"
    __table_args__ = (CheckConstraint("price_cents >= 0", name="price_not_negative"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    sku: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    price_cents: Mapped[int]
    stock: Mapped[Stock] = relationship(back_populates="product", cascade="all, delete-orphan")


class Stock(Base):
    """How many pieces of a product can be sold now."""

    __tablename__ = "stock"
    __table_args__ = (CheckConstraint("quantity >= 0", name="quantity_not_negative"),)

    product_id: Mapped[int] = mapped_column(ForeignKey("products.id", ondelete="CASCADE"), primary_key=True)
    quantity: Mapped[int] = mapped_column(server_default="0")
    product: Mapped[Product] = relationship(back_populates="stock")


class Discount(Base):
    """A code that takes a percentage off an order until a day, that day included; None: for ever."""

    __tablename__ = "discounts"
    __table_args__ = (CheckConstraint("percent BETWEEN 1 AND 90", name="percent_in_range"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    percent: Mapped[int]
    valid_until: Mapped[date | None]


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    status: Mapped[OrderStatus] = mapped_column(
        Enum(OrderStatus, name="order_status", values_callable=_values),
        server_default=OrderStatus.PLACED.value,
    )
    discount_id: Mapped[int | None] = mapped_column(ForeignKey("discounts.id"))
    placed_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), index=True
    )
    items: Mapped[list[OrderItem]] = relationship(
        cascade="all, delete-orphan", order_by="OrderItem.product_id"
    )

    @property
    def total_cents(self) -> int:
        """What the customer pays."""
        return sum(item.total_cents for item in self.items)


class OrderItem(Base):
    """One product of an order, at the price of the day it was ordered."""

    __tablename__ = "order_items"
    __table_args__ = (
        UniqueConstraint("order_id", "product_id"),
        CheckConstraint("quantity > 0", name="quantity_positive"),
        CheckConstraint("discount_cents BETWEEN 0 AND quantity * unit_price_cents", name="discount_in_range"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), index=True)
    quantity: Mapped[int]
    unit_price_cents: Mapped[int]
    discount_cents: Mapped[int] = mapped_column(server_default="0")
    product: Mapped[Product] = relationship()

    @property
    def total_cents(self) -> int:
        """What the customer pays for this line."""
        return self.quantity * self.unit_price_cents - self.discount_cents
