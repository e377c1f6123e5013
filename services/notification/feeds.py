"""What the execution service tells of the feeds of its partitions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blockyard.runner.v1 import feed_service_pb2 as messages

from services.notification.entries import Entry

if TYPE_CHECKING:  # the asynchronous form exists for type checkers alone
    from blockyard.runner.v1.feed_service_pb2_grpc import FeedServiceAsyncStub

READ_SECONDS = 10.0
"""Deadline of a question."""
TURNS = 500
"""Looked at in each partition by one question."""

IDEMPOTENT = ("blockyard.runner.v1.FeedService/GetFeedHeads", "blockyard.runner.v1.FeedService/ReadFeeds")
ALL_USERS = ""

Positions = dict[int, int]
"""Feed sequence by partition; one that is absent is at 0."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Up to where all is committed."""

    positions: Positions
    history: str
    """Of the database: another one may lack turns that were told, and have others in their places."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of feeds."""

    entries: Sequence[Entry]
    reached: Positions
    """At most to the end of each feed: where none has come further, there is no more."""
    expired: Sequence[int]
    """Partitions of which turns between the place that was asked for and the one reached are not kept any more."""


@dataclass(frozen=True, slots=True)
class Feeds:
    """Questions to the execution service; raises grpc.aio.AioRpcError while it is away."""

    stub: "FeedServiceAsyncStub"

    async def look(self) -> Heads:
        """Where the feeds end, and in which history of the database."""
        answer = await self.stub.GetFeedHeads(messages.GetFeedHeadsRequest(), timeout=READ_SECONDS)
        return Heads({one.partition: one.sequence for one in answer.heads}, answer.history)

    async def heads(self) -> Positions:
        """Up to where all is committed."""
        return (await self.look()).positions

    async def read(self, after: Mapping[int, int], through: Mapping[int, int], user_id: str = ALL_USERS) -> Page:
        """The next turns of the partitions in `through`."""
        request = messages.ReadFeedsRequest(user_id=user_id, page_size=TURNS)
        for partition, sequence in through.items():
            request.after.add(partition=partition, sequence=after.get(partition, 0))
            request.through.add(partition=partition, sequence=sequence)
        answer = await self.stub.ReadFeeds(request, timeout=READ_SECONDS)
        entries = [Entry.of_turn(one.position.partition, one.position.sequence, one.batch) for one in answer.turns]
        reached = {one.partition: one.sequence for one in answer.reached}
        return Page(entries, reached, list(answer.expired_partitions))


def behind(positions: Mapping[int, int], through: Mapping[int, int]) -> Positions:
    """The places in `through` that these positions have not reached."""
    return {partition: sequence for partition, sequence in through.items() if positions.get(partition, 0) < sequence}
