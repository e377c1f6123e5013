"""Which events a subscriber is told."""

from dataclasses import dataclass

from blockyard.event.v1.event_pb2 import EventBatch, EventKind

from services.notification.entries import Entry


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Sets that are empty exclude nothing."""

    user_id: str | None
    """None: of all users."""
    execution_ids: frozenset[str] = frozenset()
    graph_ids: frozenset[str] = frozenset()
    kinds: frozenset[EventKind.ValueType] = frozenset()

    def wants(self, entry: Entry) -> bool:
        """Whether something in a turn may be wanted."""
        if self.user_id is not None and entry.user_id != self.user_id:
            return False
        if self.execution_ids and entry.execution_id not in self.execution_ids:
            return False
        return not self.graph_ids or entry.batch.graph_id in self.graph_ids

    def wanted(self, entry: Entry) -> EventBatch | None:
        """What is wanted of a turn that `wants` has let through; None if it is nothing."""
        if not self.kinds:
            return entry.batch
        batch = entry.batch
        events = [event for event in batch.events if event.kind in self.kinds]
        if len(events) == len(batch.events):
            return batch
        if not events:
            return None
        part = EventBatch(
            execution_id=batch.execution_id,
            graph_id=batch.graph_id,
            graph_version=batch.graph_version,
            user_id=batch.user_id,
        )
        part.events.extend(events)
        return part
