"""The blocks that runners registered, with whether each can be placed and run at this moment; search among them.

A snapshot is kept for a second: validation and starts do not ask the database for every block.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import structlog
from blockyard.block import BlockCategory
from blockyard.graph.v1.block_pb2 import Block
from prometheus_client import Gauge

from services.common import database
from services.common.errors import InvalidArgument, Violation
from services.graph.blocks import BlockDefinition, definition_of
from services.graph.errors import BlockNotFound
from services.graph.records import Sighting, VersionSighting
from services.graph.search import rank, read_query

FRESH_SECONDS = 1.0
MISSED_INTERVALS = 3
MEASURED_SECONDS = 5.0
LONGEST_QUERY = 500
"""Characters of a search: each of its words is looked for in every block."""

BLOCKS = Gauge("blockyard_blocks_total", "Blocks in the catalogue, by whether they can run now", ["state"])
BLOCKS_BY_CATEGORY = Gauge("blockyard_blocks_by_category", "Blocks in the catalogue by category", ["category"])

"""Whatever PostgreSQL says when it is read for metrics is no reason to end: calls are told of it."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A block that a search has found, and its place among what was found."""

    rank: int
    name: str
    block_id: str
    block: BlockDefinition

    @property
    def place(self) -> tuple[int, str, str]:
        """Lower comes first; no two blocks have the same."""
        return self.rank, self.name, self.block_id


@dataclass(frozen=True, slots=True)
class CategoryCount:
    """A category, and how many blocks it has."""

    name: str
    sentence: str
    blocks: int
    available: int


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

    def search(self, query: str = "", category: str = "", *, available_only: bool = False) -> list[Found]:
        """The blocks whose name, description or categories contain every word; the best first, and then by name."""
        if len(query) > LONGEST_QUERY:
            problem = f"{len(query):,} characters, at most {LONGEST_QUERY} are taken"
            raise InvalidArgument(violations=[Violation("query", problem)])
        asked = read_query(query)
        wanted = self._category(category)
        found = []
        for block in self.by_id.values():
            if wanted and wanted not in block.message.categories:
                continue
            if available_only and block.unavailable:
                continue
            place = rank(asked, block.words)
            if place is not None:
                found.append(Found(place, block.name, block.id, block))
        return sorted(found, key=lambda one: one.place)

    @cached_property
    def categories(self) -> Sequence[CategoryCount]:
        """All categories by name: those that the SDK has, and those that only some package of blocks knows."""
        sentences = {category.name: category.description for category in BlockCategory}
        of_blocks = [(name, block) for block in self.by_id.values() for name in set(block.message.categories)]
        counts = Counter(name for name, _ in of_blocks)
        available = Counter(name for name, block in of_blocks if not block.unavailable)
        return [
            CategoryCount(name, sentences.get(name, ""), counts[name], available[name])
            for name in sorted({*sentences, *counts})
        ]

    def _category(self, category: str) -> str:
        wanted = category.strip().upper()
        known = [one.name for one in self.categories]
        if wanted and wanted not in known:
            problem = f"there is no category {category[:100]!r}; there are {', '.join(known)}"
            raise InvalidArgument(violations=[Violation("category", problem)])
        return wanted


class BlockSource(Protocol):
    """What the catalogue reads from: see repository/blocks.py."""

    async def sightings(self, absent_after: float) -> list[Sighting]:
        """The current definition of each block."""

    async def definitions(self, definition_hashes: Sequence[bytes]) -> dict[bytes, Block]:
        """What was registered, by hash."""

    async def versions(self, block_id: str, absent_after: float) -> list[VersionSighting]:
        """Every version of a block that is known, and every runner that has it."""


class Catalogue:
    """The snapshot of now."""

    def __init__(self, source: BlockSource, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._absent_after = interval * MISSED_INTERVALS
        self._clock = clock
        self._snapshot = Snapshot([])
        self._seen: frozenset[tuple[str, bytes, bool, str]] = frozenset()
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

    async def versions(self, block_id: str) -> list[VersionSighting]:
        """The versions of a block, by its id or class name: the current one first, then the newest."""
        current = (await self.snapshot()).one(block_id).message
        versions = await self._source.versions(current.id, self._absent_after)
        return sorted(versions, key=lambda version: version.schema_hash != current.schema_hash)

    async def keep_measured(self) -> None:
        """Reads the catalogue now and then, so that metrics tell of it though nobody asks, until it is cancelled."""
        while True:
            try:
                await self.snapshot()
            except database.TROUBLE as error:
                log.warning("the catalogue cannot be read, trying on", error=repr(error))
            await asyncio.sleep(MEASURED_SECONDS)

    def expire(self) -> None:
        """Read anew at the next call: something was registered here."""
        self._changes += 1
        self._read_at = -math.inf

    async def _read(self) -> None:
        asked, changes = self._clock(), self._changes
        sightings = await self._source.sightings(self._absent_after)
        seen = frozenset((one.block_id, one.definition_hash, one.present, one.not_configured) for one in sightings)
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
            definition.with_state(one.not_configured, absence(one, definition.message.pool))
            for one in sightings
            if (definition := self._definitions.get(one.definition_hash)) is not None
        ]
        self._snapshot = Snapshot(blocks, self._snapshot.revision + 1)
        _measure(self._snapshot)


def absence(sighting: Sighting, pool: str) -> str:
    """Why no runner can be given the block's tasks; empty if one can."""
    if sighting.present:
        return ""
    if sighting.seen_time is None:
        return f"no runner of the pool {pool!r} has it"
    return f"no runner of the pool {pool!r} has registered it since {sighting.seen_time:%Y-%m-%d %H:%M:%S} UTC"


def _measure(snapshot: Snapshot) -> None:
    available = sum(not block.unavailable for block in snapshot.by_id.values())
    BLOCKS.labels("available").set(available)
    BLOCKS.labels("unavailable").set(len(snapshot.by_id) - available)
    BLOCKS_BY_CATEGORY.clear()
    for category in snapshot.categories:
        BLOCKS_BY_CATEGORY.labels(category.name).set(category.blocks)
