"""A PostgreSQL server for tests, the one that `blockyard dev` starts, and fresh databases on it.

It runs with fsync on, as the services demand; nothing of it outlives the tests.
"""

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from blockyard.dev.postgres import PostgresServer, start_postgres
from psycopg import sql


@asynccontextmanager
async def running_postgres() -> AsyncIterator[PostgresServer]:
    """A server with its data in a temporary folder, which its own unprivileged user can reach."""
    with tempfile.TemporaryDirectory(prefix="blockyard-postgres-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        server = await start_postgres(Path(folder) / "data", settings={"shared_buffers": "64MB"})
        try:
            yield server
        finally:
            # Nobody will read the data again, so no checkpoint is waited for.
            await server.abandon()


@contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """A new, empty database on the server, and its superuser's URL."""
    database = f"test_{uuid.uuid4().hex[:12]}"
    name = sql.Identifier(database)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    try:
        yield urlsplit(url)._replace(path=f"/{database}").geturl()
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def as_role(url: str, role: str) -> str:
    """The same database as another role: `as_role(database_url, "graph")`."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}").geturl()
