"""The state of an order as a type of its own, in place of text with a check."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"

order_status = postgresql.ENUM("placed", "confirmed", "cancelled", name="order_status")


def upgrade() -> None:
    order_status.create(op.get_bind())
    op.drop_constraint("ck_orders_status_known", "orders")
    op.alter_column("orders", "status", server_default=None)
    op.alter_column("orders", "status", type_=order_status, postgresql_using="status::order_status")
    op.alter_column("orders", "status", server_default="placed")


def downgrade() -> None:
    op.alter_column("orders", "status", server_default=None)
    op.alter_column("orders", "status", type_=sa.String, postgresql_using="status::text")
    op.alter_column("orders", "status", server_default="placed")
    op.create_check_constraint(
        op.f("ck_orders_status_known"), "orders", "status IN ('placed', 'confirmed', 'cancelled')"
    )
    order_status.drop(op.get_bind())  # a type outlives the columns that used it
