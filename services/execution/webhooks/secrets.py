"""Secrets of triggers: made from a key of the installation, the trigger's id and a number. None is stored anywhere.

What is checked is a signature, so a hash of the secret would not do. Rotation of a secret takes the next number;
rotation of the key puts a new one first, and the old one goes when no trigger needs it any more (decision 37).
"""

import base64
from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from services.common.derived_secrets import DerivedSecrets, KeyGone
from services.execution.webhooks.records import Kind, SecretState

PURPOSE = "triggers"
STANDARD_PREFIX = "whsec_"
"""Of secrets after the Standard Webhooks specification; base64 of the key follows."""


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """Makes the secrets of triggers."""

    derived: DerivedSecrets

    @property
    def newest_key(self) -> str:
        """Fingerprint of the key that new secrets are made from."""
        return self.derived.newest

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
        try:
            made = base64.b64encode(self.derived.derive(key_id, trigger_id, str(generation))).decode()
        except KeyGone:
            return None
        # GitHub takes any text, and knows nothing of the other form.
        return SecretStr(STANDARD_PREFIX + made if kind is Kind.GENERIC else made.rstrip("="))
