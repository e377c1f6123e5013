"""Secrets and signatures of webhooks."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import SecretStr

from services.common.derived_secrets import DerivedSecrets, KeyGone
from services.notification.webhooks.records import Secrets
from services.notification.webhooks.signing import PURPOSE, Signer, signatures

HOOK = UUID("0190c0de-0000-7000-8000-000000000001")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OLD, NEW = "an old key of the operator's, long enough", "a new key of the operator's, long enough"


def signer(*keys: str) -> Signer:
    return Signer(DerivedSecrets(SecretStr(", ".join(keys)), SecretStr(""), PURPOSE))


def test_a_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification and its libraries.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signatures([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_made_anew_the_same_and_each_has_its_own() -> None:
    first = Secrets(1, signer(OLD).newest_key)
    secret = signer(OLD).secret(HOOK, first)
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert signer(OLD).secret(HOOK, first) == secret
    others = {
        signer(OLD).secret(UUID(int=HOOK.int + 1), first),
        signer(OLD).secret(HOOK, Secrets(2, first.key)),
        signer(NEW).secret(HOOK, Secrets(1, signer(NEW).newest_key)),
    }
    assert len({secret, *others}) == 4


def test_while_a_secret_is_rotated_both_sign() -> None:
    both = Secrets(2, signer(OLD).newest_key, signer(OLD).newest_key, NOW + timedelta(hours=1))
    headers = signer(OLD).headers(HOOK, both, "id", NOW, b"{}")
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    later = signer(OLD).headers(HOOK, both, "id", NOW + timedelta(hours=1), b"{}")
    assert len(later["webhook-signature"].split(" ")) == 1


def test_keys_of_the_operator_are_changed_by_putting_a_new_one_before_the_old() -> None:
    old = Secrets(1, signer(OLD).newest_key)
    changed = signer(NEW, OLD)
    assert changed.secret(HOOK, old) == signer(OLD).secret(HOOK, old)
    assert changed.newest_key == signer(NEW).newest_key
    with pytest.raises(KeyGone):
        signer(NEW).secret(HOOK, old)
    rotated = Secrets(2, changed.newest_key, old.key, NOW + timedelta(hours=1))
    assert len(changed.headers(HOOK, rotated, "id", NOW, b"")["webhook-signature"].split(" ")) == 2
    assert len(signer(NEW).headers(HOOK, rotated, "id", NOW, b"")["webhook-signature"].split(" ")) == 1


def test_names_that_read_alike_make_different_secrets() -> None:
    derived, others = (DerivedSecrets(SecretStr(OLD), SecretStr(""), purpose) for purpose in ("tests", "others"))
    key = derived.newest
    assert derived.derive(key, "ab", "c") != derived.derive(key, "a", "bc")
    assert derived.derive(key, "ab", "c") != others.derive(others.newest, "ab", "c")
