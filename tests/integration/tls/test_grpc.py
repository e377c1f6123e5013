"""TLS between services: who is let in, who is not, what is said of it, and certificates that are renewed meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from blockyard.certificates import Certificates
from blockyard.client import Client
from blockyard.connection import Connection, find_connection
from blockyard.dev.health import HealthProbe
from blockyard.dev.ports import free_port
from blockyard.errors import NotConfigured, Unavailable
from blockyard.graph.v1 import graph_service_pb2
from blockyard.graph.v1.graph_service_pb2_grpc import GraphServiceServicer, add_GraphServiceServicer_to_server
from blockyard.runner.v1 import catalogue_service_pb2 as messages
from blockyard.runner.v1.catalogue_service_pb2_grpc import (
    CatalogueServiceServicer,
    CatalogueServiceStub,
    add_CatalogueServiceServicer_to_server,
)
from structlog.testing import capture_logs

from services.common import grpc_client, grpc_server, identity
from services.common.config import ServiceSettings
from services.common.errors import StartRefused
from services.common.tls import TlsFiles
from tests import signing
from tests.integration.tls.conftest import World
from tests.stack.certificates import HOUR, Authority, Pair
from tests.waiting import until

Context = grpc.aio.ServicerContext[Any, Any]


class Catalogue(CatalogueServiceServicer):
    """Answers."""

    async def GetRunnableGraph(
        self, request: messages.GetRunnableGraphRequest, context: Context
    ) -> messages.GetRunnableGraphResponse:
        return messages.GetRunnableGraphResponse()


class Graphs(GraphServiceServicer):
    """Answers."""

    async def ListGraphs(
        self, request: graph_service_pb2.ListGraphsRequest, context: Context
    ) -> graph_service_pb2.ListGraphsResponse:
        return graph_service_pb2.ListGraphsResponse()


@asynccontextmanager
async def server(pair: Pair | None, client_ca: Path | None = None, **settings: Any) -> AsyncIterator[str]:
    """A service with this certificate, and its address."""
    values: dict[str, Any] = {"port": 0, "grace_seconds": 0, **signing.SETTINGS, **settings}
    if pair is not None:
        values |= {"tls_certificate": pair.certificate, "tls_key": pair.key, "tls_client_ca": client_ca}
    registrations: list[grpc_server.Registration] = [
        (add_CatalogueServiceServicer_to_server, Catalogue()),  # type: ignore[abstract]  # what a servicer lacks answers UNIMPLEMENTED
        (add_GraphServiceServicer_to_server, Graphs()),  # type: ignore[abstract]  # likewise
    ]
    async with grpc_server.serve(ServiceSettings(**values), registrations, {}) as listening:
        yield listening.address


async def call(address: str, files: TlsFiles) -> None:
    """As another service does."""
    credentials = grpc_client.ServiceCredentials(signing.SERVICE_SECRET, "execution", files)
    async with grpc_client.channel(address, credentials) as channel:
        await CatalogueServiceStub(channel).GetRunnableGraph(messages.GetRunnableGraphRequest())


async def trouble(address: str, files: TlsFiles) -> str:
    """What is logged of a call that cannot be made."""
    with capture_logs() as logged:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(address, files)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    (said,) = [one for one in logged if one["event"] == "another service cannot be called"]
    assert said["address"] == address
    return str(said["reason"])


def client(address: str, certificates: Certificates) -> Client:
    """As a user has it."""
    token = identity.user_token(signing.JWT_SECRET, "anna", "user", 60)
    return Client(Connection(address, address, token, certificates=certificates), deadline=1)


async def test_services_with_certificates_of_one_authority_call_each_other(world: World) -> None:
    async with server(world.ours.sign("graph"), world.ours.file) as address:
        await call(address, world.files(world.ours.sign("execution")))


async def test_a_list_of_replicas_is_called_by_the_host_that_they_share(world: World) -> None:
    async with server(world.ours.sign("graph")) as one, server(world.ours.sign("graph-2")) as two:
        await call(f"ipv4:///{one},{two}", world.files())


async def test_a_server_whose_certificate_has_expired_is_not_called(world: World) -> None:
    expired = world.ours.sign("graph", begins=-2 * HOUR, ends=-HOUR)
    async with server(expired) as address:
        assert await trouble(address, world.files()) == "the certificate of the other side has expired"


async def test_a_server_whose_certificate_is_not_valid_yet_is_not_called(world: World) -> None:
    early = world.ours.sign("graph", begins=HOUR, ends=2 * HOUR)
    async with server(early) as address:
        assert "is not valid yet: compare the clocks" in await trouble(address, world.files())


async def test_a_server_of_another_authority_is_not_called(world: World) -> None:
    async with server(world.others.sign("graph")) as address:
        assert "is of an authority that is not trusted here" in await trouble(address, world.files())


async def test_a_server_of_an_authority_with_the_name_of_ours_is_not_called(world: World, tmp_path: Path) -> None:
    impostor = Authority(tmp_path / "impostor", "our authority")
    async with server(impostor.sign("graph")) as address:
        assert "is of an authority that is not trusted here" in await trouble(address, world.files())


async def test_a_server_with_a_certificate_for_another_host_is_not_called(world: World) -> None:
    async with server(world.ours.sign("graph", ["graph.example"])) as address:
        assert await trouble(address, world.files()) == "the certificate of the other side is for another host"


async def test_a_caller_without_a_certificate_is_refused_where_one_is_demanded(world: World) -> None:
    async with server(world.ours.sign("graph"), world.ours.file) as address:
        assert "it may demand TLS (grpcs://), or a certificate that it trusts" in await trouble(address, world.files())


@pytest.mark.parametrize("kind", ["expired", "of another authority"])
async def test_a_caller_with_a_bad_certificate_is_refused_where_one_is_demanded(world: World, kind: str) -> None:
    bad = world.ours.sign("old", begins=-2 * HOUR, ends=-HOUR) if kind == "expired" else world.others.sign("stranger")
    async with server(world.ours.sign("graph"), world.ours.file) as address:
        assert "a certificate that it trusts" in await trouble(address, world.files(bad))


async def test_a_caller_in_plain_text_is_refused_by_a_server_with_tls(world: World) -> None:
    async with server(world.ours.sign("graph")) as address:
        assert "it may demand TLS" in await trouble(address, TlsFiles())


async def test_a_caller_with_tls_does_not_talk_to_a_server_without(world: World) -> None:
    async with server(None) as address:
        assert await trouble(address, world.files()) == "the other side speaks no TLS"


async def test_a_renewed_certificate_is_used_without_a_restart(world: World, tmp_path: Path) -> None:
    pair = world.ours.sign("graph", ["graph.example"])
    async with server(pair) as address:
        await trouble(address, world.files())
        world.ours.sign("graph")

        await until(lambda: _succeeds(address, world.files()), "the renewed certificate is used", 10)


async def test_a_certificate_that_is_of_no_use_does_not_replace_the_one_before(world: World) -> None:
    pair = world.ours.sign("graph")
    async with server(pair) as address:
        await call(address, world.files())
        with capture_logs() as logged:
            pair.certificate.write_bytes(world.ours.sign("other").certificate.read_bytes())
            await until(lambda: _told_after_a_call(address, world, logged), "the bad certificate is told of", 10)
            await call(address, world.files())

    (said, *_) = [one["reason"] for one in logged if one["event"].startswith("a renewed certificate is of no use")]
    assert f"{pair.certificate} and {pair.key} are no certificate with its key" in said


async def _succeeds(address: str, files: TlsFiles) -> bool:
    try:
        await call(address, files)
    except grpc.aio.AioRpcError:
        return False
    return True


async def _told_after_a_call(address: str, world: World, logged: list[Any]) -> bool:
    assert await _succeeds(address, world.files())
    return any(one["event"].startswith("a renewed certificate is of no use") for one in logged)


async def test_a_channel_goes_on_with_the_certificate_that_its_service_was_given_anew(world: World) -> None:
    pair = world.others.sign("execution")
    files = TlsFiles(pair.certificate, pair.key, world.ours.file)
    credentials = grpc_client.ServiceCredentials(signing.SERVICE_SECRET, "execution", files)
    async with (
        server(world.ours.sign("graph"), world.ours.file) as address,
        grpc_client.channel(address, credentials) as channel,
    ):
        stub = CatalogueServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetRunnableGraph(messages.GetRunnableGraphRequest())
        good = world.ours.sign("good")
        pair.key.write_bytes(good.key.read_bytes())
        pair.certificate.write_bytes(good.certificate.read_bytes())

        async def answered() -> bool:
            try:
                await stub.GetRunnableGraph(messages.GetRunnableGraphRequest())
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(answered, "the channel uses the new certificate", 10)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("tls_certificate", b"no certificate", "are no certificate with its key in PEM"),
        ("tls_key", b"no key", "are no certificate with its key in PEM"),
        ("tls_key", None, "in PEM that can be read .No such file"),
        ("tls_client_ca", b"nothing", "holds no certificates of authorities in PEM"),
    ],
)
async def test_a_server_does_not_start_with_files_that_are_of_no_use(
    world: World, file: str, content: bytes | None, said: str
) -> None:
    pair = world.ours.sign("graph")
    place = {"tls_certificate": pair.certificate, "tls_key": pair.key, "tls_client_ca": world.ours.file}[file]
    place.unlink()
    if content is not None:
        place.write_bytes(content)

    with pytest.raises(StartRefused, match=said):
        async with server(pair, world.ours.file):
            pass


async def test_probes_ask_for_health_in_plain_text_where_certificates_are_demanded(world: World) -> None:
    port = free_port()
    async with server(world.ours.sign("graph"), world.ours.file, health_port=port) as address:
        beside, at_the_service = HealthProbe(f"127.0.0.1:{port}"), HealthProbe(address)
        assert await beside.serving(5)
        assert not await at_the_service.serving(1)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await CatalogueServiceStub(channel).GetRunnableGraph(messages.GetRunnableGraphRequest())
        await asyncio.gather(beside.close(), at_the_service.close())

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_health_port_that_is_taken_is_refused_in_a_sentence(world: World) -> None:
    async with server(None) as address:
        with pytest.raises(StartRefused, match=r"Health cannot be served on 127\.0\.0\.1:\d+: the port is taken"):
            async with server(None, health_port=int(address.rpartition(":")[2])):
                pass


async def test_a_client_calls_over_tls_with_the_files_that_it_is_given(world: World) -> None:
    mine = world.ours.sign("anna")
    files = Certificates(str(world.ours.file), str(mine.certificate), str(mine.key))
    async with (
        server(world.ours.sign("graph"), world.ours.file) as address,
        client(f"grpcs://{address}", files) as anna,
    ):
        assert [graph async for graph in anna.graphs.list()] == []


async def test_a_client_is_told_what_is_wrong_with_tls(world: World) -> None:
    ca = Certificates(str(world.ours.file))
    async with server(world.ours.sign("graph"), world.ours.file) as address:
        cases = {
            (f"grpcs://{address}", ca): "or a certificate that it trusts",
            (address, ca): "it may demand TLS (grpcs://)",
            (f"grpcs://{address}", Certificates()): "of an authority that is not trusted here",
            (f"grpcs://{address}", Certificates(str(world.others.file))): "of an authority that is not trusted here",
        }
        for (where, files), sentence in cases.items():
            async with client(where, files) as anna:
                with pytest.raises(Unavailable) as refused:
                    _ = [graph async for graph in anna.graphs.list()]
            assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("missing", "", ""), "certificates cannot be read: .*missing"),
        (("text", "", ""), "no certificates in PEM that fit: .*text"),
        (("", "certificate", ""), "a certificate is of no use without its key"),
        (("", "certificate", "other key"), "no certificates in PEM that fit"),
    ],
)
async def test_files_that_are_of_no_use_to_a_client_are_named(
    world: World, tmp_path: Path, files: tuple[str, str, str], said: str
) -> None:
    (tmp_path / "text").write_text("no certificate")
    places = {
        "": "",
        "certificate": str(world.ours.sign("one").certificate),
        "other key": str(world.ours.sign("two").key),
    }
    with pytest.raises(NotConfigured, match=said):
        async with client(
            "grpcs://127.0.0.1:1", Certificates(*(places.get(file, str(tmp_path / file)) for file in files))
        ):
            pass


def test_a_client_finds_its_files_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "ADDRESS": "grpcs://example:443",
        "TOKEN": "t",
        "CA_FILE": "/ca",
        "CERTIFICATE_FILE": "/c",
        "KEY_FILE": "/k",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"BLOCKYARD_{name}", value)

    assert find_connection().certificates == Certificates("/ca", "/c", "/k")
