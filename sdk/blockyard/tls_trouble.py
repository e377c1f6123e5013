"""What is wrong between two sides when TLS does not come about, from the words of gRPC."""

_SENTENCES = (
    ("certificate has expired", "the certificate of the other side has expired"),
    ("certificate is not yet valid", "the certificate of the other side is not valid yet: compare the clocks"),
    ("Hostname Verification Check failed", "the certificate of the other side is for another host"),
    ("CERTIFICATE_VERIFY_FAILED", "the certificate of the other side is of an authority that is not trusted here"),
    ("BAD_SIGNATURE", "the certificate of the other side is of an authority that is not trusted here"),
    ("WRONG_VERSION_NUMBER", "the other side speaks no TLS"),
    ("andshake failed", "TLS could not be agreed on with the other side"),
    (
        "Socket closed",
        "the other side ended the connection at once: it may demand TLS (grpcs://), or a certificate that it trusts",
    ),
)
"""gRPC's words, the telling ones first. A refused client is told no reason: its connection is closed, that is all."""


def tls_trouble(details: str) -> str:
    """A sentence about the details of a call that could not be made; empty when they are about something else."""
    if "last error: " not in details:  # of connecting
        return ""
    return next((sentence for words, sentence in _SENTENCES if words in details), "")
