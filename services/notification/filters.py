"""Which events a subscriber is told."""

from dataclasses import dataclass

from blockyard.event.v1.event_pb2 import EventKind

from services.notification.entries import Entry, Part


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
        return not self.graph_ids or entry.graph_id in self.graph_ids

    def part(self, entry: Entry) -> Part | None:
        """What is wanted of a turn that `wants` has let through; None if it is nothing."""
        if not self.kinds:
            return Part(entry)
        wanted = tuple(at for at, event in enumerate(entry.batch.events) if event.kind in self.kinds)
        return Part(entry, wanted) if wanted else None
