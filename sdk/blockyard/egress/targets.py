"""Reads a URL into the host, port and address that a request would go to, and refuses what is not plain.

The URL that is checked is the object that is sent: nothing reads the text a second time, in another way.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address

from yarl import URL

from blockyard.egress.addresses import Address, read_ipv4
from blockyard.egress.errors import EgressRefused

MAX_URL_CHARACTERS = 8_192
# Spaces, control characters and backslashes: parsers disagree about where the host ends.
_UNCLEAN = re.compile(r"[\x00-\x20\x7f\\]")
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    url: URL
    host: str
    """Lower case, without a dot at its end; an address in its usual form."""
    port: int
    address: Address | None
    """None if the host is a name."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """What secrets are given to: scheme, host and port."""
        return self.url.scheme, self.host, self.port

    @property
    def shown(self) -> str:
        """The URL for messages: without its query, which may hold keys."""
        return shown(str(self.url))


def shown(url: str) -> str:
    """A URL for messages: without user, password, query and fragment, and not too long."""
    plain = re.sub(r"//[^/?#]*@", "//***@", re.split(r"[?#]", url, maxsplit=1)[0])
    return plain if len(plain) <= 200 else plain[:200] + "…"


def parse_target(url: str | URL) -> Target:
    """The target of an absolute URL of http or https; an EgressRefused says what is wrong with it."""
    text = str(url)
    what = shown(text)
    if len(text) > MAX_URL_CHARACTERS:
        raise EgressRefused(what, f"the URL is longer than {MAX_URL_CHARACTERS} characters")
    if _UNCLEAN.search(text):
        raise EgressRefused(
            repr(what), "the URL holds a space, a control character or a backslash", "write it as %20 and the like"
        )
    authority = _AUTHORITY.match(text)
    if authority is None:
        raise EgressRefused(repr(what), "expected a URL with http:// or https:// and a host")
    if "@" in authority.group(1):
        raise EgressRefused(
            what, "the URL holds a user name or password", "give credentials in a header, such as Authorization"
        )
    try:
        parsed = URL(text)
        port = parsed.port
    except ValueError as error:
        raise EgressRefused(what, f"this is no URL: {error}") from error
    if parsed.scheme not in ("http", "https"):
        raise EgressRefused(what, f"the scheme {parsed.scheme!r} is not allowed: only http and https are")
    host = parsed.raw_host
    if not host or not port:
        raise EgressRefused(repr(what), "the URL has no host, or port 0")
    host, address = _read_host(host, what)
    if address is not None:
        # As browsers do: the host that is sent is the address in its usual form, however it was written.
        parsed = parsed.with_host(host)
    return Target(parsed, host, port, address)


def read_host(host: str) -> tuple[str, Address | None]:
    """The host as rules compare it, and its address if it is no name; an EgressRefused if it is neither."""
    return _read_host(host, shown(host))


def _read_host(host: str, what: str) -> tuple[str, Address | None]:
    host = host.lower()
    address: Address | None
    try:
        if "%" in host:
            raise ValueError("hosts with % (encoded, or with a zone) are not taken")
        address = IPv6Address(host) if ":" in host else read_ipv4(host)
    except ValueError as error:
        raise EgressRefused(what, f"its host cannot be read: {error}") from error
    if address is not None:
        return str(address), address
    name = host.removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise EgressRefused(what, "its host is no name that DNS allows")
    return name, None
