"""The files of a small project with Alembic: a table for each revision, which bears its name."""

from __future__ import annotations

ENV = """
import os
from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table, create_engine
target_metadata = MetaData()
Table("a", target_metadata, Column("id", Integer, primary_key=True))
Table("b", target_metadata, Column("id", Integer, primary_key=True))
engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=target_metadata)
    with context.begin_transaction():
        context.run_migrations()
"""
REVISION = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "{name}", {down!r}
def upgrade():
    op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True))
def downgrade():
    {back}
"""


def alembic(**revisions: tuple[str | None, str]) -> dict[str, str]:
    """By path. revisions: the one below each, and what takes it back."""
    files = {"alembic.ini": "[alembic]\nscript_location = m\n", "m/env.py": ENV, "m/script.py.mako": ""}
    for name, (down, back) in revisions.items():
        files[f"m/versions/{name}.py"] = REVISION.format(name=name, down=down, back=back)
    return files
