"""Links that end mails: whoever has a mail may end those like it, without a password.

The token names the user and what it ends, signed with a key that is made from the services' secret. It does not expire:
a link in an old mail must work (RFC 8058). With another secret it does not any more, and says so.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from blockyard.common.v1 import errors_pb2

from services.common.errors import InvalidArgument
from services.notification.mail.kinds import ROUNDS, MailKind, Round
from services.notification.mail.records import Preferences

PURPOSE = b"blockyard mail unsubscribe 1"
SIGNATURE_BYTES = 16
LONGEST_TOKEN = 400


class UnsubscribeTokenInvalid(InvalidArgument):
    """The link to unsubscribe is not whole, or was made with a secret that is not in use any more. Take the one of a
    newer mail, or change your preferences."""

    reason = errors_pb2.ERROR_REASON_UNSUBSCRIBE_TOKEN_INVALID


@dataclass(frozen=True, slots=True)
class Ending:
    """What a link ends."""

    user_id: str
    kind: MailKind | None
    """None of a mail about many things."""
    round: Round | None

    def kinds(self, preferences: Preferences) -> Sequence[MailKind]:
        """The kinds that are off once it has ended them: of a digest all that come in it."""
        if self.kind is not None:
            return (self.kind,)
        return [kind for kind, frequency in preferences.frequencies.items() if ROUNDS.get(frequency) is self.round]


class Unsubscribing:
    """Makes tokens and reads them."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), PURPOSE, hashlib.sha256)

    def token(self, ending: Ending) -> str:
        """The token of a link."""
        payload = f"{ending.kind or 0}.{ending.round or 0}.{ending.user_id}".encode()
        return base64.urlsafe_b64encode(self._signature(payload) + payload).decode().rstrip("=")

    def read(self, token: str) -> Ending:
        """What a token ends. Raises UnsubscribeTokenInvalid."""
        try:
            if len(token) > LONGEST_TOKEN:
                raise UnsubscribeTokenInvalid
            whole = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise UnsubscribeTokenInvalid from None
        signature, payload = whole[:SIGNATURE_BYTES], whole[SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(payload)):
            raise UnsubscribeTokenInvalid
        kind, round, user_id = payload.decode().split(".", 2)
        if kind != "0":
            return Ending(user_id, MailKind(int(kind)), None)
        return Ending(user_id, None, Round(int(round)))

    def _signature(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, hashlib.sha256)[:SIGNATURE_BYTES]
