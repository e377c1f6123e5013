"""What may be reached, and within which limits: one frozen object, made from what an operator has set."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network

from blockyard.egress.addresses import METADATA_NAMES, Address, Network, forms, is_metadata, why_forbidden
from blockyard.egress.errors import ALLOW_VARIABLE, PORTS_VARIABLE, EgressConfigurationError, EgressRefused
from blockyard.egress.targets import Target, read_host

# Without the ports below 1024 that speak something else: a request to port 25 is a mail to whoever listens.
DEFAULT_PORTS = (range(80, 81), range(443, 444), range(1024, 65536))
_RULE = re.compile(r"\[(?P<six>[^\]]+)\](?::(?P<six_port>[0-9]+))?|(?P<host>[^:\[\]]+)(?::(?P<port>[0-9]+))?")


@dataclass(frozen=True, slots=True)
class EgressLimits:
    """The limits of one request with all its redirects."""

    connect_seconds: float = 10.0
    """Until there is a connection: look-up, connecting and TLS."""
    read_seconds: float = 30.0
    """Between two pieces of the answer."""
    total_seconds: float = 120.0
    """From the first look-up to the last byte, redirects included."""
    response_bytes: int = 32 << 20
    """Of the body, as it is on the way and as it is unpacked."""
    redirects: int = 10

    def __post_init__(self) -> None:
        for name in ("connect_seconds", "read_seconds", "total_seconds", "response_bytes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        if self.redirects < 0:
            raise ValueError(f"redirects: expected 0 or more, got {self.redirects}")


@dataclass(frozen=True, slots=True)
class AllowRule:
    """A host, all hosts below a domain, or a network that may be reached all the same; at one port, or at any."""

    name: str = ""
    """A host, or *.domain; empty if the rule is about addresses."""
    network: Network | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> "AllowRule":
        """`host`, `*.domain`, an address or a CIDR, each with `:port` if wanted; `[fd00::/8]:443` for IPv6."""
        text = text.strip()
        try:
            # IPv6 without brackets has no port.
            if text.count(":") > 1 and not text.startswith("["):
                return cls(network=IPv6Network(text))
            match = _RULE.fullmatch(text)
            if match is None:
                raise ValueError("expected a host, *.domain or CIDR, and perhaps :port")
            port = _read_port(match["six_port"] or match["port"])
            if match["six"]:
                return cls(network=IPv6Network(match["six"]), port=port)
            return cls._of_host(match["host"].lower(), port)
        except (ValueError, EgressRefused) as error:
            raise EgressConfigurationError(f"{ALLOW_VARIABLE}: {text!r}: {error}") from error

    @classmethod
    def _of_host(cls, host: str, port: int | None) -> "AllowRule":
        if "/" in host:
            return cls(network=IPv4Network(host), port=port)
        name, address = read_host(host.removeprefix("*."))
        if address is None:
            return cls(name=f"*.{name}" if host.startswith("*.") else name, port=port)
        if host.startswith("*."):
            raise ValueError("an address has no hosts below it")
        return cls(network=ip_network(address), port=port)

    def allows_name(self, host: str, port: int) -> bool:
        """Whether the rule is about this host and port by name."""
        if not self.name or self.port not in (None, port):
            return False
        return host == self.name or (self.name.startswith("*.") and host.endswith(self.name[1:]))

    def allows_address(self, address: Address, port: int) -> bool:
        """Whether the rule is about this address and port. One of metadata needs a rule for it alone."""
        network = self.network
        if network is None or self.port not in (None, port):
            return False
        if is_metadata(address) and network.num_addresses > 1:
            return False
        return any(form.version == network.version and form in network for form in forms(address))


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What an operator allows beyond the public network, the ports, and the limits of a request."""

    allow: tuple[AllowRule, ...] = ()
    ports: tuple[range, ...] = DEFAULT_PORTS
    limits: EgressLimits = field(default_factory=EgressLimits)

    @classmethod
    def parse(cls, allow: str = "", ports: str = "", limits: EgressLimits | None = None) -> "EgressPolicy":
        """From comma lists: `allow` of rules (see AllowRule), `ports` of numbers and ranges such as 1024-65535."""
        rules = tuple(AllowRule.parse(rule) for rule in _items(allow))
        opened = tuple(_read_ports(item) for item in _items(ports)) or DEFAULT_PORTS
        return cls(rules, opened, limits or EgressLimits())

    def check(self, target: Target) -> None:
        """Raises an EgressRefused if a request to it must not be made. Names still have addresses to be checked."""
        host, port = target.host, target.port
        if not any(port in ports for ports in self.ports) and not self._opens_port(target):
            raise EgressRefused(
                target.shown,
                f"port {port} is not open for requests",
                f"an operator can open it with {PORTS_VARIABLE} or {ALLOW_VARIABLE}={_place(host, port)}",
            )
        self.check_host(host, target.address, port)

    def check_host(self, host: str, address: Address | None, port: int) -> None:
        """As `check`, for what speaks something else than HTTP and knows its own ports."""
        if address is not None:
            self.check_address(host, address, port)
        elif host in METADATA_NAMES:
            raise _refused(host, port, "this is a name of instance metadata", by_name=False)

    def check_address(self, host: str, address: Address, port: int) -> None:
        """Raises an EgressRefused if this address, which the host is or has, must not be connected to."""
        kind = why_forbidden(address)
        if kind is None or any(rule.allows_address(address, port) for rule in self.allow):
            return
        metadata = is_metadata(address)
        if not metadata and any(rule.allows_name(host, port) for rule in self.allow):
            return
        is_name = host != str(address)
        why = f"the name leads to {kind}" if is_name else f"this is {kind}"
        raise _refused(host, port, why, by_name=not metadata or not is_name)

    def _opens_port(self, target: Target) -> bool:
        """Whether a rule names this port for this host. Its addresses are checked all the same."""
        rules = [rule for rule in self.allow if rule.port == target.port]
        if target.address is None:
            return any(rule.allows_name(target.host, target.port) for rule in rules)
        return any(rule.allows_address(target.address, target.port) for rule in rules)


def _refused(host: str, port: int, why: str, *, by_name: bool = True) -> EgressRefused:
    remedy = f"{ALLOW_VARIABLE}={_place(host, port)}" if by_name else f"the address itself in {ALLOW_VARIABLE}"
    return EgressRefused(host, f"{why}, which is not reached from here", f"an operator can allow it with {remedy}")


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _items(text: str) -> Iterable[str]:
    return (item.strip() for item in text.split(",") if item.strip())


def _read_port(text: str | None) -> int | None:
    if text is None:
        return None
    port = int(text)
    if not 1 <= port <= 65535:
        raise ValueError(f"port {port} is not between 1 and 65535")
    return port


def _read_ports(text: str) -> range:
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise EgressConfigurationError(f"{PORTS_VARIABLE}: {text!r}: expected a port such as 80, or 1024-65535")
    return range(first, last + 1)
