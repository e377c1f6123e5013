"""TLS between the parts: certificates come from files, and are read again when somebody has renewed them.

A file that cannot be used ends the start with a sentence. One that goes bad later is logged, and what was read before
stays in use: whoever renews certificates may write the key a moment after the certificate.
"""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import structlog

from services.common.errors import StartRefused

LOOK_SECONDS = 1.0
"""How often files are looked at for another time of change, at most."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files in PEM. Each may be missing; a certificate has its key with it."""

    certificate: Path | None = None
    """Of this process, with its chain: for its server, and to prove itself to others."""
    key: Path | None = None
    ca: Path | None = None
    """Whoever this process calls must have a certificate that this authority has signed."""
    client_ca: Path | None = None
    """Whoever calls this process must have a certificate that this authority has signed."""

    def stamp(self) -> tuple[tuple[int, int] | None, ...]:
        """Changes whenever one of the files does."""
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.ca, self.client_ca))


@dataclass(frozen=True, slots=True, repr=False)
class Material:
    """What the files held when they were read."""

    certificate: bytes | None
    key: bytes | None
    ca: bytes | None
    client_ca: bytes | None


def read(files: TlsFiles) -> Material:
    """What the files hold. Raises StartRefused, with the name of the file, when it is of no use."""
    for authority in filter(None, (files.ca, files.client_ca)):
        _try(f"{authority} holds no certificates of authorities", partial(_context, authority))
    if files.certificate is not None and files.key is not None:
        load = partial(_context().load_cert_chain, files.certificate, files.key)
        _try(f"{files.certificate} and {files.key} are no certificate with its key", load)
    return Material(_bytes(files.certificate), _bytes(files.key), _bytes(files.ca), _bytes(files.client_ca))


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For a connection that Python's own ssl makes: checks the other side's certificate and host name."""
    read(files)
    context = ssl.create_default_context(cafile=files.ca)
    if files.certificate is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For a server of Python's own ssl: every connection is made with the certificate of its moment."""
    watched = Watched(files)
    current = _server_context(files)

    def renew(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        nonlocal current
        if watched.changed():
            try:
                current = _server_context(files)
            except (ssl.SSLError, OSError) as error:
                # Replaced once more, within a moment: what that was is looked at later.
                log.error("a renewed certificate is of no use, the one before goes on", reason=str(error))
        connection.context = current

    first = _server_context(files)
    # Asked at each handshake, of those too that name no host.
    first.sni_callback = renew
    return first


def _server_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.client_ca)
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    if files.certificate is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context


class Watched:
    """Files that are read again once they have changed, and are of use."""

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = files
        self._clock = clock
        self._stamp = files.stamp()
        self._look_at = clock() + LOOK_SECONDS
        self.material = read(files)

    def changed(self) -> bool:
        """Whether there is other material than at the last call."""
        now = self._clock()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        stamp = self._files.stamp()
        if stamp == self._stamp:
            return False
        try:
            material = read(self._files)
        except StartRefused as error:
            log.error("a renewed certificate is of no use, the one before goes on", reason=str(error))
            return False
        self._stamp, self.material = stamp, material
        log.info("certificates were read anew", certificate=str(self._files.certificate or self._files.ca))
        return True


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """For a server: every connection is made with the certificate of its moment."""
    watched = Watched(files)

    def renewed() -> Any:  # Any: the stubs leave out that None says "as before"
        return _server_configuration(watched.material) if watched.changed() else None

    return grpc.dynamic_ssl_server_credentials(
        _server_configuration(watched.material), renewed, require_client_authentication=files.client_ca is not None
    )


def channel_credentials(material: Material) -> grpc.ChannelCredentials:
    """For a channel to a server with a certificate of the authority."""
    return grpc.ssl_channel_credentials(material.ca, material.key, material.certificate)


def _server_configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    pairs = [(material.key or b"", material.certificate or b"")]
    return grpc.ssl_server_certificate_configuration(pairs, root_certificates=material.client_ca)


def _context(ca: Path | None = None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


def _try(what: str, load: Callable[[], object]) -> None:
    """Turn what loading raises into a sentence."""
    try:
        load()
    except ssl.SSLError as error:
        raise StartRefused(f"{what} in PEM ({error.reason or error}).") from error
    except OSError as error:
        raise StartRefused(f"{what} in PEM that can be read ({error.strerror or error}).") from error


def _stamp(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        # Through symbolic links: that is how Kubernetes replaces a mounted secret.
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _bytes(path: Path | None) -> bytes | None:
    return path.read_bytes() if path is not None else None
