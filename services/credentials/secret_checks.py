"""Whether somebody knows the key in a credential, said without giving it: for webhooks that are signed with it."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from services.common.errors import InvalidArgument, Violation
from services.credentials.errors import CredentialUnusable
from services.credentials.records import CredentialType
from services.credentials.vault import Vault

STANDARD_PREFIX = "whsec_"
"""Of secrets after the Standard Webhooks specification; base64 of the key follows."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What somebody shows for knowing a secret."""

    signed: bytes
    signatures: Sequence[bytes]
    digest: bytes
    as_text: bool


@dataclass(frozen=True, slots=True, eq=False)
class SecretChecks:
    """Asked by the execution service, for a credential of whoever owns a trigger."""

    vault: Vault

    async def knows(self, user_id: str, credential_id: UUID, shown: Shown) -> bool:
        """Raises InvalidArgument for other kinds than API keys, CredentialUnusable for one that has expired, and what
        Vault.open raises."""
        opened = await self.vault.open(user_id, credential_id)
        record = opened.record
        if record.type is not CredentialType.API_KEY:
            raise InvalidArgument(violations=[Violation("credential_id", "expected a credential of kind api_key")])
        if record.expire_time is not None and record.expire_time <= datetime.now(UTC):
            raise CredentialUnusable("The credential has expired.")
        return holds(str(opened.parts["api_key"]), shown)


def holds(secret: str, shown: Shown) -> bool:
    """Whether this secret is known to whoever shows that. Every comparison takes the same time."""
    known = bool(shown.digest) and hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), shown.digest)
    expected = hmac.digest(_key(secret, shown.as_text), shown.signed, "sha256")
    for signature in shown.signatures:
        known |= hmac.compare_digest(signature, expected)
    return known


def _key(secret: str, as_text: bool) -> bytes:
    if not as_text and secret.startswith(STANDARD_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
