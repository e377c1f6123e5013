"""Who is told of what executions do, on this replica.

Each subscriber has a queue with a bound. Who does not read it in time loses all of it, is told so, and resumes from
rows: nobody's slowness costs memory, or anybody else's time.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.notification.entries import Entry
from services.notification.filters import EventFilter

MOST_ENTRIES = 5_000
MOST_BYTES = 16 << 20
"""Of one queue."""


@dataclass(slots=True, eq=False)
class Queue:
    """What a subscriber has yet to be told. Entries are shared with others."""

    filter: EventFilter
    most_entries: int
    most_bytes: int
    entries: deque[Entry] = field(default_factory=deque)
    overflowed: bool = False
    """True if something was left out, until `reset`."""
    ended: bool = False
    """True once there is nothing to go on from: places that were told are given again."""
    work: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is something to tell."""
    _bytes: int = 0

    def put(self, entry: Entry) -> None:
        """Takes an entry, or none any more."""
        self.work.set()
        if self.overflowed:
            return
        if len(self.entries) >= self.most_entries or self._bytes > self.most_bytes:
            self.overflowed = True
            self.entries.clear()
            return
        self.entries.append(entry)
        self._bytes += len(entry.data)

    def end(self) -> None:
        """Takes no more."""
        self.ended = self.overflowed = True
        self.entries.clear()
        self.work.set()

    def take(self) -> Iterator[Entry]:
        """What is there."""
        while self.entries:
            entry = self.entries.popleft()
            self._bytes -= len(entry.data)
            yield entry

    def reset(self) -> None:
        """Begins anew, with what comes from now on."""
        self.entries.clear()
        self._bytes = 0
        self.overflowed = False


class Hub:
    """Brings each entry to those who want it."""

    def __init__(self, most_entries: int = MOST_ENTRIES, most_bytes: int = MOST_BYTES) -> None:
        """The bounds are those of each queue."""
        self._bounds = most_entries, most_bytes
        self._of_user: dict[str, set[Queue]] = {}
        self._of_all: set[Queue] = set()

    def tell(self, entry: Entry) -> None:
        """Something happened."""
        for queues in (self._of_user.get(entry.user_id), self._of_all):
            if queues:
                for queue in queues:
                    if queue.filter.wants(entry):
                        queue.put(entry)

    def end(self) -> None:
        """Whoever is told now must begin anew."""
        for queues in (*self._of_user.values(), self._of_all):
            for queue in queues:
                queue.end()

    @contextmanager
    def queue(self, filter: EventFilter) -> Iterator[Queue]:
        """A queue of what comes from now on."""
        queue = Queue(filter, *self._bounds)
        queues = self._of_all if filter.user_id is None else self._of_user.setdefault(filter.user_id, set())
        queues.add(queue)
        try:
            yield queue
        finally:
            queues.discard(queue)
            if filter.user_id is not None and not queues:
                self._of_user.pop(filter.user_id, None)
