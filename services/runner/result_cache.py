"""Results that are given again to runs with the same input, for blocks that declare a cache, whatever their style.

A result belongs to the block with its schema and to the user whose run gave it. Users share those of pure blocks that
are told nothing of their run. Runs that are the same at one time make one call: one of them runs the block, the others
wait for it, each in its own slot and under its own timeout. If the one is ended from outside, the next of them runs the
block. What it fails with is what those that waited fail with, and nobody later.

Values are kept whole, never as references to the blob store: what is there goes with its execution. So nothing is kept
that names a file of an execution.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from blockyard.block import Effect
from blockyard.block.caching import canonical_input
from blockyard.block.preparation import prepare
from blockyard.values import BLOB_KEY

from services.runner.outcomes import BlockFailed, judge
from services.runner.outputs import Encoded, Yielded, is_part
from services.runner.processes import NotBegun
from services.runner.runs import Run

LARGEST_SHARE = 8
"""A single result may take one part in so many of the cache."""
ITEM_BYTES = 100
"""What an item takes beside its value, about."""

_OF_AN_EXECUTION = (BLOB_KEY.encode(), b"blockyard-file:")

Item = tuple[str, bytes]
"""Pin, and the value as JSON."""


class _Instead(Enum):
    """What those that wait do when there is no result for them."""

    LOOK_AGAIN = auto()
    RUN_ALONE = auto()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A result."""

    items: tuple[Item, ...]
    size: int
    until: float


_Ending = _Kept | BlockFailed | _Instead


class _Recording:
    """What a run gives, as long as it may be kept."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.items: list[Item] = []
        self.size = 0

    def add(self, pin: str, value: bytes) -> bool:
        """False if this result is not to be kept."""
        self.items.append((pin, value))
        self.size += len(pin) + len(value) + ITEM_BYTES
        return self.size <= self._most_bytes and not any(name in value for name in _OF_AN_EXECUTION)


class ResultCache:
    """At most so many results and bytes; those that were not asked for the longest go first."""

    def __init__(self, most_results: int, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_results = most_results
        self._most_bytes = most_bytes
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._flights: dict[bytes, asyncio.Future[_Ending]] = {}
        self.bytes = 0
        self.hits = 0

    def __len__(self) -> int:
        return len(self._kept)

    def takes(self, run: Run) -> bool:
        """Whether the run may be answered from here."""
        if run.block.cache is None or run.once or run.task.credentials:
            return False
        return self._most_results > 0 and self._most_bytes > 0

    async def outputs(
        self, run: Run, key: bytes, start: Callable[[], AsyncGenerator[Encoded, None]]
    ) -> AsyncGenerator[Encoded, None]:
        """What the run gives: an earlier result, or that of the run itself, which `start` begins."""
        async with aclosing(await self._source(run, key, start)) as outputs:
            async for output in outputs:
                yield output

    async def _source(
        self, run: Run, key: bytes, start: Callable[[], AsyncGenerator[Encoded, None]]
    ) -> AsyncGenerator[Encoded, None]:
        """Where the run's outputs are to come from. Waits for an equal run that goes on."""
        while True:
            kept = self._get(key)
            if kept is not None:
                return self._again(run, kept)
            flight = self._flights.get(key)
            if flight is None:
                return self._lead(run, key, start())
            # A run that is cancelled leaves the flight to the others.
            match await asyncio.shield(flight):
                case _Kept() as kept:
                    return self._again(run, kept)
                case BlockFailed() as failure:
                    self._note_hit(run)
                    raise BlockFailed(failure.reason, str(failure))
                case _Instead.RUN_ALONE:
                    return start()

    async def _again(self, run: Run, kept: _Kept) -> AsyncGenerator[Encoded, None]:
        self._note_hit(run)
        yielded = Yielded(run.task.selectors)
        for pin, value in kept.items:
            for encoded in yielded.again(pin, value):
                yield encoded

    async def _lead(
        self, run: Run, key: bytes, outputs: AsyncGenerator[Encoded, None]
    ) -> AsyncGenerator[Encoded, None]:
        """The run's own outputs; whoever waits for it is told how it ended."""
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        recording: _Recording | None = _Recording(self._most_bytes // LARGEST_SHARE)
        selectors = frozenset(run.task.selectors)
        ending: _Ending = _Instead.LOOK_AGAIN
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    pin, _, value = output
                    if recording is not None and not is_part(pin, selectors) and not recording.add(pin, value):
                        recording = None
                        # They need not wait for what they will not be given.
                        self._land(key, flight, _Instead.RUN_ALONE)
                    yield output
            if recording is not None:
                ending = self._keep(run, key, recording)
        except NotBegun:
            raise
        except Exception as error:
            ending = BlockFailed(*judge(error))
            raise
        finally:
            self._land(key, flight, ending)

    def _land(self, key: bytes, flight: "asyncio.Future[_Ending]", ending: _Ending) -> None:
        if not flight.done():
            del self._flights[key]
            flight.set_result(ending)

    def _note_hit(self, run: Run) -> None:
        run.cached = True
        self.hits += 1

    def _get(self, key: bytes) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until <= self._clock():
            self._remove(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def _keep(self, run: Run, key: bytes, recording: _Recording) -> _Kept:
        policy = run.block.cache
        assert policy is not None  # it would not be here
        kept = _Kept(tuple(recording.items), recording.size + ITEM_BYTES, self._clock() + policy.seconds)
        if key in self._kept:
            self._remove(key)
        self._kept[key] = kept
        self.bytes += kept.size
        while len(self._kept) > self._most_results or self.bytes > self._most_bytes:
            self._remove(next(iter(self._kept)))
        return kept

    def _remove(self, key: bytes) -> None:
        self.bytes -= self._kept.pop(key).size


def key_of(run: Run, inputs: Mapping[str, Any]) -> bytes:
    """What is the same for runs that may share a result. A BlockInputError if the inputs do not fit.

    It is a hash: the inputs, secrets among them, are not kept.
    """
    block, task = run.block, run.task
    shared = block.effect is Effect.PURE and not block.run_signature.takes_context
    user = b"" if shared else b"user " + task.user_id.encode()
    facts = (block.id.encode(), task.schema_hash.encode(), user, canonical_input(block, prepare(block, inputs)))
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(len(fact).to_bytes(8, "big") + fact)
    return digest.digest()
