"""The events of executions that began here a moment ago, from their first on.

Who watches an execution right after starting it is served from here, without a look at the rows. What is not held is
read from there, so anything may be dropped at any time.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from services.execution.records import Watched

MOST_EXECUTIONS = 5_000
MOST_BYTES = 16 << 20
LONGEST_BYTES = 64 << 10
"""Of one execution: with more than this it is not recent any more."""


@dataclass(slots=True, eq=False)
class Recent:
    """EventBatch bytes of its turns, which have all events up to `last`."""

    watched: Watched
    last: int = 0
    batches: list[bytes] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True, eq=False)
class RecentEvents:
    """The latest executions that were started here."""

    _kept: OrderedDict[bytes, Recent] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def begin(self, watched: Watched) -> None:
        """An execution was accepted."""
        self._kept[watched.execution_id.bytes] = Recent(watched)
        while len(self._kept) > MOST_EXECUTIONS or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def add(self, key: bytes, batch: bytes, first: int, last: int) -> None:
        """A turn was committed, with the events from `first` to `last`."""
        recent = self._kept.get(key)
        if recent is None:
            return
        if first != recent.last + 1 or recent.size + len(batch) > LONGEST_BYTES:
            # Another replica has driven it meanwhile, or it has got long.
            self._drop(key)
            return
        recent.batches.append(batch)
        recent.last = last
        recent.size += len(batch)
        self._bytes += len(batch)

    def of(self, key: bytes) -> Recent | None:
        """What is held of an execution."""
        return self._kept.get(key)

    def clear(self) -> None:
        """Forgets all: what was committed here before may not be what is stored."""
        self._kept.clear()
        self._bytes = 0

    def _drop(self, key: bytes) -> None:
        self._bytes -= self._kept.pop(key).size
