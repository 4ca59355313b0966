"""Money in whole cents. A data migration: every price is converted, and back again without a loss."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for table, column in (("products", "price"), ("order_items", "unit_price")):
        op.add_column(table, sa.Column(f"{column}_cents", sa.Integer))
        op.execute(f"UPDATE {table} SET {column}_cents = round({column} * 100)")
        op.alter_column(table, f"{column}_cents", nullable=False)
        op.drop_column(table, column)  # and with it the constraint on it
    op.create_check_constraint(op.f("ck_products_price_not_negative"), "products", "price_cents >= 0")


def downgrade() -> None:
    for table, column in (("products", "price"), ("order_items", "unit_price")):
        op.add_column(table, sa.Column(column, sa.Numeric(10, 2)))
        op.execute(f"UPDATE {table} SET {column} = {column}_cents / 100.0")
        op.alter_column(table, column, nullable=False)
        op.drop_column(table, f"{column}_cents")
    op.create_check_constraint(op.f("ck_products_price_not_negative"), "products", "price >= 0")
