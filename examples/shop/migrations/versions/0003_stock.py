"""Stock: never below nothing. Every product that is there gets its row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "stock",
        sa.Column("product_id", sa.Integer, nullable=False),
        sa.Column("quantity", sa.Integer, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("product_id", name="pk_stock"),
        sa.ForeignKeyConstraint(
            ["product_id"], ["products.id"], name="fk_stock_product_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint("quantity >= 0", name=op.f("ck_stock_quantity_not_negative")),
    )
    op.execute("INSERT INTO stock (product_id) SELECT id FROM products")


def downgrade() -> None:
    op.drop_table("stock")
