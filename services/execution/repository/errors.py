"""What a call to a database raises that is away, full or restarting: the caller waits and tries again, or gives up."""

import asyncpg

DATABASE_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # From a connection that broke in the middle of an operation.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
