"""What runs have is hidden as long as they have it, and forgotten with them."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from services.runner.leased import HeldSecrets, Leased, LeasedCredential

SECRET = "sk-live-0123456789"


def leased(secrets: HeldSecrets, text: str = SECRET) -> Leased:
    return Leased({"credentials": {"api_key": text, "title": "Work", "provider": "acme"}}, frozenset({text}), secrets)


@contextmanager
def streams() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """Stand for the descriptors of the process; the streams themselves are put back."""
    kept = sys.stdout, sys.stderr
    buffers = io.BytesIO(), io.BytesIO()
    sys.stdout, sys.stderr = (io.TextIOWrapper(buffer, "utf-8") for buffer in buffers)
    try:
        yield buffers
    finally:
        sys.stdout, sys.stderr = kept


def test_lines_are_searched_while_any_run_has_the_secret() -> None:
    secrets = HeldSecrets()
    first, second = leased(secrets), leased(secrets)
    assert first.redaction is second.redaction
    first.forget()
    assert secrets.line(f"key {SECRET}\n") == "key ***\n"
    second.forget()
    assert not secrets.any
    assert secrets.line(f"key {SECRET}\n") == f"key {SECRET}\n"


def test_what_a_run_had_is_gone_when_it_has_ended() -> None:
    secrets = HeldSecrets()
    one = leased(secrets)
    given, parts = one.given, one.given["credentials"]
    one.forget()
    assert (given, dict(parts), one.texts) == ({}, {}, frozenset())


def test_a_credential_does_not_print_its_secret() -> None:
    one = LeasedCredential(api_key=SECRET, title="Work", provider="acme")
    assert [str(one), repr(one), f"{one}", str([one])] == [
        *(["<credential 'Work' of 'acme'>"] * 3),
        "[<credential 'Work' of 'acme'>]",
    ]
    assert one["api_key"] == SECRET


def test_both_streams_hide_text_and_bytes() -> None:
    secrets = HeldSecrets()
    with streams() as (out, err):
        secrets.guard_streams()
        one = leased(secrets)
        print("out", SECRET)
        print("err", SECRET, "\ud800", file=sys.stderr)
        sys.stdout.buffer.write(b"bytes \xff " + SECRET.encode() + b"\n")
        sys.stdout.flush()
        one.forget()
        print("after")
        assert out.getvalue() == b"out ***\nbytes \xff ***\nafter\n"
        assert err.getvalue() == b"err *** \\ud800\n"
