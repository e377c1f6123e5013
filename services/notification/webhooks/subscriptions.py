"""What owners do with their webhooks: make, read, change, delete, and give a new secret."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from blockyard.notification.v1 import webhook_pb2

from services.common.errors import InvalidArgument, PermissionDenied, Violation
from services.common.identity import Caller
from services.common.ids import new_id
from services.common.permissions import Permission
from services.notification.clock import Clock
from services.notification.repository.webhooks import WebhookRepository
from services.notification.webhooks.checking import CHANGEABLE, Rules
from services.notification.webhooks.errors import TooManyWebhooks, WebhookConflict, WebhookNotFound
from services.notification.webhooks.records import DisableReason, Secrets, State, Webhook
from services.notification.webhooks.signing import Signer

ATTEMPTS = 4
OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=7)


@dataclass(frozen=True, slots=True, eq=False)
class Subscriptions:
    """All of it for one caller at a time."""

    rows: WebhookRepository
    signer: Signer
    rules: Rules
    clock: Clock
    of_user: int
    """Webhooks of a user at most."""
    wake: Callable[[], None]
    """Tells senders that something may be due."""

    async def create(self, caller: Caller, message: webhook_pb2.Webhook) -> tuple[Webhook, str]:
        """A new webhook and its secret."""
        may_read_executions(caller)
        content = self.rules.content(message, CHANGEABLE)
        now = self.clock()
        reason = DisableReason.OWNER if content.state is State.DISABLED else DisableReason.NONE
        webhook = Webhook(
            webhook_id=new_id(),
            user_id=caller.user_id,
            content=content,
            disable_reason=reason,
            disable_message="",
            state_time=now,
            resume_cursor="",
            secrets=Secrets(1, self.signer.newest_key),
            create_time=now,
            update_time=now,
        )
        if not await self.rows.insert(webhook, self.of_user):
            raise TooManyWebhooks(f"You have {self.of_user} webhooks, which is the limit: delete some.")
        return webhook, self.signer.secret(webhook.webhook_id, webhook.secrets)

    async def get(self, caller: Caller, webhook_id: UUID) -> Webhook:
        """A webhook."""
        webhook = await self.rows.get(caller.user_id, webhook_id)
        if webhook is None:
            raise WebhookNotFound
        return webhook

    async def page(self, caller: Caller, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[Webhook]:
        """The caller's webhooks, newest first."""
        return await self.rows.page(caller.user_id, before, limit)

    async def update(
        self, caller: Caller, webhook_id: UUID, change: webhook_pb2.Webhook, names: Sequence[str]
    ) -> Webhook:
        """The webhook, with the named fields as in the change."""
        may_read_executions(caller)
        # A state that is not said is left as it is: whoever changes everything else would wake a paused one.
        names = [name for name in names if name != "state" or change.state]
        if not names:
            return await self.get(caller, webhook_id)
        changed = self.rules.content(change, names)
        for _ in range(ATTEMPTS):
            webhook = await self.get(caller, webhook_id)
            content = replace(webhook.content, **{name: getattr(changed, name) for name in names})
            if await self.rows.replace(webhook, content, self.clock()):
                self.wake()
                return await self.get(caller, webhook_id)
        raise WebhookConflict

    async def delete(self, caller: Caller, webhook_id: UUID) -> None:
        """The webhook is gone."""
        if not await self.rows.delete(caller.user_id, webhook_id):
            raise WebhookNotFound

    async def rotate(self, caller: Caller, webhook_id: UUID, overlap: timedelta) -> tuple[Webhook, str]:
        """The webhook, and its new secret; the one before signs too for so long."""
        may_read_executions(caller)
        if not timedelta() <= overlap <= LONGEST_OVERLAP:
            raise InvalidArgument(violations=[Violation("overlap", "expected 0 to 7 days")])
        now = self.clock()
        if not await self.rows.rotate(caller.user_id, webhook_id, self.signer.newest_key, now + overlap, now):
            raise WebhookNotFound
        webhook = await self.get(caller, webhook_id)
        return webhook, self.signer.secret(webhook_id, webhook.secrets)


def may_read_executions(caller: Caller) -> None:
    """A webhook is told what executions do: an API key that may not read them makes no way around that."""
    if Permission.READ_EXECUTIONS not in caller.permissions:
        raise PermissionDenied("Webhooks are sent what executions do, so whoever makes one needs READ_EXECUTIONS.")
