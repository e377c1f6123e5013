"""What was told last of each feed, as checksums: whether the rows of a database that is another one still have it.

A turn that was lost may have its place in the feed taken by another one, so places alone say nothing. What matters is
all that was told since a look that found the old database: the last turn before that look stands for all before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

from services.notification.feeds import Feeds, Positions, behind

TURNS_AT_BEGIN = 3
"""Before the end of each feed: one turn alone may be without events, and looks like any other one then."""


@dataclass(frozen=True, slots=True)
class Span:
    """Turns of a feed that follow each other, up to the last one told."""

    after: int
    """The place before the first."""
    checksum: int = 0
    """Of their events."""

    def longer(self, data: bytes) -> "Span":
        """With the events of one more turn."""
        return Span(self.after, crc32(data, self.checksum))


class Trail:
    """Of one feed. What lies far enough behind is forgotten: `split` before a look, `shorten` after a good one."""

    def __init__(self, begin: Span) -> None:
        self.whole = begin
        self._recent = self._last = begin

    def add(self, sequence: int, data: bytes) -> None:
        """The turn at this place was told."""
        self.whole = self.whole.longer(data)
        self._recent = self._recent.longer(data)
        self._last = Span(sequence - 1, crc32(data))

    def split(self) -> None:
        """From the last turn on it may be kept alone."""
        self._recent = self._last

    def shorten(self) -> None:
        """Forgets what lies before the last split."""
        self.whole = self._recent


async def trails_at(feeds: Feeds, heads: Positions) -> dict[int, Trail]:
    """Of feeds of which nothing was told yet, from shortly before their ends."""
    after = {partition: max(0, sequence - TURNS_AT_BEGIN) for partition, sequence in heads.items()}
    read = await _read(feeds, after, heads)
    return {partition: Trail(Span(after[partition], read.checksums[partition])) for partition in heads}


async def differing(feeds: Feeds, spans: Mapping[int, Span], told: Positions) -> list[int]:
    """Partitions whose rows are not what was told. Rows that are not kept any more were there: they count as told."""
    after = {partition: span.after for partition, span in spans.items()}
    read = await _read(feeds, after, {partition: told[partition] for partition in spans})
    other = {partition for partition, span in spans.items() if read.checksums[partition] != span.checksum}
    return sorted((other - read.expired) | read.short)


@dataclass(frozen=True, slots=True)
class _Read:
    checksums: dict[int, int]
    expired: set[int]
    short: set[int]
    """Partitions whose feed ends before the place that was asked for."""


async def _read(feeds: Feeds, after: Positions, through: Positions) -> _Read:
    at, checksums, expired = dict(after), dict.fromkeys(after, 0), set[int]()
    while missing := behind(at, through):
        page = await feeds.read(at, missing)
        expired.update(page.expired)
        for entry in page.entries:
            checksums[entry.partition] = crc32(entry.data, checksums[entry.partition])
        if not behind(at, page.reached):
            break
        at |= page.reached
    return _Read(checksums, expired, set(missing))
