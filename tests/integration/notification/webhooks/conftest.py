"""A database with the tables of webhooks, for all tests of a process: each begins with empty ones."""

from collections.abc import Iterator

import pytest
from blockyard.dev.postgres import PostgresServer

from tests.stack.postgres import as_role, migrated_database


@pytest.fixture(scope="session")
def tables(postgres: PostgresServer) -> Iterator[str]:
    """The database's URL for the service."""
    with migrated_database(postgres.url, "notification") as url:
        yield as_role(url, "notification")
