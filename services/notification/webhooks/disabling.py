"""When a webhook is disabled by itself, and what its owner is told of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from blockyard.egress.targets import shown
from blockyard.event.v1.notice_pb2 import NOTICE_KIND_WEBHOOK_DISABLED

from services.common.ids import new_id
from services.common.notice_rows import PendingNotice
from services.common.notices import new_notice
from services.notification.repository.deliveries import Failing
from services.notification.repository.followers import Connection
from services.notification.repository.webhooks import disable_webhook
from services.notification.webhooks.records import Attempt, DisableReason
from services.notification.webhooks.schedule import GONE

OF_ADDRESS = {DisableReason.GONE, DisableReason.FAILING}
"""What an address did. Another one may do better; a queue that is full is full wherever it leads."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How much may fail before a webhook is disabled: either is enough."""

    days: float
    """Without success, though something waited all that time."""
    deliveries: int
    """Given up one after the other."""


@dataclass(frozen=True, slots=True)
class Disabling:
    """That a webhook is disabled, and why."""

    webhook_id: UUID
    user_id: str
    url: str
    reason: DisableReason
    message: str

    async def carry_out(self, connection: Connection, now: datetime) -> bool:
        """In a transaction; False if it is disabled already, or leads elsewhere by now and the reason is what its
        address did."""
        details = {
            "webhook_id": str(self.webhook_id),
            "url": shown(self.url),
            "reason": self.reason.name,
            "message": self.message,
        }
        notice: PendingNotice = new_notice(new_id(), self.user_id, NOTICE_KIND_WEBHOOK_DISABLED, now, details)
        url = self.url if self.reason in OF_ADDRESS else None
        return await disable_webhook(connection, self.webhook_id, url, self.reason, self.message, notice, now)


def why_disabled(attempt: Attempt, failing: Failing, patience: Patience) -> tuple[DisableReason, str] | None:
    """Whether a webhook is disabled after this attempt has failed, and what is said of it."""
    last = f"The last attempt: {attempt.error}."
    if attempt.status == GONE:
        return DisableReason.GONE, "The endpoint answered 410 (Gone): it wants nothing more."
    if failing.given_up >= patience.deliveries:
        return DisableReason.FAILING, f"{failing.given_up} deliveries failed on all their attempts. {last}"
    if failing.since is not None and attempt.time - failing.since >= timedelta(days=patience.days):
        return DisableReason.FAILING, f"Nothing was delivered for {patience.days:g} days. {last}"
    return None
