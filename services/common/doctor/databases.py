"""Checks of a service's schema in PostgreSQL: that it can be reached, is safe and new enough; and of the clock."""

import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from services.common import database, schema_history
from services.common.doctor.findings import Check, Told, ok, warning, wrong
from services.common.errors import StartRefused

CLOCK_WARNING_SECONDS = 2.0
CLOCK_WRONG_SECONDS = 20.0
"""Tokens live for a minute, and are taken half a minute late or early."""
REACHING = 8.0
"""Seconds to connect, and for a statement: less than what a check has."""
OLDEST_VERSION = 15
"""Of PostgreSQL: the oldest that its makers mended when this was written, and that has all that migrations use."""

SESSION = """
SELECT current_user AS role, current_database() AS database, current_setting('server_version_num')::int AS version,
    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS tls
"""
CONNECTIONS = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most,
    (SELECT sum(numbackends) FROM pg_stat_database)::int AS used,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS most_of_role
"""
UNREACHABLE_TABLES = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p')
  AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
    AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
ORDER BY c.relname
"""
HISTORY = "SELECT revision FROM {schema}.migration_history"

Connect = Callable[[], "asyncpg.Pool[asyncpg.Record]"]


class Database:
    """The database of one service, from the first check that reaches it."""

    def __init__(
        self,
        url: str,
        service: str,
        pool_size: int,
        resources: AsyncExitStack,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._service = service
        self._pool_size = pool_size
        self._resources = resources
        self._clock = clock
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    @property
    def pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        """Connections as the service's own role, for checks that need "postgresql"."""
        assert self._pool is not None
        return self._pool

    def checks(self) -> list[Check]:
        """What can be said of any service's database."""
        return [
            Check("postgresql", self._reach, ["settings"]),
            Check("postgresql safety", self._safety, ["postgresql"]),
            Check("schema", self._schema, ["postgresql"]),
            Check("rights in postgresql", self._rights, ["postgresql", "schema"]),
            Check("connections", self._connections, ["postgresql"]),
            Check("clock", self._time, ["postgresql"]),
        ]

    async def _reach(self) -> AsyncIterator[Told]:
        where = _place(self._url)
        try:
            self._pool = pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=2,
                timeout=REACHING,
                command_timeout=10,
                server_settings={
                    "application_name": "blockyard-doctor",
                    "search_path": self._service,
                    "statement_timeout": str(round(REACHING * 1000)),
                    "timezone": "UTC",
                },
            )
        except (OSError, ValueError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            yield _unreachable(error, where, self._service)
            return
        self._resources.callback(pool.terminate)  # closing in order would wait for a server that hangs
        session = await pool.fetchrow(SESSION)
        assert session is not None
        version, role = session["version"] // 10_000, session["role"]
        if version < OLDEST_VERSION:
            yield wrong(
                f"PostgreSQL {version} at {where}", f"Blockyard needs PostgreSQL {OLDEST_VERSION} or later: upgrade it."
            )
        if role != self._service:
            yield warning(
                f"{where}: the role is {role}, and not {self._service}",
                f"Let BLOCKYARD_DATABASE_URL name the role {self._service}, which reaches its own schema alone.",
            )
        transport = "over TLS" if session["tls"] else "in plain text"
        yield ok(f"PostgreSQL {version} at {where}, database {session['database']}, as {role}, {transport}")

    async def _safety(self) -> AsyncIterator[Told]:
        try:
            await database.refuse_unsafe(self.pool)
        except StartRefused as error:
            said, _, advice = str(error).partition(". ")
            yield wrong(said, advice)
        else:
            yield ok("what it confirms is on disk")

    async def _schema(self) -> AsyncIterator[Told]:
        service = self._service
        run = f"python -m services.common.migrate {service}"
        try:
            rows = await self.pool.fetch(HISTORY.format(schema=service))
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.InsufficientPrivilegeError):
            yield wrong(
                f"the schema {service} is not there, or is not this role's: no migration has been applied",
                f"Run the migrations ({run}; on Kubernetes the Job `<release>-migrations-…`, whose log says why not).",
            )
            return
        applied = {row["revision"] for row in rows}
        known = schema_history.revisions(service)
        missing = [revision for revision in known if revision not in applied]
        if missing:
            yield wrong(
                f"the schema {service} is older than this program: {_named(missing, 'migration')} not been applied",
                f"Run the migrations of this release ({run}; on Kubernetes the Job `<release>-migrations-…`).",
            )
        elif newer := sorted(applied - set(known)):
            yield warning(
                f"the schema {service} is newer than this program: it does not know {', '.join(newer)}",
                "A later release was installed. The one before it goes on working; of older ones nothing is known: "
                "roll the images forward to the release of the schema.",
            )
        else:
            yield ok(f"schema {service} at {known[-1]}")

    async def _rights(self) -> AsyncIterator[Told]:
        closed = [row["relname"] for row in await self.pool.fetch(UNREACHABLE_TABLES, self._service)]
        create = await self.pool.fetchval("SELECT has_schema_privilege($1, 'CREATE')", self._service)
        if closed or not create:
            lacking = f"the tables {', '.join(closed[:5])}" if closed else "making tables"
            yield wrong(
                f"the role has not all rights in the schema {self._service}: {lacking}",
                f"Let the role own what is in it: ALTER SCHEMA {self._service} OWNER TO {self._service}, "
                "and ALTER TABLE .. OWNER TO for each table that was restored by another role.",
            )
        else:
            yield ok("the role has all rights in its schema")

    async def _connections(self) -> AsyncIterator[Told]:
        row = await self.pool.fetchrow(CONNECTIONS)
        assert row is not None
        most, used, of_role = row["most"], row["used"], row["most_of_role"]
        if 0 <= of_role < self._pool_size:
            yield warning(
                f"the role may have {of_role} connections, and a process wants up to {self._pool_size}",
                f"ALTER ROLE {self._service} CONNECTION LIMIT -1, or lower BLOCKYARD_DATABASE_POOL_SIZE.",
            )
        if most - used < self._pool_size:
            yield warning(
                f"{used} of {most} connections are taken, and each process wants up to {self._pool_size}",
                "Raise max_connections, lower BLOCKYARD_DATABASE_POOL_SIZE, or put a pooler in front.",
            )
        else:
            yield ok(f"{used} of {most} are taken")

    async def _time(self) -> AsyncIterator[Told]:
        before = self._clock()
        theirs = float(await self.pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8"))
        after = self._clock()
        # The answer was made at some moment in between.
        off = theirs - min(max(theirs, before), after)
        said = f"{abs(off):.1f} s {'behind' if off > 0 else 'ahead of'} PostgreSQL's"
        advice = "Let the clocks of all machines be kept by NTP (chrony, systemd-timesyncd): tokens live for a minute."
        if abs(off) >= CLOCK_WRONG_SECONDS:
            yield wrong(f"the clock here is {said}", advice)
        elif abs(off) >= CLOCK_WARNING_SECONDS:
            yield warning(f"the clock here is {said}", advice)
        else:
            yield ok("that of PostgreSQL")


def _unreachable(error: Exception, where: str, service: str) -> Told:
    """Why there is no connection, and what to do about it."""
    look = "is it up, and do BLOCKYARD_DATABASE_URL and the network lead there?"
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return wrong(
                f"{where} refuses the login: {error}",
                f"The password must be that which the migrations gave to the role (BLOCKYARD_{service.upper()}"
                "_DB_PASSWORD); they make the role too. Correct one of them, then run the migrations again.",
            )
        case asyncpg.InvalidCatalogNameError():
            return wrong(f"{where}: {error}", "Make the database, or correct its name in BLOCKYARD_DATABASE_URL.")
        case asyncpg.TooManyConnectionsError():
            return wrong(
                f"{where} has no connection left: {error}", "Raise max_connections, or put a pooler in front of it."
            )
        case asyncpg.PostgresError():
            return wrong(f"{where} refuses: {error}", "It may be starting or stopping: its log says more.")
        case ssl.SSLError():
            return wrong(
                f"{where}: TLS fails: {error.reason or error}",
                "The certificate must be of the authority that sslrootcert names, for this host, and valid now.",
            )
        case socket.gaierror():
            return wrong(
                f"{where}: there is no such host", "Correct the host in BLOCKYARD_DATABASE_URL, or the name service."
            )
        case ConnectionRefusedError():
            return wrong(f"{where} cannot be reached: nothing listens there", f"PostgreSQL: {look}")
        case TimeoutError():
            return wrong(f"{where} does not answer within {REACHING:g} seconds", f"PostgreSQL: {look}")
        case OSError():
            return wrong(f"{where} cannot be reached: {error.strerror or error}", f"PostgreSQL: {look}")
    return wrong(f"{where}: {error}", "Correct BLOCKYARD_DATABASE_URL.")


def _place(url: str) -> str:
    """host:port of a URL of PostgreSQL, and nothing that is secret."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that are not closed, for one
        return "BLOCKYARD_DATABASE_URL"
    query: dict[str, Any] = parse_qs(parts.query)
    host = parts.hostname or query.get("host", ["localhost"])[0]
    try:
        return f"{host}:{parts.port or 5432}"
    except ValueError:
        return host


def _named(names: list[str], noun: str) -> str:
    return f"{noun} {names[0]} has" if len(names) == 1 else f"{noun}s {', '.join(names)} have"
