"""Brings the schemas of services to the newest migration: `python -m services.common.migrate graph execution`.

It may run any number of times, from several places at once, and before PostgreSQL is up. Each service gets a role and a
schema of its name; the role owns what is in the schema, and reaches no other.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg
import structlog
from psycopg import sql
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services import starting
from services.common import config, schema_history, telemetry
from services.common.backoff import delays

# Any number will do, as long as every release uses the same.
ADVISORY_LOCK = 4_251_776_301

log = structlog.stdlib.get_logger(__name__)


class Settings(BaseSettings):
    """A migration's own settings; the passwords of roles are read by the name of their service."""

    model_config = SettingsConfigDict(env_prefix=config.PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    migration_database_url: SecretStr
    log_level: str = "INFO"
    log_format: str = "json"


def main(arguments: Sequence[str]) -> int:
    """Migrate the named services; those that cannot be migrated are named before anything is changed."""
    starting.end()
    unknown = [name for name in arguments if not schema_history.migrations_folder(name).is_dir()]
    if not arguments or unknown:
        print("usage: python -m services.common.migrate SERVICE...", file=sys.stderr)
        print(*(f"services/{name} has no migrations" for name in unknown), sep="\n", file=sys.stderr)
        return 2
    settings = config.load(Settings)
    telemetry.configure_logs("migrate", settings.log_level.upper(), settings.log_format)
    url = settings.migration_database_url.get_secret_value()
    migrate(url, arguments, {name: _password(name) for name in arguments})
    return 0


def migrate(url: str, services: Sequence[str], passwords: dict[str, SecretStr | None] | None = None) -> None:
    """Make roles and schemas where they are missing, and apply the migrations that are, one service after the other."""
    with _exclusive(url) as connection:
        for service in services:
            _ensure_role(connection, service, (passwords or {}).get(service))
            _ensure_schema(connection, service)
            if not _is_newest(connection, service):
                # Here, since Alembic and what it brings are most of what this program imports.
                from services.common import upgrading

                upgrading.upgrade(url, service)
            log.info("migrated", schema=service, revision=schema_history.newest_revision(service))


def _password(service: str) -> SecretStr | None:
    class Password(BaseSettings):
        model_config = SettingsConfigDict(env_prefix=f"{config.PREFIX}{service.upper()}_", extra="ignore")
        db_password: SecretStr | None = None

    return config.load(Password).db_password


@contextmanager
def _exclusive(url: str) -> Iterator[psycopg.Connection]:
    """A connection that holds the lock of migrations; another run of them waits for this one."""
    connection = _connect(url)
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (ADVISORY_LOCK,))
        yield connection
    finally:
        # The lock goes with its session.
        connection.close()


def _connect(url: str) -> psycopg.Connection:
    pauses = delays()
    while True:
        try:
            return psycopg.connect(url, autocommit=True, connect_timeout=10, application_name="blockyard-migrate")
        except psycopg.OperationalError as error:
            log.warning("waiting for PostgreSQL", reason=str(error).strip())
            time.sleep(next(pauses))


def _ensure_role(connection: psycopg.Connection, service: str, password: SecretStr | None) -> None:
    role = sql.Identifier(service)
    # Roles belong to the whole server, the lock to one database: another one's migration may have been faster.
    with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (service,)).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    if password is not None:
        secret = sql.Literal(password.get_secret_value())
        connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(role, secret))
    if connection.execute("SELECT pg_has_role(current_user, %s, 'SET')", (service,)).fetchone() != (True,):
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))


def _ensure_schema(connection: psycopg.Connection, service: str) -> None:
    name = sql.Identifier(service)
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(name, name))


def _is_newest(connection: psycopg.Connection, service: str) -> bool:
    """Whether nothing is missing. The schema may be that of a later release."""
    statement = sql.SQL(schema_history.IS_APPLIED.replace("$1", "{revision}")).format(
        schema=sql.Identifier(service), revision=sql.Literal(schema_history.newest_revision(service))
    )
    try:
        return connection.execute(statement).fetchone() == (True,)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        return False  # whoever may not look without becoming the role lets Alembic look


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
