"""Repairs what NATS has lost, at an operator's word: streams as they should be, and how far they are filled again.

All of it comes by itself as well: whoever finds a stream missing, or made anew, sends and publishes from rows and
memory what belongs into it. This makes the streams at once, tells this replica, and looks over all replicas whether the
rest is done; so it may be called at any time, by several people, and again until it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from services.common.bus import NOTICES_CONFIGURATION, RESULTS, Bus, JetStreamRefused, StreamMissing
from services.common.bus.errors import BusError
from services.common.bus.jetstream import differences
from services.execution.errors import StreamNotMade, StreamsAway
from services.execution.marks import EVERY_SECONDS
from services.execution.repository.looking import StandingRepository
from services.execution.streams import partition_of

LOOK_SECONDS = EVERY_SECONDS / 4
LOOKS = 12
"""What is published now has been noted after so many."""


class StreamState(Enum):
    """What became of a stream."""

    FOUND = auto()
    CHANGED = auto()
    MADE = auto()


@dataclass(frozen=True, slots=True)
class StreamFound:
    """A stream after the repair."""

    name: str
    state: StreamState
    messages: int
    created: datetime
    """It may have been made anew before anybody asked for it."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was done, and what is not yet."""

    streams: Sequence[StreamFound]
    partitions: int
    unheld: int
    """Partitions that no living replica holds."""
    deaf: int
    """Those that one holds, and whose results it does not take: their consumer is missing."""
    unpublished: int
    """Turns that were there when this began, and whose events are not known to be in the stream."""

    @property
    def whole(self) -> bool:
        """Whether nothing is missing any more."""
        made = any(one.state is not StreamState.FOUND for one in self.streams)
        return not (made or self.unheld or self.deaf or self.unpublished)


class Repair:
    """Of one installation, by one of its replicas."""

    def __init__(
        self,
        bus: Bus,
        standing: StandingRepository,
        configurations: Sequence[Mapping[str, Any]],
        streams_lost: Callable[[], Awaitable[None]],
    ) -> None:
        """`streams_lost` has this replica compare streams with what it knows of them, and fill what was made anew."""
        self._bus = bus
        self._standing = standing
        self._configurations = [*configurations, NOTICES_CONFIGURATION]
        self._streams_lost = streams_lost

    async def run(self) -> Repaired:
        """Makes what is missing, and looks what else is."""
        heads = await self._standing.heads()
        try:
            streams = [await self._ensure(one) for one in self._configurations]
            await self._streams_lost()
            names = await self._bus.jetstream.consumer_names(RESULTS)
        except BusError as error:
            raise StreamsAway(f"NATS cannot be asked: {error}. Try again.") from error
        hearing = {partition_of(name) for name in names}
        held = await self._standing.held()
        partitions = await self._standing.partitions()
        return Repaired(
            streams,
            partitions.partitions,
            partitions.orphans,
            len(held - hearing),
            await self._unpublished(heads),
        )

    async def _unpublished(self, heads: Mapping[int, int]) -> int:
        """Of turns up to these. While executions go on there are always some that were written since, and what is
        published is noted a moment later."""
        left = await self._standing.unpublished(heads)
        for _ in range(LOOKS):
            if not left:
                break
            await asyncio.sleep(LOOK_SECONDS)
            left = await self._standing.unpublished(heads)
        return left

    async def _ensure(self, configuration: Mapping[str, Any]) -> StreamFound:
        jetstream, name = self._bus.jetstream, str(configuration["name"])
        try:
            there = await jetstream.configuration(name)
        except StreamMissing:
            state = StreamState.MADE
        else:
            wanted = jetstream.wanted(configuration)
            state = StreamState.CHANGED if differences(there, wanted) else StreamState.FOUND
        try:
            info = await jetstream.ensure_stream(configuration)
        except JetStreamRefused as error:
            raise StreamNotMade(
                f"NATS does not let the stream {name} be as the settings say ({error.description}). Correct the "
                "settings, or delete the stream: nothing is lost with it."
            ) from error
        return StreamFound(name, state, info.messages, info.created)
