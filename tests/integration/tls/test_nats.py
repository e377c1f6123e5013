"""TLS to NATS: who is taken for NATS, who is let in, what is logged of it, and files that change meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from blockyard.certificates import Certificates
from blockyard.dev import nats_users
from blockyard.dev.nats import NatsServer, start_nats
from structlog.testing import capture_logs

from services.common.bus import connect
from services.common.errors import StartRefused
from services.common.expiry import EXPIRY
from services.common.nats_access import NatsAccess
from services.common.tls import TlsFiles
from tests.integration.tls.conftest import World
from tests.metrics import value
from tests.stack.certificates import HOUR, Pair
from tests.waiting import until

USERS = ["default"]


@asynccontextmanager
async def nats(folder: Path, world: World, pair: Pair) -> AsyncIterator[NatsServer]:
    """A server with this certificate, which demands one of its clients."""
    files = Certificates(str(world.ours.file), str(pair.certificate), str(pair.key))
    async with await start_nats(folder / "nats", certificates=files) as server:
        yield server


async def connected(url: str, access: NatsAccess) -> None:
    async with connect(url, "test", access) as bus:
        await bus.flush()


async def trouble(url: str, access: NatsAccess) -> str:
    """What is logged while no connection comes about."""
    with capture_logs() as logged:
        connecting = asyncio.create_task(connected(url, access))
        await until(lambda: logged or connecting.done(), "something is said", 15)
        connecting.cancel()
        await asyncio.wait({connecting})
    assert connecting.cancelled(), connecting
    assert logged[0]["event"] == "NATS is not reachable, trying on"
    return str(logged[0]["error"])


async def test_with_certificates_of_one_authority_there_is_a_connection(world: World, tmp_path: Path) -> None:
    async with nats(tmp_path, world, world.ours.sign("nats")) as server:
        assert server.url.startswith("tls://")
        EXPIRY.clear()
        await connected(server.url, NatsAccess(tls=world.files(world.ours.sign("execution"))))
    ends = value("blockyard_certificate_expiry_timestamp_seconds", of="nats")
    assert 0 < ends - time.time() < HOUR.total_seconds() + 1


async def test_a_nats_whose_certificate_has_expired_is_not_used(world: World, tmp_path: Path) -> None:
    expired = world.ours.sign("nats", begins=-2 * HOUR, ends=-HOUR)
    async with nats(tmp_path, world, expired) as server:
        said = await trouble(server.url, NatsAccess(tls=world.files(world.ours.sign("execution"))))
    assert "certificate has expired" in said


async def test_a_nats_of_another_authority_is_not_used(world: World, tmp_path: Path) -> None:
    async with nats(tmp_path, world, world.others.sign("nats")) as server:
        said = await trouble(server.url, NatsAccess(tls=world.files(world.ours.sign("execution"))))
    assert "unable to get local issuer certificate" in said


async def test_a_nats_with_a_certificate_for_another_host_is_not_used(world: World, tmp_path: Path) -> None:
    async with nats(tmp_path, world, world.ours.sign("nats", ["nats.example"])) as server:
        said = await trouble(server.url, NatsAccess(tls=world.files(world.ours.sign("execution"))))
    assert "certificate is not valid for '127.0.0.1'" in said


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("none", "client didn't provide a certificate"),
        ("expired", "certificate has expired"),
        ("of another authority", "signed by unknown authority"),
    ],
)
async def test_who_has_no_good_certificate_is_refused_by_nats(
    world: World, tmp_path: Path, kind: str, reason: str
) -> None:
    pairs = {
        "expired": world.ours.sign("old", begins=-2 * HOUR, ends=-HOUR),
        "of another authority": world.others.sign("stranger"),
    }
    async with nats(tmp_path, world, world.ours.sign("nats")) as server:
        # The client may see no more than that the connection was lost; the server's log has the reason.
        assert await trouble(server.url, NatsAccess(tls=world.files(pairs.get(kind))))
        await until(lambda: reason in server.process.last_lines(), "NATS says why")


async def test_nats_with_tls_takes_no_connection_in_plain_text(world: World, tmp_path: Path) -> None:
    async with nats(tmp_path, world, world.ours.sign("nats")) as server:
        said = await trouble(f"nats://{server.address}", NatsAccess())
    assert "certificate verify failed" in said


async def test_nothing_is_told_to_a_nats_that_speaks_no_tls_where_tls_is_demanded(world: World, tmp_path: Path) -> None:
    users = nats_users.users(USERS, {name: f"password-of-{name}" for name in nats_users.names(USERS)})
    async with await start_nats(tmp_path / "nats", users=users, settings={"debug": "true", "trace": "true"}) as server:
        url = f"tls://execution:{users[1].password}@{server.address}"
        said = await trouble(url, NatsAccess(tls=world.files()))
        log = server.process.log_file.read_text()
    assert "the server does not demand TLS, and the URL begins with tls://" in said
    assert "[CONNECT" not in log


async def test_a_renewed_certificate_is_used_at_the_next_connection(world: World, tmp_path: Path) -> None:
    pair = world.ours.sign("execution")
    async with (
        nats(tmp_path, world, world.ours.sign("nats")) as server,
        connect(server.url, "test", NatsAccess(tls=world.files(pair))) as bus,
    ):
        await server.kill()
        await until(lambda: not bus.connected, "the connection is lost")
        world.ours.sign("execution", begins=-2 * HOUR, ends=-HOUR)
        await server.start()
        await until(lambda: "certificate has expired" in server.process.last_lines(), "the expired one is refused", 15)
        assert not bus.connected
        world.ours.sign("execution")
        await until(lambda: bus.connected, "the renewed certificate is taken", 15)


async def test_a_password_from_a_file_is_read_at_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "password"
    users = nats_users.users(USERS, {name: f"password-of-{name}" for name in nats_users.names(USERS)})
    file.write_text("password-of-execution\n")
    async with await start_nats(tmp_path / "nats", users=users) as server:
        url = f"nats://{server.address}"
        async with connect(url, "test", NatsAccess("execution", file)) as bus:
            assert bus.new_inbox().startswith("_INBOX.execution.")
            await server.kill()
            await until(lambda: not bus.connected, "the connection is lost")
            file.write_text("another password\n")
            await server.start()
            # What the client logs is not repeated so soon.
            await until(lambda: "authentication error" in server.process.log_file.read_text(), "it is refused", 15)
            file.write_text("password-of-execution\n")
            await until(lambda: bus.connected, "the password is taken", 15)
        assert "No such file" in await trouble(url, NatsAccess("execution", tmp_path / "none"))


async def test_files_that_are_of_no_use_end_the_start_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nothing")

    with pytest.raises(StartRefused, match="ca holds no certificates of authorities in PEM"):
        await connected("tls://127.0.0.1:1", NatsAccess(tls=TlsFiles(ca=tmp_path / "ca")))
