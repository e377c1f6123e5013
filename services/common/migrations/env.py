"""Runs the migrations of any service: services/common/migrate.py gives the connection and the schema.

Alembic finds this file by the name of its folder.
"""

from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationInfo
from sqlalchemy import Connection, text

from services.common import schema_history

connection: Connection = context.config.attributes["connection"]
schema: str = context.config.attributes["schema"]


def record(step: MigrationInfo, **_: Any) -> None:  # Any: Alembic passes more than is needed here
    """Note each migration inside its own transaction."""
    if step.is_upgrade:
        connection.execute(text(schema_history.RECORD.format(schema=schema)), {"revision": step.up_revision_id})


context.configure(
    connection=connection,
    version_table_schema=schema,
    transaction_per_migration=True,
    on_version_apply=record,
)
with context.begin_transaction():
    context.run_migrations()
