"""When certificates end, for Prometheus: this process's own, and that of the NATS it is connected to."""

import math
import ssl
from pathlib import Path

from cryptography import x509
from prometheus_client import Gauge

EXPIRY = Gauge(
    "blockyard_certificate_expiry_timestamp_seconds",
    "When a certificate ends (seconds since 1970): own (this process's), nats (what NATS has shown)",
    ["of"],
)


def watch(certificate: Path) -> None:
    """Tell of this process's own from now on, whatever the file holds at that moment."""
    EXPIRY.labels("own").set_function(lambda: end_of(certificate))


def note_nats(connection: ssl.SSLObject | None) -> None:
    """Tell of what NATS has shown; of nothing where there is no TLS."""
    try:
        shown = connection.getpeercert() if connection is not None else None
    except ValueError:  # there was no handshake: the connection is about to fail
        return
    if shown:
        EXPIRY.labels("nats").set(ssl.cert_time_to_seconds(str(shown["notAfter"])))


def end_of(certificate: Path) -> float:
    """Seconds since 1970; not a number where the file holds no certificate."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return math.nan
