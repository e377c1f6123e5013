"""A service's pool of connections to its schema in PostgreSQL, and the conditions under which it may be used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import structlog

from services.common import schema_history
from services.common.backoff import delays, patiently
from services.common.errors import StartRefused

log = structlog.stdlib.get_logger(__name__)

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that broke in the middle of an operation
    asyncpg.OperatorInterventionError,  # starting up, shutting down, ended by an administrator
    asyncpg.TooManyConnectionsError,
)
"""What an asyncpg call raises while PostgreSQL is away, or too busy to be connected to."""

PASSING = (*AWAY, asyncpg.DiskFullError, asyncpg.DeadlockDetectedError)
"""What it raises that passes by itself: PostgreSQL is away or full, or another transaction is in the way."""

TROUBLE = (*AWAY, asyncpg.PostgresError)
"""Whatever it raises: work in the background tells of it, and tries again."""

NOT_YET = (
    *AWAY,
    asyncpg.InvalidAuthorizationSpecificationError,  # migrations have not made the role yet
    asyncpg.InvalidCatalogNameError,
)


@asynccontextmanager
async def connect(
    url: str,
    service: str,
    *,
    pool_size: int = 10,
    statement_timeout: float = 10.0,
    idle_in_transaction_timeout: float = 10.0,
) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    """A pool whose connections work in the schema named after the service.

    While PostgreSQL is away, or the service's role does not exist yet, this waits. It refuses a database that could
    lose what it has confirmed.
    """
    settings = {
        "application_name": f"blockyard-{service}",
        "search_path": service,
        "statement_timeout": _milliseconds(statement_timeout),
        "idle_in_transaction_session_timeout": _milliseconds(idle_in_transaction_timeout),
        "timezone": "UTC",
    }
    pool = await _pool(url, settings, pool_size, command_timeout=statement_timeout + 5)
    try:
        await patiently(partial(refuse_unsafe, pool), *AWAY)
        yield pool
    finally:
        await _close(pool)


async def _pool(
    url: str, settings: dict[str, str], size: int, command_timeout: float
) -> "asyncpg.Pool[asyncpg.Record]":
    pauses = delays()
    while True:
        try:
            return await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=size,
                server_settings=settings,
                command_timeout=command_timeout,
                timeout=10,
                reset=_as_it_is,
            )
        except NOT_YET as error:
            await _wait("waiting for PostgreSQL", next(pauses), reason=str(error) or type(error).__name__)


async def _as_it_is(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """No session state is ever changed, so giving a connection back need not cost a round trip."""


async def _close(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Let connections end what they do, but not for long: the server may be gone."""
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except AWAY:
        pool.terminate()


async def refuse_unsafe(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Refuse to start on a PostgreSQL that may lose commits which it has confirmed: every promise rests on them."""
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        if await pool.fetchval("SELECT current_setting($1)", setting) == "off":
            raise StartRefused(
                f"PostgreSQL runs with {setting} = off, so what it confirms may be lost. "
                f"Set {setting} = on (server, database and role), then start again."
            )


async def wait_for_schema(pool: "asyncpg.Pool[asyncpg.Record]", service: str) -> None:
    """Return once the newest migration that this code brings has been applied.

    Later ones may have been applied as well: migrations keep the release before them working.
    """
    needed = schema_history.newest_revision(service)
    pauses = delays()
    while True:
        try:
            if await pool.fetchval(schema_history.IS_APPLIED.format(schema=service), needed):
                return
            reason = f"migration {needed} has not been applied"
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            reason = "no migration has been applied"
        except AWAY as error:
            reason = str(error) or type(error).__name__
        await _wait("waiting for the database schema", next(pauses), schema=service, reason=reason)


async def is_healthy(pool: "asyncpg.Pool[asyncpg.Record]") -> bool:
    """Whether PostgreSQL answers: a health check for grpc_server.serve."""
    try:
        return bool(await pool.fetchval("SELECT true", timeout=2))
    except AWAY:
        return False


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


async def _wait(event: str, delay: float, **details: str) -> None:
    log.warning(event, **details)
    await asyncio.sleep(delay)
