"""A PostgreSQL server for tests, the one that `blockyard dev` starts, and fresh databases on it, empty or migrated.

It runs with fsync on, as the services demand; nothing of it outlives the tests.
"""

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from blockyard.dev.postgres import PostgresServer, start_postgres
from psycopg import sql

from services.common import migrate


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
def fresh_database(url: str, template: str = "template1") -> Iterator[str]:
    """A new database on the server, a copy of the template, which is empty by default; and its superuser's URL."""
    database = f"test_{uuid.uuid4().hex[:12]}"
    name = sql.Identifier(database)
    with psycopg.connect(url, autocommit=True) as connection:
        # Files that are copied need no entry in the log for each page, and a checkpoint costs nothing in memory.
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        connection.execute(copy.format(name, sql.Identifier(template)))
    try:
        yield _of_database(url, database)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@contextmanager
def migrated_database(url: str, *services: str) -> Iterator[str]:
    """A new database on the server with the schemas of services, whose roles need no password; its superuser's URL.

    It is a copy of one that was migrated once: to migrate each costs six times as much.
    """
    with fresh_database(url, _migrated_template(url, services)) as database_url:
        yield database_url


def _migrated_template(url: str, services: Sequence[str]) -> str:
    """The name of the database that is copied; it is made when the server has none."""
    database = "_".join(["migrated", *services])
    name = sql.Identifier(database)
    with psycopg.connect(url, autocommit=True) as connection:
        is_whole = "SELECT FROM pg_database WHERE datname = %s AND datistemplate"
        if not connection.execute(is_whole, (database,)).rowcount:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
            migrate.migrate(_of_database(url, database), services)
            connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(name))
    return database


def _of_database(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def as_role(url: str, role: str) -> str:
    """The same database as another role: `as_role(database_url, "graph")`."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}").geturl()
