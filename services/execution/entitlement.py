"""Whether something may be started for users who do not call: schedules and triggers go by what they may do now."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field

from blockyard.account.v1.identity_service_pb2 import IdentifyRequest, IdentifyResponse

from services.common.callers import ROLES, Identities
from services.common.permissions import ROLES as PERMISSIONS_OF
from services.common.permissions import Permission

KEPT = 10_000
"""Users of whom it is kept, for as long as answers of the account service hold."""

DISABLED = "its owner is disabled"
MAY_NOT = "its owner may no longer start executions"


@dataclass(slots=True, eq=False)
class Entitlement:
    """Asks the account service, if there is one."""

    identities: Identities | None
    _known: OrderedDict[str, tuple[float, str]] = field(default_factory=OrderedDict)

    async def refusal(self, user_id: str) -> str:
        """Why nothing may be started for a user; empty if it may. Raises Unavailable."""
        if self.identities is None:
            return ""
        asked_at = time.monotonic()
        known = self._known.get(user_id)
        if known is not None and asked_at < known[0]:
            return known[1]
        answer = await self.identities.identify(IdentifyRequest(user_id=user_id))
        refusal = _refusal(answer)
        self._known[user_id] = (asked_at + answer.valid.ToNanoseconds() / 1e9, refusal)
        self._known.move_to_end(user_id)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return refusal


def _refusal(answer: IdentifyResponse) -> str:
    """A user of whom the account service has not heard has had a token before there was one: nothing is known of them
    that speaks against it, as with a token."""
    if not answer.known:
        return ""
    if not answer.active:
        return DISABLED
    role = ROLES.get(answer.role)
    return "" if role is not None and Permission.RUN_EXECUTIONS in PERMISSIONS_OF[role] else MAY_NOT
