"""No encoding that secrets usually stand in gets past the redaction, and what has no secret stays as it is."""

import base64
import json
import math
import random
import string
import urllib.parse

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runner.redaction import HIDDEN, SHORTEST, Redaction, secrets_in
from tests.integration.runner.blocks.credentials import ENCODINGS

SECRETS = {
    "an API key": "sk-live-abcDEF0123456789",
    "one with everything in it": "sésame \"open\" \\ +1&2/3 'x'\n日本",
    "a password": "hunter2!",
    "digits": "314159265",
    "a private key": "-----BEGIN KEY-----\nMIIEvQ+/ab==\n-----END KEY-----\n",
}
TEXT = st.text(st.characters(codec="utf-8"), min_size=SHORTEST, max_size=40)
PIECE = 8


def _pieces(secret: str, encoding: str) -> set[str]:
    """What an encoded secret is made of, without what the encoding has around any secret."""
    told, other = ENCODINGS[encoding](secret), ENCODINGS[encoding]("\0" * len(secret))
    return _pieces_of(told) - _pieces_of(other)


def _pieces_of(text: str) -> set[str]:
    return {text[at : at + PIECE] for at in range(len(text) - PIECE + 1)}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nothing_of_a_secret_is_left_in_text_and_in_values(secret: str, encoding: str) -> None:
    told = ENCODINGS[encoding](secret)
    redaction = Redaction([secret])
    for hidden in (
        redaction.text(f"before {told} after"),
        redaction.line(f"before {told} after\n"),
        redaction.json(orjson.dumps({"a": [f"before {told} after", {told: None}]})).decode(),
    ):
        assert HIDDEN in hidden
        assert "before" in hidden
        assert " after" in hidden
        assert told not in hidden
        assert not _pieces(secret, encoding) & _pieces_of(hidden)


@given(TEXT, st.text(max_size=20), st.text(max_size=20), st.sampled_from(sorted(ENCODINGS)))
def test_a_secret_anywhere_in_a_value_is_hidden_and_the_value_is_json(
    secret: str, before: str, after: str, encoding: str
) -> None:
    text = json.dumps(f"{before}{ENCODINGS[encoding](secret)}{after}".encode("utf-8", "replace").decode())
    hidden = Redaction([secret]).json(text.encode())
    orjson.loads(hidden)
    assert orjson.dumps(ENCODINGS[encoding](secret))[1:-1] not in hidden


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("length", [6, 7, 8, 20])
def test_bytes_in_base64_are_found_wherever_they_begin(place: int, length: int) -> None:
    secret = "".join(random.Random(length).choices(string.ascii_letters + string.digits, k=length))
    whole = base64.b64encode(b"-" * place + secret.encode() + b"_" * 7).decode()
    # A character is made of six bits: those that have bits of the secret alone are hidden.
    first, end = math.ceil(place * 8 / 6), (place + length) * 8 // 6
    assert Redaction([secret]).text(whole) == whole[:first] + HIDDEN + whole[end:]


def test_headers_are_hidden_with_what_is_behind_their_scheme() -> None:
    pair = base64.b64encode(b"anna:open sesame").decode()
    found = [
        *secrets_in("Bearer abcdefgh"),
        *secrets_in(f"Basic {pair}"),
        *secrets_in("plain-key"),
        *secrets_in("Basic x"),
    ]
    assert found == [
        *("Bearer abcdefgh", "abcdefgh"),
        *(f"Basic {pair}", pair, "anna:open sesame", "open sesame"),
        *("plain-key", "Basic x", "x"),
    ]
    hidden = Redaction(found)
    assert hidden.text("the Bearer of abcdefgh and open%20sesame") == f"the Bearer of {HIDDEN} and {HIDDEN}"


def test_a_number_that_is_a_secret_is_hidden_and_one_that_has_its_digits_stays() -> None:
    hidden = Redaction(["123456"]).json(b'{"pin":123456,"time":1234567890,"text":"no 123456","deep":[123456.0]}')
    assert orjson.loads(hidden) == {"pin": HIDDEN, "time": 1234567890, "text": f"no {HIDDEN}", "deep": [123456.0]}


def test_a_value_without_a_secret_is_given_back_as_the_same_bytes() -> None:
    value = b'{"a" : 1.0, "b": [12345678901234567890123]}'
    assert Redaction(["sk-live-0123"]).json(value) is value


def test_secrets_that_words_have_by_chance_are_left_there() -> None:
    assert Redaction(["a", "pass", "short"]).text("a short pass") == "a short pass"


def test_a_secret_in_a_url_is_found_in_lower_case_too() -> None:
    secret = "a/b+c d?e"
    quoted = urllib.parse.quote(secret, safe="")
    assert Redaction([secret]).text(f"{quoted} {quoted.lower()}") == f"{HIDDEN} {HIDDEN}"


def test_of_two_secrets_the_longer_one_is_hidden_whole() -> None:
    assert Redaction(["secret-1", "secret-1-more"]).text("secret-1-more, secret-1") == f"{HIDDEN}, {HIDDEN}"
