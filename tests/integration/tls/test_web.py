"""The web server shows the certificate of the moment."""

import asyncio
import ssl
from pathlib import Path

import pytest
from blockyard.dev.ports import free_port
from starlette.routing import Route

from services.common.errors import StartRefused
from services.notification.config import NotificationSettings
from services.notification.web import server
from tests.integration.tls.conftest import World
from tests.stack.certificates import Pair
from tests.waiting import until


def settings(world: World, pair: Pair, port: int) -> NotificationSettings:
    return NotificationSettings.model_validate(
        {
            "web_port": port,
            "tls_certificate": pair.certificate,
            "tls_key": pair.key,
            "tls_client_ca": world.ours.file,
            "service_secret": "s" * 32,
            "runner_secret": "r" * 32,
            "jwt_secret": "j" * 32,
            "database_url": "postgresql://notification@127.0.0.1/none",
        }
    )


async def shown(world: World, own: Pair | None, port: int) -> str:
    """The serial number of the certificate that a client is shown, once the server has answered it."""
    context = ssl.create_default_context(cafile=world.ours.file)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"GET /none HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        found = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
        return str(found)
    finally:
        writer.transport.abort()


async def test_a_renewed_certificate_is_shown_and_clients_are_still_asked_for_theirs(world: World) -> None:
    pair, own, port = world.ours.sign("web"), world.ours.sign("edge"), free_port()
    async with server.serve(settings(world, pair, port), [Route("/", lambda _: None)]):
        before = await shown(world, own, port)
        world.ours.sign("web")

        async def is_renewed() -> bool:
            return await shown(world, own, port) != before

        await until(is_renewed, "the renewed certificate is shown")
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await shown(world, None, port)
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await shown(world, world.others.sign("stranger"), port)


async def test_a_key_that_does_not_fit_is_refused_in_words(world: World, tmp_path: Path) -> None:
    pair = Pair(world.ours.sign("web").certificate, world.ours.sign("other").key)
    with pytest.raises(StartRefused, match="no certificate with its key"):
        async with server.serve(settings(world, pair, free_port()), []):
            pass
