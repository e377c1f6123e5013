"""Certificates for calls over TLS: whom to trust, and how to prove who calls."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc

from blockyard.errors import NotConfigured


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM. All may be left out: then the authorities of the system are trusted, and nothing is proved."""

    ca: str = ""
    """The authority that has signed the certificate of the other side."""
    certificate: str = ""
    """Proves who calls, where the other side demands that."""
    key: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """From BLOCKYARD_CA_FILE, BLOCKYARD_CERTIFICATE_FILE and BLOCKYARD_KEY_FILE."""
        return cls(*(environment.get(f"BLOCKYARD_{name}_FILE", "") for name in ("CA", "CERTIFICATE", "KEY")))

    def credentials(self) -> grpc.ChannelCredentials:
        """For a channel; raises NotConfigured for what cannot be read, or is none."""
        if bool(self.certificate) != bool(self.key):
            raise NotConfigured(
                "a certificate is of no use without its key: set both BLOCKYARD_CERTIFICATE_FILE and "
                "BLOCKYARD_KEY_FILE, or neither"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca:
            _check(self.ca, lambda: context.load_verify_locations(self.ca))
        if self.certificate:
            _check(f"{self.certificate} with {self.key}", lambda: context.load_cert_chain(self.certificate, self.key))
        files = (self.ca, self.key, self.certificate)
        return grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))


def _check(what: str, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise NotConfigured(f"no certificates in PEM that fit: {what} ({error.reason or error})") from error
    except OSError as error:
        raise NotConfigured(f"certificates cannot be read: {what} ({error.strerror or error})") from error
