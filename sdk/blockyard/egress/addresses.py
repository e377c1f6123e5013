"""Which IP addresses are forbidden, and why. What is here knows no configuration.

`ipaddress.is_global` of Python 3.11 is not enough: it takes fec0::/10, NAT64 and IPv4-compatible addresses for global,
and looks into none that embeds an IPv4 address but the mapped ones.
"""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# Instance metadata hands out the credentials of the machine. A rule that covers one of these by the way opens none.
METADATA_ADDRESSES: frozenset[Address] = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, DigitalOcean and most others
        "169.254.170.2",  # AWS, credentials of containers
        "169.254.170.23",  # AWS, credentials of pods
        "168.63.129.16",  # Azure's platform; a public address by its number
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS, credentials of pods
        "fd20:ce::254",  # Google
    )
)
METADATA_NAMES = frozenset(
    {
        "metadata",
        "metadata.goog",
        "metadata.google.internal",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.azure.internal",
    }
)

# The first that holds an address names it.
_FORBIDDEN: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/32", "the unspecified address"),
        ("0.0.0.0/8", "an address of this network"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a shared address of a carrier (CGNAT)"),
        ("127.0.0.0/8", "a loopback address"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a reserved address"),
        ("192.0.2.0/24", "a reserved address (documentation)"),
        ("192.88.99.0/24", "a reserved address (6to4 relays)"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a reserved address (benchmarks)"),
        ("198.51.100.0/24", "a reserved address (documentation)"),
        ("203.0.113.0/24", "a reserved address (documentation)"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
        ("::/128", "the unspecified address"),
        ("::1/128", "a loopback address"),
        ("::/96", "an IPv4-compatible address"),
        ("::ffff:0:0:0/96", "an IPv4-translated address"),
        ("64:ff9b:1::/48", "a local NAT64 address"),
        ("100::/64", "a reserved address (discarded)"),
        ("2001::/32", "a Teredo address"),
        ("2001::/23", "a reserved address"),
        ("2001:db8::/32", "a reserved address (documentation)"),
        ("2002::/16", "a 6to4 address"),
        ("3fff::/20", "a reserved address (documentation)"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
    )
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# Interface identifiers of ISATAP: the IPv4 address is in the last 32 bits.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


def why_forbidden(address: Address) -> str | None:
    """What kind of address it is, if it must not be reached without an operator's leave; None if it may be."""
    if address in METADATA_ADDRESSES:
        return "an address of instance metadata"
    if isinstance(address, IPv6Address) and (inside := embedded_ipv4(address)) is not None:
        kind = why_forbidden(inside)
        if kind is not None:
            return f"{kind} inside an IPv6 address"
        if is_transparent(address):
            return None
    for network, kind in _FORBIDDEN:
        if address in network:
            return kind
    if isinstance(address, IPv6Address) and address not in _GLOBAL_IPV6:
        return "a reserved address"
    return None


def is_metadata(address: Address) -> bool:
    """Whether it is an address of instance metadata, or one is inside."""
    inside = embedded_ipv4(address) if isinstance(address, IPv6Address) else None
    return address in METADATA_ADDRESSES or inside in METADATA_ADDRESSES


def is_transparent(address: IPv6Address) -> bool:
    """Whether it is nothing but another form of an IPv4 address: mapped, or NAT64, which networks without IPv4 use."""
    return address.ipv4_mapped is not None or address in _NAT64


def embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that routers or the kernel would make of it; None if there is none."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    number = int(address)
    last = IPv4Address(number & 0xFFFF_FFFF)
    if address in _NAT64 or (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        return last
    # ::ffff:0:a.b.c.d and ::a.b.c.d. The unspecified address and loopback have names of their own.
    if number >> 32 == 0xFFFF_0000 or (number >> 32 == 0 and number > 1):
        return last
    return None


def forms(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address that it is another form of."""
    yield address
    if isinstance(address, IPv6Address) and is_transparent(address):
        inside = embedded_ipv4(address)
        if inside is not None:
            yield inside


def read_ipv4(host: str) -> IPv4Address | None:
    """The IPv4 address that a resolver would read: decimal, octal or hex, in one to four parts. None for a name.

    A ValueError for what ends in a number and is no address: some resolvers would make one of it.
    """
    parts = host.removesuffix(".").split(".")
    if not _NUMBER.fullmatch(parts[-1]):
        return None
    numbers = [_read_number(part) for part in parts]
    if len(numbers) > 4 or any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        raise ValueError(f"{host!r} is no IPv4 address")
    value = numbers[-1]
    for place, number in enumerate(numbers[:-1]):
        value += number << (8 * (3 - place))
    return IPv4Address(value)


def _read_number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or len(text) > 32:
        raise ValueError(f"{text[:32]!r} is no part of an IPv4 address")
    if text[:2] in ("0x", "0X"):
        return int(text[2:] or "0", 16)
    return int(text, 8) if text[0] == "0" else int(text)
