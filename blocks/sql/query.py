"""Asks a database of the user's own, over connections that egress allows."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from blockyard.block import (
    Block,
    BlockCategory,
    BlockExecutionError,
    BlockOutput,
    BlockSchema,
    Context,
    CredentialsField,
    CredentialsReference,
    Effect,
    SchemaField,
    UserPasswordCredentials,
)
from blockyard.block.resources import Factory
from blockyard.egress import Egress, EgressError, EgressRefused, EgressTimeout, open_egress
from pydantic import SecretStr

from blocks.sql.mssql import query_mssql
from blocks.sql.mysql import query_mysql
from blocks.sql.postgres import query_postgres
from blocks.sql.results import Rows
from blocks.sql.servers import SqlRequest, Tls, hidden_host, tls_from_environment
from blocks.sql.statements import DatabaseType, check_statement

MAX_SECONDS = 600
MAX_ROWS = 100_000
_PORTS = {DatabaseType.POSTGRES: 5432, DatabaseType.MYSQL: 3306, DatabaseType.MSSQL: 1433}
_QUERIES: Mapping[DatabaseType, Callable[[SqlRequest], Awaitable[Rows]]] = {
    DatabaseType.POSTGRES: query_postgres,
    DatabaseType.MYSQL: query_mysql,
    DatabaseType.MSSQL: query_mssql,
}


async def _test_ask(_: Context, inputs: Any, account: UserPasswordCredentials, query: str) -> Rows:
    if query.startswith("DELETE"):
        return Rows([], inputs.max_rows, affected=2)
    if "missing" in query:
        raise BlockExecutionError('relation "missing" does not exist')
    rows = Rows(["name", "age"], inputs.max_rows)
    for row in (["Ada", 36], ["Bob", 41]):
        rows.add(row)
    return rows


class SQLQueryBlock(Block):
    class Input(BlockSchema):
        database_type: DatabaseType = SchemaField(
            description="Which database it is.", default=DatabaseType.POSTGRES, advanced=False
        )
        host: SecretStr = SchemaField(description="Host of the database.", secret=True, placeholder="db.example.com")
        port: int | None = SchemaField(
            description="Its port; the usual one of the database if left out (5432, 3306, 1433).",
            default=None,
            ge=1,
            le=65_535,
        )
        database: str = SchemaField(description="Name of the database.", placeholder="sales")
        query: str = SchemaField(description="One statement of SQL.", placeholder="SELECT * FROM orders LIMIT 10")
        read_only: bool = SchemaField(
            title="Read-only", description="Refuse statements that change data.", default=True
        )
        timeout: int = SchemaField(
            description="Seconds until the statement is given up.", default=30, ge=1, le=MAX_SECONDS
        )
        max_rows: int = SchemaField(description="Rows that are given at most.", default=1000, ge=1, le=MAX_ROWS)
        credentials: CredentialsReference = CredentialsField(
            provider="database",
            types=["user_password"],
            named_only=True,
            description="User name and password for the database.",
        )

    class Output(BlockSchema):
        results: list[dict[str, Any]] = SchemaField(description="The rows, each an object with the columns' names.")
        columns: list[str] = SchemaField(description="Names of the columns.")
        row_count: int = SchemaField(description="How many rows are given.")
        truncated: bool = SchemaField(description="Whether there were more rows than are given.")
        affected_rows: int = SchemaField(description="How many rows the statement has changed, if it changes any.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(
        self, open_client: Factory[Egress] = open_egress, tls: Tls | None = None, certificates: str | None = None
    ) -> None:
        """`tls` is the operator's setting if None; `certificates` is a file with those that are trusted."""
        self._open_client = open_client
        self._tls = tls
        self._certificates = certificates
        reference = {"id": "c2a6a0fb-52b8-45b4-9f2e-7d3b0f1e6a91", "provider": "database", "type": "user_password"}
        asked = {"host": "db.example.com", "database": "people", "credentials": reference}
        rows = [{"name": "Ada", "age": 36}, {"name": "Bob", "age": 41}]
        super().__init__(
            id="4dc35c0f-4fd8-465e-9616-5a216f1ba2bc",
            description="Asks a database (PostgreSQL, MySQL, SQL Server) with a statement of SQL.",
            categories={BlockCategory.DATA, BlockCategory.DEVELOPER_TOOLS},
            input_schema=self.Input,
            output_schema=self.Output,
            # With read_only off, a repeat may change something again.
            effect=Effect.ONCE,
            timeout=MAX_SECONDS + 30,
            test_input=[
                {**asked, "query": "SELECT name, age FROM people"},
                {**asked, "query": "SELECT name, age FROM people", "max_rows": 1, "database_type": "mysql"},
                {**asked, "query": "DELETE FROM people", "read_only": False},
                {**asked, "query": "DELETE FROM people"},
                {**asked, "query": "SELECT 1; DROP TABLE people"},
                {**asked, "query": "SELECT * FROM missing"},
            ],
            test_output=[
                ("results", rows),
                ("columns", ["name", "age"]),
                ("row_count", 2),
                ("truncated", False),
                ("results", rows[:1]),
                ("columns", ["name", "age"]),
                ("row_count", 1),
                ("truncated", True),
                ("results", []),
                ("columns", []),
                ("row_count", 0),
                ("truncated", False),
                ("affected_rows", 2),
                ("error", lambda message: message.startswith("query: begins with DELETE, which is not for reading")),
                ("error", "query: has more than one statement; send them one by one"),
                ("error", 'relation "missing" does not exist'),
            ],
            test_mock={"ask": _test_ask},
            test_credentials={"credentials": {"username": "reader of people", "password": "example password"}},
        )

    async def ask(self, context: Context, inputs: Input, account: UserPasswordCredentials, query: str) -> Rows:
        """The answer of the database."""
        kind = inputs.database_type
        host = inputs.host.get_secret_value().strip()
        async with context.resource(self._open_client) as egress:
            request = SqlRequest(
                egress=egress,
                host=host,
                port=inputs.port or _PORTS[kind],
                database=inputs.database,
                account=account,
                query=query,
                read_only=inputs.read_only,
                timeout=inputs.timeout,
                max_rows=inputs.max_rows,
                tls=self._tls or tls_from_environment(),
                certificates=self._certificates,
            )
            try:
                async with asyncio.timeout(inputs.timeout):
                    return await _QUERIES[kind](request)
            except TimeoutError as error:
                raise EgressTimeout(f"the database has not answered within {inputs.timeout} s") from error
            except EgressRefused as error:
                # Its own sentence names the host, which is a secret here.
                why = hidden_host(error.why, host)
                raise EgressRefused("host", why, "an operator can allow it with BLOCKYARD_EGRESS_ALLOW") from None
            except EgressError as error:
                raise type(error)(hidden_host(str(error), host)) from None

    async def run(self, input_data: Input, context: Context, credentials: UserPasswordCredentials) -> BlockOutput:
        query = check_statement(input_data.query, input_data.database_type, read_only=input_data.read_only)
        rows = await self.ask(context, input_data, credentials, query)
        yield "results", rows.rows
        yield "columns", rows.columns
        yield "row_count", len(rows.rows)
        yield "truncated", rows.truncated
        if rows.affected is not None:
            yield "affected_rows", rows.affected
