"""Which hosts a secret is for: "api.example.com", "*.example.com" for all hosts below it, either with ":port"."""

import re
from dataclasses import dataclass

from blockyard.egress.errors import EgressRefused
from blockyard.egress.targets import Target, read_host, shown

_SCOPE = re.compile(r"(?P<below>\*\.)?(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]/@]+))(?::(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Scope:
    """A host, or all hosts below one, at one port."""

    host: str
    below: bool
    port: int | None
    """The usual one of http or https if None."""

    def holds(self, target: Target) -> bool:
        """Whether the target is in it."""
        if target.port != (self.port or _DEFAULT_PORTS[target.url.scheme]):
            return False
        if self.below:
            return target.address is None and target.host.endswith(f".{self.host}")
        return target.host == self.host


def read_scope(text: str) -> Scope:
    """The scope; an EgressRefused says what is wrong with it."""
    found = _SCOPE.fullmatch(text.strip())
    if found is None:
        raise EgressRefused(repr(shown(text)), "expected a host or *.domain, and perhaps :port")
    host, address = read_host(found["six"] or found["host"])
    if found["below"] and address is not None:
        raise EgressRefused(repr(shown(text)), "there is nothing below an address")
    return Scope(host, found["below"] is not None, int(found["port"]) if found["port"] else None)
