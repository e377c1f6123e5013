"""Migrations and connections on a real PostgreSQL."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from services.common import database, migrate, schema_history
from services.common.errors import StartRefused
from tests.stack.postgres import as_role, fresh_database, running_postgres

FIRST = """
from alembic import op
revision = "0001"
down_revision = None
def upgrade():
    op.execute("CREATE TABLE things (id int PRIMARY KEY)")
"""
SECOND = """
from alembic import op
revision: str = "0002"
down_revision: str | None = "0001"
def upgrade():
    op.execute("ALTER TABLE things ADD COLUMN name text")
"""
BROKEN = """
from alembic import op
revision = "0003"
down_revision = "0002"
def upgrade():
    op.execute("CREATE TABLE halves (id int)")
    op.execute("SELECT 1 / 0")
"""


class Services:
    """A folder of services with migrations, as services/ is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, service: str, name: str, text: str) -> None:
        versions = self.folder / service / "migrations" / "versions"
        versions.mkdir(parents=True, exist_ok=True)
        (versions / f"{name}.py").write_text(text)


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setattr(schema_history, "SERVICES", tmp_path)
    return Services(tmp_path)


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url) as fresh:
        yield fresh


def revisions(url: str, schema: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(f"SELECT revision FROM {schema}.migration_history ORDER BY 1").fetchall()
        return [row[0] for row in rows]


async def test_a_service_works_in_a_schema_of_its_own_that_migrations_made(url: str, services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    migrate.migrate(url, ["shelf"])

    async with database.connect(as_role(url, "shelf"), "shelf") as pool:
        await database.wait_for_schema(pool, "shelf")
        await pool.execute("INSERT INTO things VALUES (1)")
        assert await pool.fetchval("SELECT count(*) FROM shelf.things") == 1
        await pool.execute("CREATE TABLE later (id int)")
        assert await database.is_healthy(pool)


async def test_no_service_reads_the_schema_of_another(url: str, services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    services.add("drawer", "0001_things", FIRST)
    migrate.migrate(url, ["shelf", "drawer"])

    async with database.connect(as_role(url, "drawer"), "drawer") as pool:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.fetch("SELECT * FROM shelf.things")


def test_migrating_again_changes_nothing(url: str, services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    services.add("shelf", "0002_names", SECOND)
    migrate.migrate(url, ["shelf"])
    migrate.migrate(url, ["shelf"])

    assert revisions(url, "shelf") == ["0001", "0002"]


def test_a_schema_that_lacks_nothing_costs_no_import_of_alembic(url: str, services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    program = (
        "import sys; from pathlib import Path; from services.common import migrate, schema_history; "
        "schema_history.SERVICES = Path(sys.argv[1]); migrate.migrate(sys.argv[2], ['shelf']); "
        "sys.exit(3 if 'alembic' in sys.modules else 0)"
    )
    command = [sys.executable, "-c", program, str(services.folder), url]

    codes = [subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode for _ in range(2)]

    assert codes == [3, 0]
    assert revisions(url, "shelf") == ["0001"]


def test_a_schema_of_a_later_release_is_left_as_it_is(url: str, services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    services.add("shelf", "0002_names", SECOND)
    migrate.migrate(url, ["shelf"])
    (services.folder / "shelf" / "migrations" / "versions" / "0002_names.py").unlink()

    migrate.migrate(url, ["shelf"])

    assert revisions(url, "shelf") == ["0001", "0002"]


def test_a_migration_that_fails_leaves_nothing_behind(url: str, services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    services.add("shelf", "0002_names", SECOND)
    services.add("shelf", "0003_broken", BROKEN)

    with pytest.raises(Exception, match="division by zero"):
        migrate.migrate(url, ["shelf"])

    assert revisions(url, "shelf") == ["0001", "0002"]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('shelf.halves')").fetchone() == (None,)


async def test_two_migrations_at_once_come_one_after_the_other(url: str, services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    services.add("shelf", "0002_names", SECOND)
    command = [sys.executable, "-c", "import sys; from pathlib import Path; from services.common import migrate, "
               "schema_history; schema_history.SERVICES = Path(sys.argv[1]); migrate.migrate(sys.argv[2], ['shelf'])",
               str(services.folder), url]  # fmt: skip

    runs = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [await run.wait() for run in runs] == [0, 0]
    assert revisions(url, "shelf") == ["0001", "0002"]


async def test_a_service_waits_for_the_schema_that_it_needs(url: str, services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    migrate.migrate(url, ["shelf"])
    services.add("shelf", "0002_names", SECOND)

    async with database.connect(as_role(url, "shelf"), "shelf") as pool:
        waiting = asyncio.create_task(database.wait_for_schema(pool, "shelf"))
        await asyncio.wait({waiting}, timeout=0.2)
        assert not waiting.done()
        await asyncio.to_thread(migrate.migrate, url, ["shelf"])
        async with asyncio.timeout(15):
            await waiting


async def test_a_service_runs_on_a_schema_newer_than_itself(url: str, services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    services.add("shelf", "0002_names", SECOND)
    migrate.migrate(url, ["shelf"])
    (schema_history.migrations_folder("shelf") / "0002_names.py").unlink()

    async with database.connect(as_role(url, "shelf"), "shelf") as pool, asyncio.timeout(5):
        await database.wait_for_schema(pool, "shelf")


async def test_a_service_waits_until_its_role_exists(
    url: str, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    services.add("latecomer", "0001_things", FIRST)

    async def connect() -> None:
        async with database.connect(as_role(url, "latecomer"), "latecomer") as pool:
            await database.wait_for_schema(pool, "latecomer")

    connecting = asyncio.create_task(connect())
    await asyncio.wait({connecting}, timeout=0.3)
    assert not connecting.done()
    await asyncio.to_thread(migrate.migrate, url, ["latecomer"])
    async with asyncio.timeout(15):
        await connecting


async def test_a_database_that_may_lose_commits_is_refused(url: str, services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    migrate.migrate(url, ["shelf"])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER ROLE shelf SET synchronous_commit = off")
    try:
        with pytest.raises(StartRefused, match="synchronous_commit = off, so what it confirms may be lost"):
            async with database.connect(as_role(url, "shelf"), "shelf"):
                pass
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER ROLE shelf RESET synchronous_commit")


async def test_statements_end_at_their_time_limit(url: str, services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    migrate.migrate(url, ["shelf"])

    async with database.connect(as_role(url, "shelf"), "shelf", statement_timeout=0.1) as pool:
        with pytest.raises(asyncpg.QueryCanceledError):
            await pool.execute("SELECT pg_sleep(10)")


def test_migrations_that_do_not_form_one_line_are_refused(services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    services.add("shelf", "0002_names", SECOND)
    services.add("shelf", "0002_other", SECOND.replace('"0002"', '"0002b"'))

    with pytest.raises(ValueError, match="must form one line"):
        schema_history.newest_revision("shelf")


def test_migrating_logs_no_password(url: str, services: Services, caplog: pytest.LogCaptureFixture) -> None:
    from pydantic import SecretStr

    services.add("shelf", "0001_things", FIRST)
    caplog.set_level(logging.DEBUG)

    migrate.migrate(url, ["shelf"], {"shelf": SecretStr("it's a secret")})

    assert "a secret" not in caplog.text


async def test_a_service_outlives_a_crash_of_postgresql(services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    async with running_postgres() as server:
        await asyncio.to_thread(migrate.migrate, server.url, ["shelf"])
        async with database.connect(server.url_of("shelf"), "shelf") as pool:
            assert await database.is_healthy(pool)
            await server.kill()
            assert not await database.is_healthy(pool)
            with pytest.raises(database.AWAY):
                await pool.fetch("SELECT * FROM things")

            await server.start()
            assert await pool.fetch("SELECT * FROM things") == []
            assert await database.is_healthy(pool)


async def test_a_service_starts_before_postgresql(services: Services) -> None:
    services.add("shelf", "0001_things", FIRST)
    async with running_postgres() as server:
        await server.kill()
        migrating = asyncio.create_task(asyncio.to_thread(migrate.migrate, server.url, ["shelf"]))
        connecting = asyncio.create_task(use(server.url_of("shelf")))
        await asyncio.wait({migrating, connecting}, timeout=0.3)
        assert not migrating.done()
        assert not connecting.done()

        await server.start()
        async with asyncio.timeout(20):
            await migrating
            assert await connecting == []


async def use(url: str) -> list[asyncpg.Record]:
    async with database.connect(url, "shelf") as pool:
        await database.wait_for_schema(pool, "shelf")
        return await pool.fetch("SELECT * FROM things")
