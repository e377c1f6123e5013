"""Reads what users say of a credential, and names every field of it that is wrong. Nothing of a secret is repeated."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from blockyard.credentials.v1.credential_pb2 import CredentialSecret, HostHeaders
from blockyard.egress.scopes import Scope
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import Violation
from services.credentials.matching import read_host
from services.credentials.records import CredentialType, Parts

LONGEST_TITLE = 100
LONGEST_REQUEST_ID = 100
MOST_HEADERS = 20
LARGEST_SECRET = 16 << 10
"""Bytes of one text of a secret; of headers, of all names and values."""

PROVIDER = re.compile(r"[a-z0-9_-]{1,100}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_OF_THE_REQUEST = frozenset(
    {"host", "connection", "content-length", "content-encoding", "transfer-encoding", "te", "trailer", "upgrade"}
)
"""Headers that whoever sends the request sets."""


@dataclass(frozen=True, slots=True)
class GivenSecret:
    """A secret, with what of it may be shown."""

    type: CredentialType
    parts: Parts = field(repr=False)
    account_name: str = ""
    host: str = ""
    header_names: Sequence[str] = ()


@dataclass(slots=True)
class Reader:
    """Reads fields one after the other, and gathers what is wrong."""

    violations: list[Violation] = field(default_factory=list)

    def provider(self, text: str) -> str:
        """The name of a provider."""
        if not PROVIDER.fullmatch(text):
            self._wrong("provider", "expected 1 to 100 of a-z 0-9 _ -")
        return text

    def title(self, text: str) -> str:
        """A title, without white space around it."""
        title = text.strip()
        if not 1 <= len(title) <= LONGEST_TITLE:
            self._wrong("title", f"expected 1 to {LONGEST_TITLE} characters, got {len(title)}")
        elif not title.isprintable():
            self._wrong("title", "holds a control character or a line break; take it out")
        return title

    def request_id(self, text: str) -> str:
        """The id of a request."""
        if len(text) > LONGEST_REQUEST_ID or not text.isprintable():
            self._wrong("request_id", f"expected at most {LONGEST_REQUEST_ID} printable characters")
        return text

    def expire_time(self, time: Timestamp, now: datetime) -> datetime | None:
        """A moment to come."""
        try:
            moment = time.ToDatetime(UTC)
        except (ValueError, OverflowError):
            self._wrong("expire_time", "is no time: expected seconds from the years 1 to 9999 and nanos below 10^9")
            return None
        if moment <= now:
            self._wrong("expire_time", f"is over already: got {moment.isoformat()}")
        return moment

    def secret(self, secret: CredentialSecret) -> GivenSecret | None:
        """The secret; None if it is wrong."""
        known = len(self.violations)
        kind = secret.WhichOneof("secret")
        if kind == "api_key":
            given = self._api_key(secret.api_key)
        elif kind == "user_password":
            given = self._user_password(secret.user_password.username, secret.user_password.password)
        elif kind == "host_headers":
            given = self._host_headers(secret.host_headers)
        else:
            self._wrong("secret", "is missing: expected api_key, user_password or host_headers")
            return None
        return given if len(self.violations) == known else None

    def _api_key(self, text: str) -> GivenSecret:
        self._text("secret.api_key", text)
        if text != text.strip():
            self._wrong("secret.api_key", "begins or ends with white space; take it out")
        return GivenSecret(CredentialType.API_KEY, {"api_key": text})

    def _user_password(self, username: str, password: str) -> GivenSecret:
        self._text("secret.user_password.username", username)
        self._text("secret.user_password.password", password)
        if not username.isprintable():
            self._wrong("secret.user_password.username", "holds a control character or a line break; take it out")
        parts = {"username": username, "password": password}
        return GivenSecret(CredentialType.USER_PASSWORD, parts, account_name=username)

    def _host_headers(self, given: HostHeaders) -> GivenSecret:
        host = ""
        try:
            host = _written(read_host(given.host))
        except ValueError as error:
            self._wrong("secret.host_headers.host", str(error))
        headers = dict(given.headers)
        self._headers(headers)
        parts = {"host": host, "headers": headers}
        return GivenSecret(CredentialType.HOST_SCOPED, parts, host=host, header_names=sorted(headers))

    def _headers(self, headers: Mapping[str, str]) -> None:
        place = "secret.host_headers.headers"
        if not 1 <= len(headers) <= MOST_HEADERS:
            self._wrong(place, f"expected 1 to {MOST_HEADERS} headers, got {len(headers)}")
            return
        if sum(len(name.encode()) + len(value.encode()) for name, value in headers.items()) > LARGEST_SECRET:
            self._wrong(place, f"names and values are larger than {LARGEST_SECRET} bytes in all")
            return
        for number, (name, value) in enumerate(sorted(headers.items())):
            # What is no name of a header may be a secret that stands in the wrong place.
            if not _HEADER_NAME.fullmatch(name):
                self._wrong(place, f"name {number + 1} of the names in order is none of a header")
            elif name.lower() in _OF_THE_REQUEST:
                self._wrong(f"{place}.{name}", "is set by whoever sends the request; leave it out")
            elif not _HEADER_VALUE.fullmatch(value):
                self._wrong(f"{place}.{name}", "expected printable ASCII without white space at its ends")
        if len({name.lower() for name in headers}) < len(headers):
            self._wrong(place, "two names differ in upper and lower case alone, which are one header")

    def _text(self, place: str, text: str) -> None:
        size = len(text.encode())
        if not size:
            self._wrong(place, "is empty")
        elif size > LARGEST_SECRET:
            self._wrong(place, f"is {size} bytes large, at most {LARGEST_SECRET} are taken")
        elif "\0" in text:
            self._wrong(place, "holds a NUL character")

    def _wrong(self, place: str, description: str) -> None:
        self.violations.append(Violation(place, description))


def _written(pattern: Scope) -> str:
    """A pattern in the one way in which all that mean the same are kept."""
    host = f"[{pattern.host}]" if ":" in pattern.host else pattern.host
    return f"{'*.' if pattern.below else ''}{host}{f':{pattern.port}' if pattern.port else ''}"
