"""Takes secrets out of what leaves the runner, in the encodings that they usually stand in: a last line of defence.

Texts (errors, lines of logs) are searched for every form of a secret; values, which are JSON already, for every form as
it stands in JSON, and only one that has something is decoded and walked, so that what comes of it is JSON again.
A secret that a block turns into something else, or says in pieces, is beyond this.
"""

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import orjson

HIDDEN = "***"
SHORTEST = 6
"""Shorter text is in many a message by chance, and to take it out would tell more than it hides."""
SHORTEST_START = 4
"""Of a secret that is cut off at the end of a message so many characters are enough."""

_PERCENT = re.compile("%[0-9A-F]{2}")


class Redaction:
    """Replaces some secrets by ***. Made once for a run, or for all runs together."""

    __slots__ = ("_forms", "_in_json", "_numbers")

    def __init__(self, secrets: Iterable[str], shortest: int = SHORTEST, most: int | None = None) -> None:
        """Of longer secrets than `most` only the beginning is looked for: nothing longer can be in what is searched."""
        known = {secret for secret in secrets if len(secret) >= shortest}
        forms = {form[:most] for secret in known for form in forms_of(secret)}
        # The longest first: one may be part of another.
        self._forms = tuple(sorted(forms, key=len, reverse=True))
        self._in_json = tuple({orjson.dumps(form)[1:-1] for form in forms})
        self._numbers = frozenset(secret for secret in known if secret.isdecimal())

    def text(self, text: str) -> str:
        """The text without the secrets, one that is cut off at its end included."""
        text = self._plain(text)
        for form in self._forms:
            text = without_beginning(text, form)
        return text

    def line(self, line: str) -> str:
        """As `text`, for lines of logs, where nothing is cut off and most of which hold no secret."""
        for form in self._forms:
            if form in line:
                return self.text(line)
        return line

    def json(self, encoded: bytes) -> bytes:
        """A value in JSON without the secrets; the same bytes if it has none."""
        for form in self._in_json:
            if form in encoded:
                return orjson.dumps(self._walk(orjson.loads(encoded)))
        return encoded

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._plain(value)
        if isinstance(value, dict):
            return {self._plain(key): self._walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walk(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and str(value) in self._numbers:
            return HIDDEN
        return value

    def _plain(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        return text


def forms_of(secret: str) -> Iterator[str]:
    """A secret as it may stand in texts, inside of JSON and of what Python shows too."""
    for form in _plain_forms(secret):
        yield form
        yield json.dumps(form)[1:-1]
        yield orjson.dumps(form).decode()[1:-1]
    for data in _bytes_of(secret):
        yield data.hex()
        yield data.hex().upper()
        yield from _base64_forms(data)


def _plain_forms(secret: str) -> Iterator[str]:
    yield secret
    # Python chooses its quotes by the whole text, which may be larger than the secret.
    yield repr(secret)[1:-1]
    for other in "'\"":
        yield repr(other + secret)[1:-1].removeprefix("\\").removeprefix(other)
    yield repr(secret.encode())[2:-1]
    yield json.dumps(secret)[1:-1]
    yield html.escape(secret)
    once = quote(secret, safe="")
    for quoted in (once, quote(secret), quote_plus(secret), quote(once, safe="")):
        yield quoted
        yield _PERCENT.sub(lambda escape: escape[0].lower(), quoted)


def _bytes_of(secret: str) -> Iterator[bytes]:
    data = secret.encode("utf-8", "surrogatepass")
    yield data
    if not secret.isascii():
        # As some clients send user names and passwords.
        latin = secret.encode("latin-1", "ignore")
        if len(latin) == len(secret):
            yield latin


def _base64_forms(data: bytes) -> Iterator[str]:
    """What every base64 text with these bytes in it holds, wherever in it they begin."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data)
        # The first and the last characters are made of what stands beside the bytes too.
        inner = encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6].decode()
        yield inner
        yield inner.translate(_URLSAFE)


_URLSAFE = str.maketrans("+/", "-_")


def without_beginning(text: str, form: str) -> str:
    """The text without its end, if this form begins so: a long message is cut, perhaps within a secret."""
    start = text.find(form[:SHORTEST_START], max(0, len(text) - len(form) + 1))
    while start >= 0:
        if form.startswith(text[start:]):
            return text[:start] + HIDDEN
        start = text.find(form[:SHORTEST_START], start + 1)
    return text


def secrets_in(part: str) -> Iterator[str]:
    """What is secret in the value of a header: all of it, what follows the scheme, and what that stands for."""
    yield part
    scheme, _, rest = part.partition(" ")
    if rest:
        yield rest
    if rest and scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return
        yield pair
        yield pair.partition(":")[2]
