"""Envelope encryption: known answers of NIST, and nothing opens that was changed or is bound to something else."""

from dataclasses import dataclass
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.credentials import envelope
from services.credentials.envelope import NotOpened

KEYS = st.binary(min_size=32, max_size=32)
USERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VERSIONS = st.integers(1, 2**63 - 1)


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A case of NIST's GCM specification (McGrew and Viega, appendix B)."""

    key: str
    nonce: str
    plain: str
    context: str
    ciphertext: str


KNOWN = [
    KnownAnswer("00" * 32, "00" * 12, "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    KnownAnswer(
        "00" * 32, "00" * 12, "00" * 16, "", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    ),
    KnownAnswer(
        "feffe9928665731c6d6a8f9467308308" * 2,
        "cafebabefacedbaddecaf888",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
    ),
]


@pytest.mark.parametrize("known", KNOWN)
def test_known_answers_open(known: KnownAnswer) -> None:
    key, nonce, ciphertext, context = map(bytes.fromhex, (known.key, known.nonce, known.ciphertext, known.context))

    assert envelope.decrypt(key, nonce, ciphertext, context) == bytes.fromhex(known.plain)


def test_a_context_has_the_bytes_that_it_always_had() -> None:
    """Other ones would make every secret that was ever kept unreadable."""
    context = envelope.secret_context("anna", UUID("01234567-89ab-cdef-0123-456789abcdef"), 7)

    expected = b"blockyard secret 1\0" + b"\0\0\0\x04anna" + bytes.fromhex("0123456789abcdef" * 2) + b"\0" * 7 + b"\x07"
    assert context == expected


@given(KEYS, st.binary(max_size=200), st.binary(max_size=50))
def test_what_was_encrypted_opens(key: bytes, data: bytes, context: bytes) -> None:
    nonce, ciphertext = envelope.encrypt(key, data, context)

    assert envelope.decrypt(key, nonce, ciphertext, context) == data


@given(KEYS, st.binary(max_size=60), st.binary(max_size=30), st.data())
def test_a_changed_bit_anywhere_is_refused(key: bytes, data: bytes, context: bytes, draw: st.DataObject) -> None:
    nonce, ciphertext = envelope.encrypt(key, data, context)
    parts = [key, nonce, ciphertext, context]
    which = draw.draw(st.integers(0, 3).filter(lambda number: len(parts[number]) > 0), label="part")
    bit = draw.draw(st.integers(0, len(parts[which]) * 8 - 1), label="bit")
    changed = bytearray(parts[which])
    changed[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(changed)

    with pytest.raises(NotOpened):
        envelope.decrypt(*parts)


@given(KEYS, st.binary(max_size=60), st.data())
def test_what_was_cut_is_refused(key: bytes, data: bytes, draw: st.DataObject) -> None:
    nonce, ciphertext = envelope.encrypt(key, data, b"")
    length = draw.draw(st.integers(0, len(ciphertext) - 1))

    with pytest.raises(NotOpened):
        envelope.decrypt(key, nonce, ciphertext[:length], b"")
    with pytest.raises(NotOpened):
        envelope.decrypt(key, nonce[:-1], ciphertext, b"")


@given(st.tuples(USERS, st.uuids(), VERSIONS), st.tuples(USERS, st.uuids(), VERSIONS))
def test_another_user_credential_or_version_is_another_context(
    one: tuple[str, UUID, int], other: tuple[str, UUID, int]
) -> None:
    assert (envelope.secret_context(*one) == envelope.secret_context(*other)) is (one == other)


@given(USERS, st.uuids(), VERSIONS, st.sampled_from(["user", "credential", "version"]))
def test_a_secret_that_was_moved_does_not_open(user: str, credential_id: UUID, version: int, moved: str) -> None:
    key = envelope.fresh_key()
    nonce, ciphertext = envelope.encrypt(key, b"secret", envelope.secret_context(user, credential_id, version))

    elsewhere = envelope.secret_context(
        user + "x" if moved == "user" else user,
        UUID(int=credential_id.int ^ 1) if moved == "credential" else credential_id,
        version + 1 if moved == "version" and version < 2**63 - 1 else version - (moved == "version"),
    )

    with pytest.raises(NotOpened):
        envelope.decrypt(key, nonce, ciphertext, elsewhere)


def test_no_two_things_have_the_same_key_or_nonce() -> None:
    key = envelope.fresh_key()
    drawn = [envelope.encrypt(key, b"same", b"same") for _ in range(1000)]

    assert len({nonce for nonce, _ in drawn}) == len({ciphertext for _, ciphertext in drawn}) == 1000
    assert len({envelope.fresh_key() for _ in range(1000)}) == 1000
