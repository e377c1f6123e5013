"""How addresses are written; and from which one a call came: the connection's, or what trusted proxies say of it."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks that a setting lists, parted by commas. Raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def host_and_port(host: str, port: int) -> str:
    """Both in one, as gRPC reads it: addresses of IPv6 stand in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=4096)
def caller_address(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> str:
    """The address of the caller; "" if the connection has none (a socket of this machine).

    Each proxy adds to the end of x-forwarded-for whom it was called by. So the last one that is no trusted proxy's is
    the caller; what stands before it is whatever the caller has written there. A connection's calls ask the same again.
    """
    address = _of_peer(peer)
    if address is None:
        return ""
    for part in reversed(forwarded_for.split(",") if forwarded_for and trusted else []):
        if not _is_in(address, trusted):
            break
        before = _parsed(part.strip())
        if before is None:
            break
        address = before
    return str(address)


def _of_peer(peer: str) -> Address | None:
    """gRPC names peers "ipv4:127.0.0.1:4711" and "ipv6:%5B::1%5D:4711"."""
    kind, _, rest = peer.partition(":")
    return _parsed(unquote(rest).rpartition(":")[0].strip("[]")) if kind in ("ipv4", "ipv6") else None


def _parsed(text: str) -> Address | None:
    try:
        # Without the zone of a link: it says nothing elsewhere, and may be any text of any length.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
