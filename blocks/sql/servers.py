"""What all databases have in common: what is asked of which server, TLS in the server's name, and how it fails."""

import os
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from blockyard.block import BlockExecutionError, UserPasswordCredentials
from blockyard.egress import Egress, EgressRefused
from blockyard.egress.targets import read_host

from blocks.network.server_words import without

TLS_VARIABLE = "BLOCKYARD_SQL_TLS"


class Tls(StrEnum):
    """Which connections to databases are encrypted."""

    PREFER = "prefer"
    """Those of servers that can, whoever they are."""
    VERIFY = "verify"
    """All, and certificates must be valid for the host."""


def tls_from_environment(environment: Mapping[str, str] = os.environ) -> Tls:
    """What an operator has set; a BlockExecutionError names the variable if it cannot be read."""
    text = environment.get(TLS_VARIABLE, "").strip().lower() or Tls.PREFER
    try:
        return Tls(text)
    except ValueError:
        raise BlockExecutionError(f"{TLS_VARIABLE}: expected prefer or verify, got {text!r}") from None


@dataclass(frozen=True, slots=True)
class SqlRequest:
    """A statement for a server."""

    egress: Egress
    host: str
    port: int
    database: str
    account: UserPasswordCredentials
    query: str
    read_only: bool
    timeout: int
    """Seconds."""
    max_rows: int
    tls: Tls
    certificates: str | None = None
    """A file with those that are trusted; the system's if None."""


class SqlFailure(BlockExecutionError):
    """The server could not be asked, or said no."""


class NamedContext(ssl.SSLContext):
    """TLS in the name of a host although the connection is one to its address."""

    host_name: str

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """As an SSLContext does, with the host's name."""
        return super().wrap_bio(*arguments, **{**named, "server_hostname": self.host_name})


def tls_context(request: SqlRequest) -> NamedContext:
    """What a connection for that request is encrypted with."""
    context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.host_name = request.host
    if request.tls is Tls.VERIFY:
        if request.certificates is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(request.certificates)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def failure(request: SqlRequest, message: str) -> SqlFailure:
    """An error with the server's words, without its host and without the password."""
    return SqlFailure(without(hidden_host(message, request.host), request.account.key))


def hidden_host(text: str, host: str) -> str:
    """The text without the host, wherever it stands as a word of its own, also in the form that egress makes of it."""
    forms = {host, host.removesuffix(".")}
    with suppress(EgressRefused):
        forms.add(read_host(host)[0])
    for form in sorted(forms, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(form)}(?![\w-])", "***", text, flags=re.IGNORECASE) if form else text
    return text


def tls_failure(error: BaseException) -> str | None:
    """What is wrong with TLS, if that is it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not valid: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "TLS cannot be agreed on with the server"
        cause = cause.__cause__ or cause.__context__
    return None
