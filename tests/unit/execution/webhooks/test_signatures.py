"""Who may deliver: signatures that are right, wrong, old, of another secret, or not there."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from services.common.derived_secrets import DerivedSecrets
from services.execution.webhooks.records import Kind, SecretState
from services.execution.webhooks.secrets import PURPOSE, SecretKeys
from services.execution.webhooks.signatures import claim_of, holds
from tests.webhook_signing import github_signature, standard_signature

NOW = 1_614_265_330
BODY = b'{"test": 2432232314}'
# The example of the Standard Webhooks specification.
SPEC_SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
SPEC = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(NOW),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def keys_of(*keys: str, service_secret: str = "") -> SecretKeys:
    return SecretKeys(DerivedSecrets(SecretStr(", ".join(keys)), SecretStr(service_secret), PURPOSE))


def made(keys: SecretKeys, trigger_id: str = "id", generation: int = 1, kind: Kind = Kind.GENERIC) -> SecretStr:
    secret = keys.present(kind, trigger_id, SecretState(keys.newest_key, generation, "", None))
    assert secret is not None
    return secret


KEYS = keys_of("a key")
STATE = SecretState(KEYS.newest_key, 1, "", None)
SECRET = made(KEYS)
OTHER = made(KEYS, "other")


def signed(secret: SecretStr, timestamp: int = NOW, body: bytes = BODY) -> dict[str, str]:
    signature = standard_signature(secret, "msg", timestamp, body)
    return {"webhook-id": "msg", "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def is_authentic(kind: Kind, headers: Mapping[str, str], body: bytes, secrets: Sequence[SecretStr], now: float) -> bool:
    claim = claim_of(kind, headers, body, now)
    return claim is not None and holds(claim, secrets)


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
    found = {one.get_secret_value() for one in (SECRET, OTHER, made(KEYS, "id", 2), made(keys_of("another key")))}
    assert len(found) == 4
    assert all(one.startswith("whsec_") and len(one) == 50 for one in found)
    assert made(keys_of("a key")) == SECRET
    assert SECRET.get_secret_value() not in repr((KEYS, SECRET))


def test_the_secret_before_is_valid_for_its_time_and_a_key_that_is_gone_leaves_none() -> None:
    now = datetime.fromtimestamp(NOW, UTC)
    keys, old = keys_of("new", "old"), keys_of("old")
    rotated = SecretState(keys.newest_key, 2, old.newest_key, now + timedelta(seconds=1))
    present, before = made(keys, "id", 2, Kind.GITHUB), made(old, "id", 1, Kind.GITHUB)
    assert keys.valid(Kind.GITHUB, "id", rotated, now) == [present, before]
    assert keys.valid(Kind.GITHUB, "id", rotated, now + timedelta(seconds=1)) == [present]
    assert old.valid(Kind.GITHUB, "id", rotated, now) == [before]
    assert keys_of("third").valid(Kind.GITHUB, "id", rotated, now) == []


def test_without_keys_of_their_own_secrets_are_made_from_the_services_secret() -> None:
    keys = keys_of(service_secret="s" * 40)
    assert keys.newest_key == keys_of(" ", service_secret="s" * 40).newest_key
    assert keys.newest_key != keys_of(service_secret="t" * 40).newest_key
    assert KEYS.valid(Kind.GENERIC, "id", STATE, datetime.now(UTC)) == [SECRET]
