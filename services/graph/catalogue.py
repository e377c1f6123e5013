"""The blocks that can be placed at this moment, from what runners registered; search among them.

A snapshot is kept for a second: validation and starts do not ask the database for every block.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from blockyard.graph.v1.block_pb2 import Block
from prometheus_client import Gauge

from services.graph.blocks import BlockDefinition, definition_of
from services.graph.errors import BlockNotFound
from services.graph.records import Sighting

FRESH_SECONDS = 1.0
MISSED_INTERVALS = 3

BLOCKS = Gauge("blockyard_catalogue_blocks", "Blocks in the catalogue, by whether they can be placed", ["state"])
BLOCKS_OF_CATEGORY = Gauge(
    "blockyard_catalogue_blocks_of_category", "Blocks in the catalogue by category", ["category"]
)


class Snapshot:
    """The catalogue as it was at one moment."""

    def __init__(self, blocks: Iterable[BlockDefinition], revision: int = 0) -> None:
        self.revision = revision
        self.by_id: Mapping[str, BlockDefinition] = {block.id: block for block in blocks}
        self._by_name: dict[str, list[BlockDefinition]] = {}
        for block in self.by_id.values():
            self._by_name.setdefault(block.name, []).append(block)

    @classmethod
    def of(cls, messages: Iterable[Block]) -> "Snapshot":
        """A catalogue of just these blocks."""
        return cls([definition_of(message) for message in messages])

    def find(self, name: str) -> Sequence[BlockDefinition]:
        """The block with that id; else those whose class has that name, available ones if there are any."""
        if (block := self.by_id.get(name)) is not None:
            return [block]
        named = self._by_name.get(name, [])
        return [block for block in named if not block.unavailable] or named

    def one(self, name: str) -> BlockDefinition:
        """The block with that id or class name; BlockNotFound if there is none, or if several have the name."""
        found = self.find(name)
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(block.id for block in found)
            raise BlockNotFound(f"Several blocks are called {name!r}; name one by its id: {ids}")
        raise BlockNotFound(f"No runner has registered a block {name[:100]!r}.")

    def search(self, query: str, category: str) -> list[BlockDefinition]:
        """The blocks, by name, whose name, description or categories contain every word."""
        words = query.lower().split()
        found = [
            block
            for block in self.by_id.values()
            if (not category or category in block.message.categories)
            and all(word in block.search_text for word in words)
        ]
        return sorted(found, key=lambda block: (block.name, block.id))


class BlockSource(Protocol):
    """What the catalogue reads from: see repository/blocks.py."""

    async def sightings(self, absent_after: float) -> list[Sighting]:
        """The current definition of each block."""

    async def definitions(self, definition_hashes: Sequence[bytes]) -> dict[bytes, Block]:
        """What was registered, by hash."""


class Catalogue:
    """The snapshot of now."""

    def __init__(self, source: BlockSource, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._absent_after = interval * MISSED_INTERVALS
        self._clock = clock
        self._snapshot = Snapshot([])
        self._seen: frozenset[tuple[str, bytes, bool]] = frozenset()
        self._definitions: dict[bytes, BlockDefinition] = {}
        self._read_at = -math.inf
        self._changes = 0
        self._reading = asyncio.Lock()

    async def snapshot(self) -> Snapshot:
        """The blocks as they were within the last second."""
        if self._clock() - self._read_at >= FRESH_SECONDS:
            async with self._reading:
                if self._clock() - self._read_at >= FRESH_SECONDS:
                    await self._read()
        return self._snapshot

    def expire(self) -> None:
        """Read anew at the next call: something was registered here."""
        self._changes += 1
        self._read_at = -math.inf

    async def _read(self) -> None:
        asked, changes = self._clock(), self._changes
        sightings = await self._source.sightings(self._absent_after)
        seen = frozenset((one.block_id, one.definition_hash, one.present) for one in sightings)
        if seen != self._seen:
            await self._take(sightings)
            self._seen = seen
        # What was registered while this was read may be missing in it.
        self._read_at = asked if changes == self._changes else -math.inf

    async def _take(self, sightings: Sequence[Sighting]) -> None:
        missing = [one.definition_hash for one in sightings if one.definition_hash not in self._definitions]
        read = await self._source.definitions(missing) if missing else {}
        known = self._definitions | {digest: definition_of(message) for digest, message in read.items()}
        self._definitions = {
            one.definition_hash: known[one.definition_hash] for one in sightings if one.definition_hash in known
        }
        blocks = [
            self._definitions[one.definition_hash].with_reason("" if one.present else absence(one.seen_time))
            for one in sightings
            if one.definition_hash in self._definitions
        ]
        self._snapshot = Snapshot(blocks, self._snapshot.revision + 1)
        _measure(blocks)


def absence(seen_time: datetime | None) -> str:
    """Why a block that no runner registers any more cannot be placed."""
    if seen_time is None:
        return "no runner has it any more"
    return f"no runner has registered it since {seen_time:%Y-%m-%d %H:%M:%S} UTC"


def _measure(blocks: Sequence[BlockDefinition]) -> None:
    available = sum(not block.unavailable for block in blocks)
    BLOCKS.labels("available").set(available)
    BLOCKS.labels("unavailable").set(len(blocks) - available)
    BLOCKS_OF_CATEGORY.clear()
    for block in blocks:
        for category in block.message.categories:
            BLOCKS_OF_CATEGORY.labels(category).inc()
