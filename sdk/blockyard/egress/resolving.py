"""Looks names up, and hands on only addresses that may be reached.

What is handed on is what is connected to: there is no second look-up that could answer otherwise (DNS rebinding).
"""

import socket
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from blockyard.egress.errors import EgressFailed
from blockyard.egress.policy import EgressPolicy
from blockyard.egress.targets import read_host


class CheckedResolver(AbstractResolver):
    """Refuses a name if any of its addresses is refused: which one is connected to is not ours to say."""

    def __init__(self, policy: EgressPolicy, resolver: AbstractResolver) -> None:
        self._policy = policy
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """All addresses of the name; an EgressRefused if one of them must not be reached."""
        name, _ = read_host(host)
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            # A zone (fe80::1%eth0) is no part of what rules are about.
            self._policy.check_address(name, ip_address(result["host"].partition("%")[0]), port)
        if not found:
            raise EgressFailed(f"{name}: has no address")
        return found

    async def close(self) -> None:
        """Close the resolver that looks up."""
        await self._resolver.close()
