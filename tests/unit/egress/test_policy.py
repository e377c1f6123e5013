"""What an operator allows, and how a refusal says what to do."""

import asyncio

import pytest
from aiohttp import web
from blockyard.egress import (
    EgressConfigurationError,
    EgressLimits,
    EgressPolicy,
    EgressRefused,
    policy_from_environment,
)
from blockyard.egress.targets import parse_target

from tests.unit.egress.network import Names, egress, http_server, say


def allows(policy: EgressPolicy, url: str, *addresses: str) -> bool:
    """Whether a request may be made, the host being a name with these addresses, or an address."""
    target = parse_target(url)
    try:
        policy.check(target)
        for address in addresses:
            found = parse_target(f"http://[{address}]" if ":" in address else f"http://{address}").address
            assert found is not None
            policy.check_address(target.host, found, target.port)
    except EgressRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("rules", "url", "addresses", "allowed"),
    [
        ("", "http://db.corp/", ["10.0.0.1"], False),
        ("db.corp", "http://db.corp/", ["10.0.0.1"], True),
        ("DB.Corp.", "http://db.corp./", ["10.0.0.1"], True),
        ("db.corp", "http://db.corp:8080/", ["10.0.0.1"], True),
        ("db.corp:8080", "http://db.corp:8080/", ["10.0.0.1"], True),
        ("db.corp:8080", "http://db.corp/", ["10.0.0.1"], False),
        ("db.corp", "http://x.db.corp/", ["10.0.0.1"], False),
        ("db.corp", "http://evildb.corp/", ["10.0.0.1"], False),
        ("*.corp", "http://db.corp/", ["10.0.0.1", "fd00::1"], True),
        ("*.corp", "http://a.b.corp/", ["10.0.0.1"], True),
        ("*.corp", "http://corp/", ["10.0.0.1"], False),
        ("*.corp", "http://evilcorp/", ["10.0.0.1"], False),
        ("*.corp", "http://db.corp/", ["169.254.169.254"], False),
        ("*.corp, 169.254.169.254", "http://db.corp/", ["169.254.169.254"], True),
        ("10.0.0.0/8", "http://10.1.2.3/", [], True),
        ("10.0.0.0/8", "http://db.corp/", ["10.1.2.3"], True),
        ("10.0.0.0/8", "http://db.corp/", ["10.1.2.3", "192.168.0.1"], False),
        ("10.0.0.0/8", "http://[::ffff:10.1.2.3]/", [], True),
        ("10.0.0.0/8", "http://[64:ff9b::10.1.2.3]/", [], True),
        ("10.0.0.0/8", "http://[2002:a01:203::1]/", [], False),
        ("10.0.0.0/8", "http://[::10.1.2.3]/", [], False),
        ("10.0.0.0/8:8443", "https://10.1.2.3:8443/", [], True),
        ("10.0.0.0/8:8443", "https://10.1.2.3/", [], False),
        ("10.1.2.3", "http://10.1.2.3/", [], True),
        ("10.1.2.3", "http://10.1.2.4/", [], False),
        ("0xa.1.2.3", "http://10.1.2.3/", [], True),
        ("169.254.0.0/16", "http://169.254.1.1/", [], True),
        ("169.254.0.0/16", "http://169.254.169.254/", [], False),
        ("0.0.0.0/0, ::/0", "http://[::ffff:169.254.169.254]/", [], False),
        ("0.0.0.0/0, ::/0", "http://[64:ff9b::169.254.169.254]/", [], False),
        ("0.0.0.0/0, ::/0", "http://[2002:a9fe:a9fe::]/", [], False),
        ("169.254.169.254", "http://[::ffff:169.254.169.254]/", [], True),
        ("0.0.0.0/0, ::/0", "http://127.0.0.1/", [], True),
        ("169.254.169.254", "http://169.254.169.254/", [], True),
        ("fd00::/8", "http://[fd12::1]/", [], True),
        ("[fd00::/8]:8080", "http://[fd12::1]:8080/", [], True),
        ("[fd00::/8]:8080", "http://[fd12::1]/", [], False),
        ("::1", "http://[::1]/", [], True),
        ("[::1]:8080", "http://[::1]:8080/", [], True),
    ],
)
def test_rules_allow_what_they_name(rules: str, url: str, addresses: list[str], allowed: bool) -> None:
    assert allows(EgressPolicy.parse(rules), url, *addresses) is allowed


@pytest.mark.parametrize(
    "rule",
    ["10.0.0.0/33", "10.0.0.1/8", "host:0", "host:70000", "host:x", "*.10.0.0.1", "a b", "http://x/", "[::1"],
)
def test_rule_that_cannot_be_read_is_named(rule: str) -> None:
    with pytest.raises(EgressConfigurationError, match="BLOCKYARD_EGRESS_ALLOW"):
        EgressPolicy.parse(f"fine.example, {rule}")


