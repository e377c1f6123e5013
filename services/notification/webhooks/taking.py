"""Takes in what executions did, for the webhooks that want it, in the transaction of the follower.

So each event becomes one delivery of each webhook that was there, and not disabled, at that moment.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from blockyard.event.v1.event_pb2 import EventBatch

from services.notification.clock import Clock
from services.notification.cloudevents import cloud_event, event_id, event_type
from services.notification.entries import Entry
from services.notification.repository.deliveries import insert_deliveries, listeners
from services.notification.repository.followers import Connection
from services.notification.webhooks import metrics
from services.notification.webhooks.disabling import Disabling
from services.notification.webhooks.records import DisableReason, Listener, NewDelivery


class Taking:
    """See services/notification/followers.py."""

    def __init__(self, clock: Clock, most: int, most_bytes: int) -> None:
        """So many deliveries, of so many bytes, may wait for a webhook; with more it is disabled."""
        self._clock = clock
        self._most = most
        self._most_bytes = most_bytes

    async def take(self, connection: Connection, entries: Sequence[Entry]) -> bool:
        """Inserts deliveries; False if there were none."""
        found = await listeners(connection, {entry.user_id for entry in entries})
        if not found:
            return False
        of_user: dict[str, list[Listener]] = defaultdict(list)
        for listener in found:
            of_user[listener.user_id].append(listener)
        deliveries: dict[Listener, list[NewDelivery]] = defaultdict(list)
        for entry in entries:
            if entry.user_id in of_user:
                for listener, delivery in wanted(entry.batch, of_user[entry.user_id]):
                    deliveries[listener].append(delivery)
        now, disabled = self._clock(), False
        fitting: list[NewDelivery] = []
        for listener, ones in deliveries.items():
            if self._is_full(listener):
                disabled |= await self._overflow(listener).carry_out(connection, now)
            else:
                fitting += ones
        inserted = await insert_deliveries(connection, fitting, now) if fitting else 0
        metrics.QUEUED.inc(inserted)
        return disabled or inserted > 0

    def _is_full(self, listener: Listener) -> bool:
        return listener.pending >= self._most or listener.pending_bytes >= self._most_bytes

    def _overflow(self, listener: Listener) -> Disabling:
        message = f"{listener.pending:,} deliveries wait for it, which is more than is kept."
        return Disabling(listener.webhook_id, listener.user_id, listener.url, DisableReason.BACKLOG, message)


def wanted(batch: EventBatch, listeners: Sequence[Listener]) -> Iterator[tuple[Listener, NewDelivery]]:
    """The events of a turn for those who want them; each event is written once."""
    fitting = [listener for listener in listeners if listener.filter.fits(batch)]
    if not fitting:
        return
    for event in batch.events:
        takers = [listener for listener in fitting if listener.filter.wants(event)]
        if takers:
            body, name = cloud_event(batch, event), event_id(batch.execution_id, event.sequence)
            for listener in takers:
                yield listener, NewDelivery(listener.webhook_id, name, event_type(event.kind), body)
