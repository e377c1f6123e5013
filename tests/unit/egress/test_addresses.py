"""The table of tricks, tried in each way that leads to an address: in a URL, behind a name, behind a redirect."""

from ipaddress import ip_address

import pytest
from aiohttp import web
from blockyard.egress import EgressRefused
from blockyard.egress.addresses import METADATA_ADDRESSES, METADATA_NAMES, read_ipv4, why_forbidden

from tests.unit.egress.network import Names, egress, http_server
from tests.unit.egress.tricks import ADDRESSES, HOSTS, PUBLIC, parameters


@pytest.mark.parametrize(("host", "words"), parameters(HOSTS))
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_host_of_a_url_is_refused(scheme: str, host: str, words: str) -> None:
    names = Names({})
    async with egress(names=names) as client:
        with pytest.raises(EgressRefused, match=words):
            await client.fetch("GET", f"{scheme}://{host}/latest/meta-data")
    # Nobody was asked for a name: it was refused for what it is.
    assert names.asked == []


@pytest.mark.parametrize(("address", "words"), parameters(ADDRESSES))
async def test_name_that_leads_there_is_refused(address: str, words: str) -> None:
    names = Names({"evil.example": [[address]], "mixed.example": [["8.8.8.8", "2a00:1450::1", address]]})
    async with egress(names=names) as client:
        for name in ("evil.example", "mixed.example"):
            with pytest.raises(EgressRefused, match=words) as refusal:
                await client.fetch("GET", f"http://{name}/")
            # Users do not learn the addresses of names inside.
            assert address not in str(refusal.value)


@pytest.mark.parametrize(("host", "words"), parameters(HOSTS))
async def test_redirect_there_is_refused(host: str, words: str) -> None:
    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"http://{host}/"})

    async with (
        http_server(redirect) as port,
        egress(f"first.example:{port}", Names.of(first_example="127.0.0.1")) as client,
    ):
        with pytest.raises(EgressRefused, match=words):
            await client.fetch("GET", f"http://first.example:{port}/")


@pytest.mark.parametrize(("address", "words"), parameters(ADDRESSES))
async def test_redirect_to_a_name_that_leads_there_is_refused(address: str, words: str) -> None:
    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "//second.example/"})

    names = Names({"first.example": [["127.0.0.1"]], "second.example": [[address]]})
    async with http_server(redirect) as port, egress(f"first.example:{port}", names) as client:
        with pytest.raises(EgressRefused, match=words):
            await client.fetch("GET", f"http://first.example:{port}/")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_not_forbidden(address: str) -> None:
    assert why_forbidden(ip_address(address)) is None


@pytest.mark.parametrize("address", sorted(map(str, METADATA_ADDRESSES)))
def test_metadata_is_named_as_such(address: str) -> None:
    assert "instance metadata" in (why_forbidden(ip_address(address)) or "")


@pytest.mark.parametrize("name", sorted(METADATA_NAMES))
async def test_name_of_metadata_is_refused_whatever_it_leads_to(name: str) -> None:
    async with egress(f"{name}, *.internal", Names({name: [["8.8.8.8"]]})) as client:
        with pytest.raises(EgressRefused, match="a name of instance metadata"):
            await client.fetch("GET", f"http://{name}/")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("134744072", "8.8.8.8"),
        ("0x8.0x8.0x8.0x8", "8.8.8.8"),
        ("010.010.010.010", "8.8.8.8"),
        ("8.8.2056", "8.8.8.8"),
        ("8.526344", "8.8.8.8"),
        ("255.255.255.255", "255.255.255.255"),
        ("4294967295", "255.255.255.255"),
    ],
)
def test_forms_of_an_address_are_read_as_resolvers_do(host: str, address: str) -> None:
    assert str(read_ipv4(host)) == address


@pytest.mark.parametrize("host", ["example.com", "1.example", "0x7f.example", "a1", "1a", "-", "x.0y"])
def test_name_is_no_address(host: str) -> None:
    assert read_ipv4(host) is None


async def test_odd_form_of_an_allowed_address_is_sent_in_its_usual_form() -> None:
    async def tell_host(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["Host"])

    async with http_server(tell_host) as port, egress("127.0.0.0/8") as client:
        answer = await client.fetch("GET", f"http://0x7f.1:{port}/")
    assert answer.text() == f"127.0.0.1:{port}"
