"""Discounts: a code on the order, its share on each item."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "discounts",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("code", sa.String, nullable=False),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("valid_until", sa.Date),
        sa.PrimaryKeyConstraint("id", name="pk_discounts"),
        sa.UniqueConstraint("code", name="uq_discounts_code"),
        sa.CheckConstraint("percent BETWEEN 1 AND 90", name=op.f("ck_discounts_percent_in_range")),
    )
    op.add_column("orders", sa.Column("discount_id", sa.Integer))
    op.create_foreign_key("fk_orders_discount_id", "orders", "discounts", ["discount_id"], ["id"])
    op.add_column("order_items", sa.Column("discount_cents", sa.Integer, server_default="0", nullable=False))
    op.create_check_constraint(
        op.f("ck_order_items_discount_in_range"),
        "order_items",
        "discount_cents BETWEEN 0 AND quantity * unit_price_cents",
    )


def downgrade() -> None:
    op.drop_column("order_items", "discount_cents")
    op.drop_column("orders", "discount_id")
    op.drop_table("discounts")
