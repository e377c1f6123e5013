"""Secrets of triggers: made from a key of the installation, the trigger's id and a number. None is stored anywhere.

What is checked is a signature, so a hash of the secret would not do. Rotation of a secret takes the next number;
rotation of the key puts a new one first, and the old one goes when no trigger needs it any more (decision 37).
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from services.execution.webhooks.records import Kind, SecretState

STANDARD_PREFIX = "whsec_"
"""Of secrets after the Standard Webhooks specification; base64 of the key follows."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key that secrets are made from. Its id tells nothing of it."""

    key_id: str
    key: SecretStr

    def secret(self, kind: Kind, trigger_id: str, generation: int) -> SecretStr:
        """The secret of a trigger."""
        material = f"blockyard trigger secret\0{trigger_id}\0{generation}".encode()
        made = base64.b64encode(hmac.digest(self.key.get_secret_value().encode(), material, "sha256")).decode()
        # GitHub takes any text, and knows nothing of the other form.
        return SecretStr(STANDARD_PREFIX + made if kind is Kind.GENERIC else made.rstrip("="))


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """The keys of this installation, that of new secrets first."""

    keys: Sequence[SecretKey]

    @staticmethod
    def of(setting: str, service_secret: str) -> "SecretKeys":
        """Those of the setting, parted by commas; without any, one that is made from the services' secret."""
        texts = [text.strip() for text in setting.split(",") if text.strip()]
        if not texts:
            texts = [hmac.digest(service_secret.encode(), b"blockyard trigger key", "sha256").hex()]
        return SecretKeys([SecretKey(_id(text), SecretStr(text)) for text in texts])

    @property
    def newest(self) -> SecretKey:
        """The key of new secrets."""
        return self.keys[0]

    def present(self, kind: Kind, trigger_id: str, state: SecretState) -> SecretStr | None:
        """The present secret of a trigger; None if its key is lost."""
        return self._made(state.key_id, kind, trigger_id, state.generation)

    def valid(self, kind: Kind, trigger_id: str, state: SecretState, now: datetime) -> list[SecretStr]:
        """The secrets of a trigger that are valid now, the present one first; none if their keys are lost."""
        found = [self.present(kind, trigger_id, state)]
        if state.previous_until is not None and now < state.previous_until:
            found.append(self._made(state.previous_key_id, kind, trigger_id, state.generation - 1))
        return [one for one in found if one is not None]

    def _made(self, key_id: str, kind: Kind, trigger_id: str, generation: int) -> SecretStr | None:
        keys = (one for one in self.keys if one.key_id == key_id)
        return next((one.secret(kind, trigger_id, generation) for one in keys), None)


def _id(text: str) -> str:
    return hashlib.sha256(b"blockyard trigger key id\0" + text.encode()).hexdigest()[:12]
