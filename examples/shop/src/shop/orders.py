"""Placing, confirming and cancelling orders. The caller's transaction holds each change together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shop.errors import ConflictError, InvalidDiscountError, NotFoundError, OutOfStockError
from shop.models import Customer, Discount, Order, OrderItem, OrderStatus, Product, Stock
from shop.pricing import allocate, discount_cents


def place_order(
    session: Session, customer_id: int, quantities: Mapping[str, int], *, today: date, code: str | None = None
) -> Order:
    """Order products (quantities by SKU) and take them from the stock.

    Raise NotFoundError for an unknown customer or product, ConflictError for an empty cart,
    OutOfStockError, or InvalidDiscountError.
    """
    if session.get(Customer, customer_id) is None:
        raise NotFoundError(f"there is no customer {customer_id}")
    if not quantities:
        raise ConflictError("the cart is empty")
    products = _products(session, quantities)
    discount = _discount(session, code, today) if code else None
    for product in products:
        _take_from_stock(session, product, quantities[product.sku])
    order = Order(
        customer_id=customer_id, status=OrderStatus.PLACED, discount_id=discount.id if discount else None
    )
    order.items = _items(products, quantities, discount.percent if discount else 0)
    session.add(order)
    session.flush()
    return order


def confirm_order(session: Session, order_id: int) -> bool:
    """Confirm an order that is still as it was placed; return whether it was."""
    order = _locked(session, order_id)
    if order.status is not OrderStatus.PLACED:
        return False
    order.status = OrderStatus.CONFIRMED
    return True


def cancel_order(session: Session, order_id: int) -> Order:
    """Cancel an order and put its products back.

    Raise NotFoundError, or ConflictError when it is cancelled already.
    """
    order = _locked(session, order_id)
    if order.status is OrderStatus.CANCELLED:
        raise ConflictError(f"order {order_id} is cancelled already")
    order.status = OrderStatus.CANCELLED
    for item in order.items:
        session.execute(
            update(Stock)
            .where(Stock.product_id == item.product_id)
            .values(quantity=Stock.quantity + item.quantity)
        )
    return order


def _products(session: Session, quantities: Mapping[str, int]) -> list[Product]:
    # Always by id: two orders of the same products then wait for each other's rows, and never deadlock.
    products = list(session.scalars(select(Product).where(Product.sku.in_(quantities)).order_by(Product.id)))
    if unknown := sorted(set(quantities) - {product.sku for product in products}):
        raise NotFoundError(f"there is no product {', '.join(unknown)}")
    return products


def _discount(session: Session, code: str, today: date) -> Discount:
    discount = session.scalar(select(Discount).where(Discount.code == code))
    if discount is None:
        raise InvalidDiscountError(f"there is no discount '{code}'")
    if discount.valid_until is not None and discount.valid_until < today:
        raise InvalidDiscountError(f"the discount '{code}' was valid until {discount.valid_until}")
    return discount


def _take_from_stock(session: Session, product: Product, quantity: int) -> None:
    left = session.scalar(
        update(Stock)
        .where(Stock.product_id == product.id, Stock.quantity >= quantity)
        .values(quantity=Stock.quantity - quantity)
        .returning(Stock.quantity)
    )
    if left is None:
        raise OutOfStockError(f"fewer than {quantity} pieces of {product.sku} are left")


def _items(products: list[Product], quantities: Mapping[str, int], percent: int) -> list[OrderItem]:
    prices = [quantities[product.sku] * product.price_cents for product in products]
    shares = allocate(discount_cents(sum(prices), percent), prices)
    return [
        OrderItem(
            product=product,
            quantity=quantities[product.sku],
            unit_price_cents=product.price_cents,
            discount_cents=share,
        )
        for product, share in zip(products, shares, strict=True)
    ]


def _locked(session: Session, order_id: int) -> Order:
    order = session.get(Order, order_id, with_for_update=True)
    if order is None:
        raise NotFoundError(f"there is no order {order_id}")
    return order
