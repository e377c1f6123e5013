"""Who may deliver: signatures that are right, wrong, old, of another secret, or not there."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from services.execution.webhooks.records import Kind, SecretState
from services.execution.webhooks.secrets import SecretKeys
from services.execution.webhooks.signatures import github_signature, is_authentic, standard_signature

NOW = 1_614_265_330
BODY = b'{"test": 2432232314}'
# The example of the Standard Webhooks specification.
SPEC_SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
SPEC = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(NOW),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
KEYS = SecretKeys.of("a key", "")
STATE = SecretState(KEYS.newest.key_id, 1, "", None)
SECRET = KEYS.newest.secret(Kind.GENERIC, "id", 1)
OTHER = KEYS.newest.secret(Kind.GENERIC, "other", 1)


def signed(secret: SecretStr, timestamp: int = NOW, body: bytes = BODY) -> dict[str, str]:
    signature = standard_signature(secret, "msg", timestamp, body)
    return {"webhook-id": "msg", "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def test_the_example_of_the_specification_is_authentic() -> None:
    assert is_authentic(Kind.GENERIC, SPEC, BODY, [SPEC_SECRET], NOW)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (SPEC, BODY + b" "),
        ({**SPEC, "webhook-id": "msg_other"}, BODY),
        ({**SPEC, "webhook-timestamp": str(NOW + 1)}, BODY),
        ({**SPEC, "webhook-timestamp": "now"}, BODY),
        ({**SPEC, "webhook-timestamp": f"-{NOW}"}, BODY),
        ({**SPEC, "webhook-timestamp": "9" * 5_000}, BODY),
        ({**SPEC, "webhook-signature": ""}, BODY),
        ({**SPEC, "webhook-signature": "v1,"}, BODY),
        ({**SPEC, "webhook-signature": SPEC["webhook-signature"].replace("v1", "v1a")}, BODY),
        ({name: value for name, value in SPEC.items() if name != "webhook-id"}, BODY),
        ({name: value for name, value in SPEC.items() if name != "webhook-timestamp"}, BODY),
        ({}, BODY),
    ],
)
def test_what_is_not_as_it_was_signed_is_not_authentic(headers: dict[str, str], body: bytes) -> None:
    assert not is_authentic(Kind.GENERIC, headers, body, [SPEC_SECRET], NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_a_time_stamp_counts_for_five_minutes(seconds: int, taken: bool) -> None:
    assert is_authentic(Kind.GENERIC, signed(SECRET, NOW + seconds), BODY, [SECRET], NOW) is taken


def test_one_of_several_signatures_is_enough_and_not_of_too_many() -> None:
    right, wrong = signed(SECRET)["webhook-signature"], signed(OTHER)["webhook-signature"]
    both = {**signed(SECRET), "webhook-signature": f"v2,x {wrong} {right}"}
    assert is_authentic(Kind.GENERIC, both, BODY, [SECRET], NOW)
    many = {**both, "webhook-signature": " ".join([wrong] * 10 + [right])}
    assert not is_authentic(Kind.GENERIC, many, BODY, [SECRET], NOW)


def test_a_wrong_signature_is_not_made_good_by_the_secret_beside_it() -> None:
    bearer = {"authorization": f"Bearer {SECRET.get_secret_value()}"}
    assert is_authentic(Kind.GENERIC, bearer, BODY, [SECRET], NOW)
    assert is_authentic(
        Kind.GENERIC, {"authorization": bearer["authorization"].replace("B", "b", 1)}, BODY, [SECRET], NOW
    )
    assert not is_authentic(Kind.GENERIC, {**bearer, **signed(OTHER)}, BODY, [SECRET], NOW)
    assert not is_authentic(Kind.GENERIC, {"authorization": f"Bearer {OTHER.get_secret_value()}"}, BODY, [SECRET], NOW)
    assert not is_authentic(Kind.GENERIC, {"authorization": "Bearer "}, BODY, [SECRET], NOW)
    assert not is_authentic(Kind.GITHUB, bearer, BODY, [SECRET], NOW)


def test_github_signs_the_body() -> None:
    # The example of GitHub's documentation.
    example = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    secret = SecretStr("It's a Secret to Everybody")
    assert is_authentic(Kind.GITHUB, example, b"Hello, World!", [secret], NOW)
    assert not is_authentic(Kind.GITHUB, example, b"Hello, World?", [secret], NOW)
    assert not is_authentic(Kind.GITHUB, {}, b"Hello, World!", [secret], NOW)
    sha1 = hmac.new(secret.get_secret_value().encode(), b"Hello, World!", hashlib.sha1).hexdigest()
    assert not is_authentic(Kind.GITHUB, {"x-hub-signature": f"sha1={sha1}"}, b"Hello, World!", [secret], NOW)


def test_without_a_secret_nothing_is_authentic() -> None:
    assert not is_authentic(Kind.GITHUB, {"x-hub-signature-256": github_signature(SecretStr(""), BODY)}, BODY, [], NOW)
    assert not is_authentic(Kind.GENERIC, signed(SECRET), BODY, [], NOW)
    assert not is_authentic(Kind.GENERIC, {"authorization": "Bearer"}, BODY, [], NOW)


def test_secrets_differ_by_trigger_generation_and_key_and_are_always_the_same() -> None:
    other = SecretKeys.of("another key", "").newest
    made = {
        one.get_secret_value()
        for one in (SECRET, OTHER, KEYS.newest.secret(Kind.GENERIC, "id", 2), other.secret(Kind.GENERIC, "id", 1))
    }
    assert len(made) == 4
    assert all(one.startswith("whsec_") and len(one) == 50 for one in made)
    assert SecretKeys.of("a key", "").newest.secret(Kind.GENERIC, "id", 1) == SECRET
    assert SECRET.get_secret_value() not in repr((KEYS, SECRET))


def test_the_secret_before_is_valid_for_its_time_and_a_key_that_is_gone_leaves_none() -> None:
    now = datetime.fromtimestamp(NOW, UTC)
    keys = SecretKeys.of("new, old", "")
    old = SecretKeys.of("old", "").newest
    rotated = SecretState(keys.newest.key_id, 2, old.key_id, now + timedelta(seconds=1))
    present, before = keys.newest.secret(Kind.GITHUB, "id", 2), old.secret(Kind.GITHUB, "id", 1)
    assert keys.valid(Kind.GITHUB, "id", rotated, now) == [present, before]
    assert keys.valid(Kind.GITHUB, "id", rotated, now + timedelta(seconds=1)) == [present]
    assert SecretKeys.of("old", "").valid(Kind.GITHUB, "id", rotated, now) == [before]
    assert SecretKeys.of("third", "").valid(Kind.GITHUB, "id", rotated, now) == []


def test_without_keys_of_their_own_secrets_are_made_from_the_services_secret() -> None:
    keys = SecretKeys.of("", "s" * 40)
    assert keys.newest.key_id == SecretKeys.of(" , ", "s" * 40).newest.key_id
    assert keys.newest.key_id != SecretKeys.of("", "t" * 40).newest.key_id
    assert "s" * 40 not in keys.newest.key.get_secret_value()
    assert KEYS.valid(Kind.GENERIC, "id", STATE, datetime.now(UTC)) == [SECRET]
