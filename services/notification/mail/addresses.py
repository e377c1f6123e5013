"""E-mail addresses, as mail servers take them."""

from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import parseaddr


class AddressUnusable(Exception):
    """No mail can be sent to the address."""


def usable(email: str) -> str:
    """An address in ASCII, as all mail servers take it. Raises AddressUnusable."""
    local, _, domain = email.rpartition("@")
    if not local.isascii():
        # Servers that take such addresses (SMTPUTF8) are few, and it is not known before which one is on the way.
        raise AddressUnusable('the address has letters outside of ASCII before the "@"')
    try:
        address = f"{local}@{domain if domain.isascii() else domain.encode('idna').decode('ascii')}"
        if not local or not domain:
            raise AddressUnusable("the address is no e-mail address")
        Address(addr_spec=address)
    except (UnicodeError, ValueError, HeaderParseError, IndexError):
        raise AddressUnusable("the address is no e-mail address") from None
    if any(letter in address for letter in "\r\n\0 <>") or not address.isprintable():
        raise AddressUnusable("the address is no e-mail address")
    return address


def address_of(sender: str) -> str:
    """The bare address in "Name <address>"."""
    return parseaddr(sender)[1]


def with_ascii_address(sender: str) -> str:
    """The same sender with its address as `usable` has it; one that is none stays as it is."""
    address = address_of(sender)
    try:
        return sender.replace(address, usable(address))
    except AddressUnusable:
        return sender


def domain_of(sender: str) -> str:
    """What stands after the "@"."""
    return address_of(sender).rpartition("@")[2]
