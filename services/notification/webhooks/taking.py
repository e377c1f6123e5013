"""Takes in what executions did, for the webhooks that want it, in the transaction of the follower.

So each event becomes one delivery of each webhook that was there, and not disabled, at that moment.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from blockyard.event.v1.event_pb2 import EventBatch

from services.notification.clock import Clock
from services.notification.cloudevents import cloud_event, event_id, event_type
from services.notification.entries import Entry
from services.notification.followers import TooManyOwed
from services.notification.repository.followers import Connection
from services.notification.repository.queues import insert_deliveries, listeners
from services.notification.webhooks import metrics
from services.notification.webhooks.disabling import Disabling
from services.notification.webhooks.records import DisableReason, Listener, NewDelivery, delivery_id

MOST_LOOKED_AT = 5_000
"""Events of a transaction, each as often as there are webhooks that may want it, unless one turn alone has more."""
MOST_BYTES = 8 << 20
"""Of these."""
PAUSE_EVERY = 250
"""Deliveries are made without a pause, so that the loop goes on."""


class Taking:
    """See services/notification/followers.py."""

    def __init__(self, clock: Clock, most: int, most_bytes: int) -> None:
        """So many deliveries, of so many bytes, may wait for a webhook; with more it is disabled."""
        self._clock = clock
        self._most = most
        self._most_bytes = most_bytes

    async def take(self, connection: Connection, entries: Sequence[Entry]) -> bool:
        """Inserts deliveries; False if there were none. Raises TooManyOwed."""
        found = await listeners(connection, {entry.user_id for entry in entries})
        if not found:
            return False
        of_user: dict[str, list[Listener]] = defaultdict(list)
        for listener in found:
            of_user[listener.user_id].append(listener)
        _refuse_too_many(entries, of_user)
        deliveries = await _made(entries, of_user)
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


def _refuse_too_many(entries: Sequence[Entry], of_user: Mapping[str, Sequence[Listener]]) -> None:
    if len(entries) == 1:
        return
    number = size = 0
    for entry in entries:
        if entry.user_id in of_user:
            fitting = len(_fitting(entry.batch, of_user[entry.user_id]))
            number += fitting * len(entry.batch.events)
            size += fitting * len(entry.data)
        if number > MOST_LOOKED_AT or size > MOST_BYTES:
            raise TooManyOwed


async def _made(
    entries: Sequence[Entry], of_user: Mapping[str, Sequence[Listener]]
) -> Mapping[Listener, Sequence[NewDelivery]]:
    made: dict[Listener, list[NewDelivery]] = defaultdict(list)
    since = 0
    for entry in entries:
        if entry.user_id not in of_user:
            continue
        for listener, delivery in wanted(entry.batch, of_user[entry.user_id]):
            made[listener].append(delivery)
            since += 1
            if since >= PAUSE_EVERY:
                since = 0
                await asyncio.sleep(0)
    return made


def _fitting(batch: EventBatch, listeners: Sequence[Listener]) -> Sequence[Listener]:
    return [listener for listener in listeners if listener.filter.fits(batch)]


def wanted(batch: EventBatch, listeners: Sequence[Listener]) -> Iterator[tuple[Listener, NewDelivery]]:
    """The events of a turn for those who want them; each event is written once."""
    fitting = _fitting(batch, listeners)
    if not fitting:
        return
    for event in batch.events:
        takers = [listener for listener in fitting if listener.filter.wants(event)]
        if takers:
            body, name = cloud_event(batch, event), event_id(batch.execution_id, event.sequence)
            for listener in takers:
                key = delivery_id(listener.webhook_id, name)
                yield listener, NewDelivery(key, listener.webhook_id, name, event_type(event.kind), body)
