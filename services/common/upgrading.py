"""Applies the migrations of one service with Alembic: what migrate.py does where some are missing."""

import re

from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, text

from services.common import schema_history

# A migration that waits for a lock blocks everybody who comes after it: better to fail and be run again.
LOCK_TIMEOUT_MILLISECONDS = 10_000


def upgrade(url: str, service: str) -> None:
    """Apply migrations as the service's role, which so owns every table and may add partitions to them later."""
    engine = create_engine(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url), poolclass=NullPool)
    alembic = Config()
    alembic.set_main_option("script_location", "services.common:migrations")
    alembic.set_main_option("path_separator", "newline")
    alembic.set_main_option("version_locations", str(schema_history.migrations_folder(service)).replace("%", "%%"))
    with engine.connect() as connection:
        connection.execute(text(f'SET ROLE "{service}"'))
        connection.execute(text(f'SET search_path = "{service}"'))
        connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_MILLISECONDS}"))
        connection.execute(text(schema_history.CREATE.format(schema=service)))
        connection.commit()
        alembic.attributes.update(connection=connection, schema=service)
        command.upgrade(alembic, "head")
