"""Each service's role in PostgreSQL reaches its own schema, and nothing else."""

import itertools
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from blockyard.dev.services import MIGRATED
from psycopg import sql

from services.common import migrate
from tests.stack.postgres import as_role, fresh_database

OTHERS = list(itertools.permutations(MIGRATED, 2))
RELATIONS = """
SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p', 'v', 'm') ORDER BY relname
"""
SEQUENCES = "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'S' ORDER BY relname"
FUNCTIONS = """
SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = %s::regnamespace ORDER BY 1
"""
STATEMENTS = (
    "SELECT FROM {}",
    "INSERT INTO {} DEFAULT VALUES",
    "DELETE FROM {}",
    "TRUNCATE {}",
    "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
    "DROP TABLE {}",
    "ALTER TABLE {} ADD COLUMN taken text",
    "GRANT ALL ON {} TO PUBLIC",
)


@pytest.fixture(scope="module")
def migrated(postgres_url: str) -> Iterator[str]:
    """A database with the schemas of all services: its superuser's URL."""
    with fresh_database(postgres_url) as url:
        migrate.migrate(url, MIGRATED)
        yield url


def names(url: str, query: str, schema: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [name for (name,) in connection.execute(query, (schema,))]


def refused(connection: psycopg.Connection, statement: sql.SQL | sql.Composed) -> bool:
    """Whether PostgreSQL says that this role may not; what it had begun is undone."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


@pytest.mark.parametrize(("role", "schema"), OTHERS)
def test_a_role_is_refused_every_table_of_another_schema(migrated: str, role: str, schema: str) -> None:
    relations = names(migrated, RELATIONS, schema)
    with psycopg.connect(as_role(migrated, role)) as connection:
        allowed = [
            (relation, statement)
            for relation in relations
            for statement in STATEMENTS
            if not refused(connection, sql.SQL(statement).format(sql.Identifier(schema, relation)))
        ]

    assert relations
    assert allowed == []


@pytest.mark.parametrize(("role", "schema"), OTHERS)
def test_a_role_can_neither_call_nor_draw_from_what_is_in_another_schema(migrated: str, role: str, schema: str) -> None:
    with psycopg.connect(as_role(migrated, role)) as connection:
        row = connection.execute("SELECT has_schema_privilege(%s, 'USAGE')", (schema,)).fetchone()
        drawn = [
            sequence
            for sequence in names(migrated, SEQUENCES, schema)
            if not refused(connection, sql.SQL("SELECT nextval({})").format(sql.Literal(f"{schema}.{sequence}")))
        ]
        called = [
            function
            for function in names(migrated, FUNCTIONS, schema)
            if not refused(connection, sql.SQL("SELECT {}::regprocedure").format(sql.Literal(function)))
        ]

    assert row == (False,)
    assert drawn == []
    assert called == []


@pytest.mark.parametrize("role", MIGRATED)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE public.own (number int)",
        "CREATE FUNCTION public.own() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA own",
        "CREATE ROLE own",
        "CREATE EXTENSION dblink",
        "SET ROLE blockyard",
        "SELECT pg_read_file('postgresql.conf')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_reload_conf()",
        "SELECT rolpassword FROM pg_authid",
    ],
)
def test_a_role_makes_nothing_outside_of_its_schema(migrated: str, role: str, statement: LiteralString) -> None:
    with psycopg.connect(as_role(migrated, role)) as connection:
        assert refused(connection, sql.SQL(statement))


@pytest.mark.parametrize("role", MIGRATED)
def test_a_role_may_use_its_own_schema(migrated: str, role: str) -> None:
    with psycopg.connect(as_role(migrated, role)) as connection:
        row = connection.execute("SELECT has_schema_privilege(%s, 'USAGE')", (role,)).fetchone()
        readable = [
            name
            for name in names(migrated, RELATIONS, role)
            if not refused(connection, sql.SQL("SELECT FROM {}").format(sql.Identifier(role, name)))
        ]

    assert row == (True,)
    assert readable


@pytest.mark.parametrize(("role", "other"), OTHERS)
def test_a_role_is_no_member_of_another(migrated: str, role: str, other: str) -> None:
    with psycopg.connect(as_role(migrated, role)) as connection:
        assert refused(connection, sql.SQL("SET ROLE {}").format(sql.Identifier(other)))
