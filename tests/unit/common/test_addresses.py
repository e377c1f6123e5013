"""From which address a call came, when proxies may lie."""

import pytest

from services.common.addresses import caller_address, parse_networks

TRUSTED = parse_networks("10.0.0.0/8, fd00::/8,127.0.0.1/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("ipv4:192.0.2.7:4711", "", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:4711", "", "2001:db8::1"),
        ("ipv6:[2001:db8::1]:4711", "", "2001:db8::1"),
        ("ipv6:%5B::ffff:192.0.2.7%5D:4711", "", "192.0.2.7"),
        ("unix:/tmp/socket", "198.51.100.1", ""),
        ("unknown", "", ""),
        # Nobody but a proxy that is trusted says where a call came from.
        ("ipv4:192.0.2.7:4711", "198.51.100.1", "192.0.2.7"),
        ("ipv4:10.1.2.3:4711", "198.51.100.1", "198.51.100.1"),
        # What the caller wrote stands before what the proxy added.
        ("ipv4:10.1.2.3:4711", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("ipv4:10.1.2.3:4711", "1.1.1.1, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("ipv4:10.1.2.3:4711", "10.4.4.4, 10.9.9.9", "10.4.4.4"),
        ("ipv4:10.1.2.3:4711", "nonsense, 198.51.100.1", "198.51.100.1"),
        ("ipv4:10.1.2.3:4711", "198.51.100.1, nonsense", "10.1.2.3"),
        ("ipv4:10.1.2.3:4711", "'; DROP TABLE", "10.1.2.3"),
        ("ipv4:10.1.2.3:4711", ", ,", "10.1.2.3"),
        # The zone of an address may be any text.
        ("ipv4:10.1.2.3:4711", "fe80::1%" + "<x>" * 500, "fe80::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:4711", "", "fe80::1"),
    ],
)
def test_the_last_address_that_is_no_trusted_proxys_is_the_caller(peer: str, forwarded: str, expected: str) -> None:
    assert caller_address(peer, forwarded, TRUSTED) == expected


def test_without_trusted_proxies_nothing_that_is_forwarded_counts() -> None:
    assert caller_address("ipv4:10.1.2.3:4711", "198.51.100.1", ()) == "10.1.2.3"


@pytest.mark.parametrize("text", ["10.0.0.0/33", "proxy.example.org", "10.0.0.1/8"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_networks(text)
