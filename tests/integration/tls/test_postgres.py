"""TLS to PostgreSQL, as services and migrations connect: by what their URLs say.

The bundled server is built without TLS, so it is put before it.
"""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from blockyard.dev.postgres import PostgresServer
from structlog.testing import capture_logs

from services.common import database, migrate
from tests.integration.tls.conftest import World
from tests.stack.certificates import HOUR, Pair
from tests.stack.postgres import fresh_database
from tests.unit.network.tls_front import postgres as negotiation
from tests.unit.network.tls_front import tls_front
from tests.waiting import until


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A fresh database with the schema of the graph service."""
    with fresh_database(postgres_url) as url:
        migrate.migrate(url, ["graph"])
        yield url


@contextmanager
def front(url: str, world: World, pair: Pair) -> Iterator[str]:
    """The same server with this certificate, which demands one of its clients: a URL without a word of TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=world.ours.file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pair.certificate, pair.key)
    parts = urlsplit(url)
    assert parts.port is not None
    with tls_front(parts.port, context, negotiation) as port:
        yield parts._replace(netloc=f"127.0.0.1:{port}").geturl()


def as_user(url: str, user: str, world: World, pair: Pair | None = None) -> str:
    """The URL for a user who trusts our authority, with a certificate."""
    own = f"&sslcert={pair.certificate}&sslkey={pair.key}" if pair else ""
    return f"{url.replace('//', f'//{user}@')}?sslmode=verify-full&sslrootcert={world.ours.file}{own}"


async def used(url: str) -> str:
    async with database.connect(url, "graph", pool_size=1) as pool:
        await database.wait_for_schema(pool, "graph")
        return str(await pool.fetchval("SELECT current_user"))


async def trouble(url: str) -> str:
    """What is logged while no connection comes about, or what ends the attempt."""
    with capture_logs() as logged:
        using = asyncio.create_task(used(url))
        await until(lambda: logged or using.done(), "something is said", 15)
        using.cancel()
        await asyncio.wait({using})
    assert using.cancelled(), using
    return str(logged[0]["reason"])


async def test_a_service_and_migrations_connect_with_certificates(world: World, database_url: str) -> None:
    mine = world.ours.sign("graph")
    with front(database_url, world, world.ours.sign("postgres")) as url:
        await asyncio.to_thread(migrate.migrate, as_user(url, "blockyard", world, mine), ["graph"])
        assert await used(as_user(url, "graph", world, mine)) == "graph"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("expired", "certificate has expired"),
        ("of another authority", "unable to get local issuer certificate"),
        ("for another host", "certificate is not valid for '127.0.0.1'"),
    ],
)
async def test_a_postgresql_with_a_bad_certificate_is_not_used(
    world: World, database_url: str, kind: str, said: str
) -> None:
    bad = {
        "expired": lambda: world.ours.sign("postgres", begins=-2 * HOUR, ends=-HOUR),
        "of another authority": lambda: world.others.sign("postgres"),
        "for another host": lambda: world.ours.sign("postgres", ["postgres.example"]),
    }[kind]()
    with front(database_url, world, bad) as url:
        assert said in await trouble(as_user(url, "graph", world, world.ours.sign("graph")))


@pytest.mark.parametrize("kind", ["none", "of another authority"])
async def test_who_has_no_good_certificate_is_not_let_in(world: World, database_url: str, kind: str) -> None:
    pair = None if kind == "none" else world.others.sign("stranger")
    with front(database_url, world, world.ours.sign("postgres")) as url:
        assert await trouble(as_user(url, "graph", world, pair))


async def test_a_postgresql_without_tls_is_not_used_where_it_is_demanded(
    world: World, database_url: str, postgres: PostgresServer
) -> None:
    plain = urlsplit(database_url)._replace(netloc=f"127.0.0.1:{postgres.port}").geturl()
    said = await trouble(as_user(plain, "graph", world, world.ours.sign("graph")))
    assert "rejected SSL upgrade" in said
