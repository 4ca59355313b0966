"""What can go wrong in a shop. How each is shown to a client is the API's business."""

from __future__ import annotations


class ShopError(Exception):
    """An expected failure, with a sentence for the customer."""


class NotFoundError(ShopError):
    """A customer, a product or an order that is not there."""


class ConflictError(ShopError):
    """The request was sound, but not in the state that things are in."""


class OutOfStockError(ConflictError):
    """Fewer pieces are left than were asked for."""


class InvalidDiscountError(ShopError):
    """A code that is unknown or no longer valid."""


class TooManyRequestsError(ShopError):
    """A customer is over the limit."""
