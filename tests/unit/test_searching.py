"""The search for secrets finds what it looks for: a search that finds nothing proves nothing."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.searching import WINDOW, Search

SECRET = 'sentinel/key+"one"&ä=7f3a'
PLAIN = SECRET.encode()


@pytest.mark.parametrize(
    "told",
    [
        PLAIN,
        SECRET.encode("utf-16-le"),
        json.dumps({"a": SECRET}).encode(),
        repr([SECRET]).encode(),
        quote(SECRET, safe="").encode(),
        PLAIN.hex().encode(),
        PLAIN.hex().upper().encode(),
        base64.b64encode(PLAIN),
        base64.b64encode(b"user:" + PLAIN),
        base64.b64encode(b"x" + PLAIN + b"y"),
        base64.b64encode(b"xy" + PLAIN + b"z"),
        base64.urlsafe_b64encode(b"x" + PLAIN),
    ],
)
def test_a_secret_is_found_in_every_encoding(told: bytes) -> None:
    search = Search({"key": SECRET})

    search.data("somewhere", b"before " + told + b" after")

    assert "key in somewhere" in search.found


def test_a_secret_is_found_where_two_pieces_of_a_file_meet(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"." * (WINDOW - 5) + PLAIN + b"." * 100)
    search = Search({"key": SECRET})

    search.folder("logs", tmp_path)

    assert search.found
    assert search.places["logs"] == WINDOW - 5 + len(PLAIN) + 100


def test_what_is_no_secret_is_not_found() -> None:
    search = Search({"key": SECRET})

    search.data("somewhere", b"sentinel/key")

    assert search.found == []