@pytest.mark.parametrize(
    ("url", "open_"),
    [
        ("http://example.com/", True),
        ("https://example.com/", True),
        ("http://example.com:8080/", True),
        ("http://example.com:65535/", True),
        ("http://example.com:25/", False),
        ("http://example.com:22/", False),
        ("http://example.com:1023/", False),
    ],
)
def test_ports_below_1024_are_closed_but_for_the_usual_ones(url: str, open_: bool) -> None:
    assert allows(EgressPolicy(), url) is open_


def test_operator_chooses_the_ports() -> None:
    policy = EgressPolicy.parse(ports="443, 8000-8100")
    assert [allows(policy, f"http://example.com:{port}/") for port in (443, 8000, 8100, 80, 8101)] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_rule_with_a_port_opens_it_for_its_host_alone() -> None:
    policy = EgressPolicy.parse("example.com:81", ports="443")
    assert allows(policy, "http://example.com:81/")
    assert not allows(policy, "http://other.example:81/")


@pytest.mark.parametrize("ports", ["0", "70000", "80-", "x", "90-80"])
def test_port_that_cannot_be_read_is_named(ports: str) -> None:
    with pytest.raises(EgressConfigurationError, match="BLOCKYARD_EGRESS_PORTS"):
        EgressPolicy.parse(ports=ports)


def test_policy_is_what_the_environment_says() -> None:
    policy = policy_from_environment({"BLOCKYARD_EGRESS_ALLOW": "10.0.0.5:8080", "BLOCKYARD_EGRESS_PORTS": "443"})
    assert policy == EgressPolicy.parse("10.0.0.5:8080", "443")
    assert policy_from_environment({}) == EgressPolicy()


@pytest.mark.parametrize(
    "limits",
    [{"connect_seconds": 0}, {"read_seconds": -1}, {"total_seconds": 0}, {"response_bytes": 0}, {"redirects": -1}],
)
def test_limit_without_sense_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        EgressLimits(**limits)


async def test_refusal_says_what_why_and_what_an_operator_can_do() -> None:
    async with egress(names=Names({"db.corp": [["10.0.0.5"]]})) as client:
        with pytest.raises(EgressRefused) as refusal:
            await client.fetch("GET", "http://db.corp:8080/query?key=secret")
    assert str(refusal.value) == (
        "db.corp: the name leads to a private address, which is not reached from here; "
        "an operator can allow it with BLOCKYARD_EGRESS_ALLOW=db.corp:8080"
    )


async def test_what_a_refusal_advises_is_enough() -> None:
    async with http_server(lambda _: say("inside")) as port:
        for url in (f"http://127.0.0.1:{port}/", f"http://inside.example:{port}/"):
            names = Names.of(inside_example="127.0.0.1")
            async with egress(names=names) as client:
                with pytest.raises(EgressRefused) as refusal:
                    await client.fetch("GET", url)
            rule = refusal.value.remedy.rpartition("BLOCKYARD_EGRESS_ALLOW=")[2]
            async with egress(rule, names) as client:
                assert (await client.fetch("GET", url)).text() == "inside"


async def test_other_protocols_get_addresses_that_were_checked() -> None:
    names = Names({"mail.corp": [["10.0.0.25", "fd00::25"]], "mail.example": [["8.8.8.8"]]})
    async with egress("*.corp:25", names) as client:
        assert await client.checked_addresses("mail.corp", 25) == ["10.0.0.25", "fd00::25"]
        assert await client.checked_addresses("mail.example", 587) == ["8.8.8.8"]
        assert await client.checked_addresses("134744072", 587) == ["8.8.8.8"]
        for host, port in (("mail.corp", 587), ("10.0.0.25", 25), ("0x7f.1", 25), ("metadata.google.internal", 25)):
            with pytest.raises(EgressRefused):
                await client.checked_addresses(host, port)


async def test_name_that_changes_after_the_look_up_is_not_followed() -> None:
    """The first answer is allowed; the next one leads to another server. Only the first one is connected to."""
    closing = {"Connection": "close"}
    names = Names({"turns.example": [["127.0.0.1"], ["127.0.0.2"]]})
    async with (
        http_server(lambda _: say("allowed", headers=closing)) as port,
        http_server(lambda _: say("inside", headers=closing), "127.0.0.2", port),
        egress(f"127.0.0.1:{port}", names) as client,
    ):
        assert (await client.fetch("GET", f"http://turns.example:{port}/")).text() == "allowed"
        assert names.asked == ["turns.example"]
        with pytest.raises(EgressRefused, match="leads to a loopback address"):
            await client.fetch("GET", f"http://turns.example:{port}/")


async def test_many_requests_share_a_client_and_no_cookies() -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("Cookie", "none"), headers={"Set-Cookie": "session=secret"})

    async with http_server(handle) as port, egress("127.0.0.1") as client:
        answers = await asyncio.gather(*(client.fetch("GET", f"http://127.0.0.1:{port}/") for _ in range(20)))
        answers.append(await client.fetch("GET", f"http://127.0.0.1:{port}/"))
    assert {answer.text() for answer in answers} == {"none"}
