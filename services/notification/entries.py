"""What an execution did in one committed turn, as subscribers are told of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from blockyard.event.v1.event_pb2 import Event, EventBatch, ValueAbsence
from blockyard.feeds import NO_GRAPH, FeedPlace, user_of_word
from blockyard.values import BLOB_KEY

from services.common.bus import Delivery
from services.notification.cloudevents import cloud_events

MARK = BLOB_KEY.encode()
"""Stands in every value that is, or holds, a reference to the blob store."""
TOO_LARGE = "The value is larger than events carry. ListEvents has it."


@dataclass(slots=True, eq=False)
class Entry:
    """A turn with events. It is shared by all who are told of it."""

    partition: int
    sequence: int
    """Its place in the feed of the partition."""
    user_id: str
    graph_id: str
    execution_id: str
    data: bytes
    """A message EventBatch, with references to large values."""
    _batch: EventBatch | None = field(default=None, repr=False)
    _cloud_events: list[bytes] | None = field(default=None, repr=False)

    @classmethod
    def of_turn(cls, partition: int, sequence: int, data: bytes) -> Self:
        """From what ReadFeeds gives."""
        batch = EventBatch.FromString(data)
        return cls(partition, sequence, batch.user_id, batch.graph_id, batch.execution_id, data)

    @property
    def batch(self) -> EventBatch:
        """Its events as they are told: what is not in the message, but in the blob store, is absent."""
        if self._batch is None:
            self._batch = EventBatch.FromString(self.data)
            if MARK in self.data:
                for event in self._batch.events:
                    if MARK in event.value:
                        event.value = b""
                        event.value_absence = ValueAbsence.VALUE_ABSENCE_TOO_LARGE
                        event.message = TOO_LARGE
        return self._batch

    @property
    def cloud_events(self) -> list[bytes]:
        """The same as JSON, made once for all who are told."""
        if self._cloud_events is None:
            self._cloud_events = list(cloud_events(self.batch))
        return self._cloud_events


@dataclass(frozen=True, slots=True)
class Part:
    """What one subscriber is told of an entry."""

    entry: Entry
    wanted: tuple[int, ...] | None = None
    """Which of its events; None: all."""

    @property
    def batch(self) -> EventBatch:
        """As protobuf."""
        whole = self.entry.batch
        if self.wanted is None:
            return whole
        return with_events(whole, (whole.events[at] for at in self.wanted))

    def __len__(self) -> int:
        """Events in it."""
        return len(self.entry.batch.events) if self.wanted is None else len(self.wanted)

    @property
    def cloud_events(self) -> Sequence[bytes]:
        """As JSON, an event each."""
        whole = self.entry.cloud_events
        return whole if self.wanted is None else [whole[at] for at in self.wanted]


def with_events(batch: EventBatch, events: Iterable[Event]) -> EventBatch:
    """What a batch says, of these of its events alone."""
    part = EventBatch(
        execution_id=batch.execution_id,
        graph_id=batch.graph_id,
        graph_version=batch.graph_version,
        user_id=batch.user_id,
        parent_execution_id=batch.parent_execution_id,
    )
    part.events.extend(events)
    return part


def entry_of(delivery: Delivery, place: FeedPlace) -> Entry:
    """From a message of the stream EVENTS, whose subject names user, graph and execution."""
    _, _, user, graph, execution_id = delivery.subject.split(".", 4)
    graph_id = "" if graph == NO_GRAPH else graph
    return Entry(place.partition, place.sequence, user_of_word(user), graph_id, execution_id, delivery.data)
