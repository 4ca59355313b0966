"""One customer for an e-mail address, however it is capitalised."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("uq_customers_email_any_case", "customers", [sa.text("lower(email)")], unique=True)
    op.drop_constraint("uq_customers_email", "customers")


def downgrade() -> None:
    op.create_unique_constraint("uq_customers_email", "customers", ["email"])
    op.drop_index("uq_customers_email_any_case", "customers")
