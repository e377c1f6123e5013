"""Secrets and signatures after Standard Webhooks: https://www.standardwebhooks.com

A request is signed over "<webhook-id>.<webhook-timestamp>.<body>" with HMAC-SHA256, once with each secret that is live.
"""

import base64
import hmac
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.common.derived_secrets import DerivedSecrets, KeyGone
from services.notification.webhooks.records import Secrets

PURPOSE = "webhooks"
PREFIX = "whsec_"


class Signer:
    """Makes the secrets of webhooks, and signs with them."""

    def __init__(self, derived: DerivedSecrets) -> None:
        self._derived = derived

    @property
    def newest_key(self) -> str:
        """Fingerprint of the key that new secrets are made from."""
        return self._derived.newest

    def secret(self, webhook_id: UUID, secrets: Secrets) -> str:
        """The present secret, as its owner is given it; raises KeyGone."""
        return PREFIX + base64.b64encode(self._key(webhook_id, secrets.key, secrets.generation)).decode()

    def headers(
        self, webhook_id: UUID, secrets: Secrets, message_id: str, time: datetime, body: bytes
    ) -> dict[str, str]:
        """What makes a request one of Standard Webhooks; raises KeyGone if the present secret cannot be made."""
        keys = [self._key(webhook_id, secrets.key, secrets.generation)]
        if secrets.previous_expire_time is not None and time < secrets.previous_expire_time:
            keys += self._previous(webhook_id, secrets)
        timestamp = str(int(time.timestamp()))
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signatures(keys, message_id, timestamp, body),
        }

    def _previous(self, webhook_id: UUID, secrets: Secrets) -> list[bytes]:
        try:
            return [self._key(webhook_id, secrets.previous_key, secrets.generation - 1)]
        except KeyGone:
            return []

    def _key(self, webhook_id: UUID, fingerprint: str, generation: int) -> bytes:
        return self._derived.derive(fingerprint, str(webhook_id), str(generation))


def signatures(keys: Sequence[bytes], message_id: str, timestamp: str, body: bytes) -> str:
    """The header webhook-signature: one for each key."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
