"""Checks of a process's certificates: that they can be read, are valid now, and of the authority that is trusted."""

import datetime
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from services.common import tls
from services.common.config import ProcessSettings
from services.common.doctor.findings import Check, Told, ok, warning, wrong
from services.common.errors import StartRefused
from services.common.tls import TlsFiles

SOON = datetime.timedelta(days=7)
"""Whoever renews certificates by hand wants to know so long before; one that lives for less, at a fifth of its life."""
RENEW = "Renew it; a process reads renewed files by itself."


class Certificates:
    """Those that a process shows, and those that it trusts."""

    def __init__(self, settings: ProcessSettings, clock: Callable[[], float]) -> None:
        self._pairs = {"tls": settings.tls(), "nats": settings.nats_access().tls}
        self._clock = clock

    def checks(self) -> list[Check]:
        """One, if there are certificates."""
        used = any(path for files in self._pairs.values() for path in _paths(files))
        return [Check("certificates", self._look, ["settings"])] if used else []

    async def _look(self) -> AsyncIterator[Told]:
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        seen: set[Path] = set()
        bad = False
        ends: list[datetime.datetime] = []
        for files in self._pairs.values():
            try:
                tls.read(files)
            except StartRefused as error:
                bad = True
                yield wrong(str(error).rstrip("."), "Let the variable name the right file, and the file be whole.")
                continue
            for path in _paths(files):
                if path in seen:
                    continue
                seen.add(path)
                certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
                ends.append(certificate.not_valid_after_utc)
                for told in _judged(path, certificate, now):
                    bad = True
                    yield told
            for told in _stranger(files):
                bad = True
                yield told
        if not bad and ends:
            yield ok(f"valid until {min(ends):%Y-%m-%d %H:%M} at least")


def _paths(files: TlsFiles) -> list[Path]:
    return [path for path in (files.certificate, files.ca, files.client_ca) if path is not None]


def _judged(path: Path, certificate: x509.Certificate, now: datetime.datetime) -> Iterator[Told]:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= ends:
        yield wrong(f"{path} has expired at {ends:%Y-%m-%d %H:%M} UTC", RENEW)
    elif now < begins:
        yield wrong(
            f"{path} is not valid before {begins:%Y-%m-%d %H:%M} UTC", "Compare the clock here with that of its maker."
        )
    elif ends - now < min(SOON, (ends - begins) / 5):
        yield warning(f"{path} expires at {ends:%Y-%m-%d %H:%M} UTC", RENEW)


def _stranger(files: TlsFiles) -> Iterator[Told]:
    """The other parts usually trust the authority that is trusted here."""
    if files.certificate is None or files.ca is None:
        return
    chain = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    trusted = x509.load_pem_x509_certificates(files.ca.read_bytes())
    if not any(_signed(one, authority) for one in chain for authority in trusted):
        yield warning(
            f"{files.certificate} is not of the authority in {files.ca}",
            "Others refuse this process unless they trust that authority: let one authority sign all certificates.",
        )


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
