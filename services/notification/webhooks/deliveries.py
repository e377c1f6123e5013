"""What owners do with deliveries: read the log, send one again, replay what happened before, and try a webhook."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from services.common.derived_secrets import KeyGone
from services.common.identity import Caller
from services.notification.clock import Clock
from services.notification.repository.deliveries import DeliveryRepository
from services.notification.webhooks.errors import DeliveryDone, DeliveryNotFound, SecretLost
from services.notification.webhooks.records import Attempt, Delivery, DeliveryState, Webhook
from services.notification.webhooks.replaying import Replayer
from services.notification.webhooks.sending import Poster
from services.notification.webhooks.signing import Signer
from services.notification.webhooks.slots import Slots
from services.notification.webhooks.subscriptions import Subscriptions, may_read_executions

PING = "blockyard.ping"


@dataclass(frozen=True, slots=True, eq=False)
class Deliveries:
    """All of it for one caller at a time."""

    subscriptions: Subscriptions
    rows: DeliveryRepository
    replayer: Replayer
    poster: Poster
    signer: Signer
    slots: Slots
    clock: Clock
    wake: Callable[[], None]
    """Tells senders that something is due."""

    async def page(
        self,
        caller: Caller,
        webhook_id: UUID,
        state: DeliveryState | None,
        before: tuple[datetime, UUID] | None,
        limit: int,
    ) -> Sequence[Delivery]:
        """The log of a webhook, newest first."""
        await self.subscriptions.get(caller, webhook_id)
        return await self.rows.page(webhook_id, state, before, limit)

    async def retry(self, caller: Caller, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Makes a delivery due now."""
        await self.subscriptions.get(caller, webhook_id)
        done = await self.rows.retry(webhook_id, delivery_id, self.clock())
        delivery = await self.rows.get(webhook_id, delivery_id)
        if delivery is None:
            raise DeliveryNotFound
        if not done:
            raise DeliveryDone
        self.wake()
        return delivery

    async def replay(self, caller: Caller, webhook_id: UUID, cursor: str, start_time: datetime | None) -> None:
        """Asks for what happened behind the cursor, or since that time."""
        may_read_executions(caller)
        await self.replayer.begin(await self.subscriptions.get(caller, webhook_id), cursor, start_time)

    async def ping(self, caller: Caller, webhook_id: UUID) -> Attempt:
        """Sends a ping, and says what came of it."""
        webhook = await self.subscriptions.get(caller, webhook_id)
        message_id, now = str(uuid.uuid4()), self.clock()
        body = _ping(webhook, message_id, now)
        try:
            headers = self.signer.headers(webhook_id, webhook.secrets, message_id, now, body)
        except KeyGone:
            raise SecretLost from None
        async with self.slots.taken(caller.user_id):
            sent = await self.poster.post(1, webhook.content.url, headers, body)
        return sent.attempt


def _ping(webhook: Webhook, message_id: str, now: datetime) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": message_id,
            "source": f"/webhooks/{webhook.webhook_id}",
            "type": PING,
            "time": now.isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "data": {"webhookId": str(webhook.webhook_id), "userId": webhook.user_id},
        }
    )
