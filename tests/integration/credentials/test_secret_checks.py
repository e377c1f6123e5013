"""Whether somebody knows the key in a credential is said without giving it."""

import base64
import hashlib
import hmac
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from blockyard.credentials.v1.credential_pb2 import CredentialSecret, UserPassword
from blockyard.runner.v1.lease_service_pb2 import CheckSecretRequest, CheckSecretResponse

from services.credentials.secret_checks import Shown, holds
from tests.integration.credentials.service import Service
from tests.integration.credentials.test_matching import a_user, keep

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
SIGNED = b"msg.1.{}"


def signature(key: bytes) -> bytes:
    return hmac.digest(key, SIGNED, "sha256")


async def knows(service: Service, user: str, credential_id: str, **shown: Any) -> bool:
    request = CheckSecretRequest(user_id=user, credential_id=credential_id, **shown)
    answer: CheckSecretResponse = await service.service().call("CheckSecret", request)
    return answer.known


async def test_who_knows_a_key_is_told_from_who_does_not(service: Service) -> None:
    user = a_user()
    kept = (await keep(service, user, CredentialSecret(api_key=SECRET))).id
    right = signature(b"k" * 24)
    assert await knows(service, user, kept, signed=SIGNED, signatures=[b"", b"x" * 32, right])
    assert await knows(service, user, kept, signed=SIGNED, signatures=[signature(SECRET.encode())], as_text=True)
    assert await knows(service, user, kept, digest=hashlib.sha256(SECRET.encode()).digest())
    assert not await knows(service, user, kept, signed=SIGNED, signatures=[signature(SECRET.encode())])
    assert not await knows(service, user, kept, signed=SIGNED + b" ", signatures=[right])
    assert not await knows(service, user, kept, digest=hashlib.sha256(b"other").digest())
    assert not await knows(service, user, kept)


async def test_what_is_no_key_of_the_users_is_refused(service: Service) -> None:
    user = a_user()
    kept = (await keep(service, user, CredentialSecret(api_key=SECRET))).id
    other = await keep(service, user, CredentialSecret(user_password=UserPassword(username="u", password="p")))

    async def refusal(**fields: Any) -> Any:
        return await service.service().refused("CheckSecret", CheckSecretRequest(user_id=user, **fields))

    assert (await refusal(credential_id=str(uuid.uuid4()))).reason == "CREDENTIAL_NOT_FOUND"
    assert (await refusal(credential_id="no id")).reason == "CREDENTIAL_NOT_FOUND"
    assert (await refusal(credential_id=other.id)).code is grpc.StatusCode.INVALID_ARGUMENT
    assert (await refusal(credential_id=kept, signatures=[b"x"] * 11)).code is grpc.StatusCode.INVALID_ARGUMENT
    asked = CheckSecretRequest(user_id=a_user(), credential_id=kept)
    assert (await service.service().refused("CheckSecret", asked)).reason == "CREDENTIAL_NOT_FOUND"
    await service.pool.execute(
        "UPDATE credentials SET expire_time = $2 WHERE credential_id = $1",
        uuid.UUID(kept),
        datetime.now(UTC) - timedelta(seconds=1),
    )
    assert (await refusal(credential_id=kept)).reason == "CREDENTIAL_UNUSABLE"


@pytest.mark.parametrize("secret", ["whsec_no base64!", "plain"])
def test_what_only_looks_like_a_standard_secret_is_text(secret: str) -> None:
    assert holds(secret, Shown(SIGNED, [signature(secret.encode())], b"", as_text=False))
