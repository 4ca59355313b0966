"""How Alembic reaches the database: a caller's connection, else DATABASE_URL."""

from __future__ import annotations

import os
from logging.config import fileConfig

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool, create_engine

from shop.models import Base
from shop.settings import MissingSettingError, database_url


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()


def migrate_from_environment() -> None:
    if context.config.config_file_name is not None:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    try:
        url = database_url(os.environ)
    except MissingSettingError as error:
        raise CommandError(str(error)) from error
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        migrate(connection)


if context.is_offline_mode():
    raise CommandError("these migrations move data: they need a database, --sql is not supported")
given = context.config.attributes.get("connection")
if given is None:
    migrate_from_environment()
else:
    migrate(given)
