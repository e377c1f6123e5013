"""What was handled, and what must have been before the cursor may move. Does no I/O.

The notification service tells, with cursors, when executions start, wait and end: each of these is a claim that all
events up to it exist. Messages of NATS fulfil claims. A cursor is taken once all claims before it are fulfilled; what
a claim still lacks after a while was lost on the way, and is read from rows. So NATS need not be trusted for anything.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from blockyard.cursors import decode_cursor
from blockyard.event.v1.event_pb2 import EventBatch
from blockyard.events import LAST_KINDS
from blockyard.feeds import FeedPlace

APART_SECONDS = 2.0
"""What messages of different executions may come out of order by."""

_LAST = frozenset(kind.value for kind in LAST_KINDS)


@dataclass(frozen=True, slots=True)
class Claim:
    """An execution has events up to this sequence."""

    execution_id: str
    graph_id: str
    user_id: str
    sequence: int
    ends: bool
    time: float
    """When that event was recorded, in seconds since 1970."""
    due: float
    """When it is looked for in rows at the earliest, in seconds of the loop."""


class Ledger:
    """How far a subscriber is."""

    def __init__(self, cursor: str, seen: dict[str, int]) -> None:
        self.cursor = cursor
        self.seen = seen
        self._positions = decode_cursor(cursor) if cursor else {}
        self._open: deque[Claim | str] = deque()
        """Claims, and cursors behind those that came before."""
        self._newest = 0.0
        """When the newest event was recorded that a message has brought, in seconds since 1970."""
        self._ended: set[str] = set()
        """Executions whose end was handled, which the next cursor has behind it."""

    def __len__(self) -> int:
        """Claims that are open."""
        return len(self._open)

    def handled_of(self, execution_id: str, place: FeedPlace | None) -> int | None:
        """The last sequence that was handled of an execution; None if that is all of it."""
        seen = self.seen.get(execution_id)
        if seen is None and place is not None and place.sequence <= self._positions.get(place.partition, 0):
            return None  # the cursor is behind it, so it was handled to its end and forgotten
        return seen or 0

    def brought(self, batch: EventBatch) -> None:
        """A message came."""
        self._newest = max(self._newest, batch.events[-1].time.seconds)

    def is_due(self, claim: Claim, now: float, idle: bool) -> bool:
        """Whether messages will not fulfil a claim any more: none waits, or those of later events have come.

        So a subscriber that has a lot to catch up with takes it from messages, and one that never rests misses nothing.
        """
        return now >= claim.due and (idle or self._newest > claim.time + APART_SECONDS)

    def handled(self, execution_id: str, sequence: int) -> None:
        """An event was handled."""
        self.seen[execution_id] = sequence

    def claim(self, batches: Iterable[EventBatch], cursor: str, due: float) -> None:
        """What the notification service has told."""
        for batch in batches:
            for event in batch.events:
                ends, time = event.kind in _LAST, float(event.time.seconds)
                claim = Claim(batch.execution_id, batch.graph_id, batch.user_id, event.sequence, ends, time, due)
                self._open.append(claim)
        if cursor:
            self._open.append(cursor)

    def first_open(self) -> Claim | None:
        """The first claim that is not fulfilled; takes the cursors before it."""
        while self._open:
            first = self._open[0]
            if isinstance(first, str):
                self._take(first)
            elif not self._fulfilled(first):
                return first
            elif first.ends:
                self._ended.add(first.execution_id)
            self._open.popleft()
        return None

    def _fulfilled(self, claim: Claim) -> bool:
        return self.seen.get(claim.execution_id, 0) >= claim.sequence

    def _take(self, cursor: str) -> None:
        if cursor == self.cursor:
            return  # a subscription was resumed here: what has ended since is behind no cursor yet, and is told again
        self.cursor = cursor
        self._positions = decode_cursor(cursor)
        for execution_id in self._ended:
            self.seen.pop(execution_id, None)
        self._ended.clear()
