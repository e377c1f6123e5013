"""A database with the tables of webhooks, for all tests of a process: each begins with empty ones."""

from collections.abc import Iterator

import pytest
from blockyard.dev.postgres import PostgresServer

from services.common import migrate
from tests.stack.postgres import as_role, fresh_database


@pytest.fixture(scope="session")
def tables(postgres: PostgresServer) -> Iterator[str]:
    """The database's URL for the service."""
    with fresh_database(postgres.url) as url:
        migrate.migrate(url, ["notification"], {"notification": None})
        yield as_role(url, "notification")
