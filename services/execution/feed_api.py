"""FeedService: what all executions did, for the service that tells subscribers of it."""

from collections.abc import Mapping
from typing import Any

from blockyard.runner.v1 import feed_service_pb2 as messages
from blockyard.runner.v1.feed_service_pb2_grpc import FeedServiceServicer
from grpc.aio import ServicerContext

from services.common.errors import InvalidArgument, Violation
from services.common.paging import page_size
from services.execution.repository.feeds import FeedRepository

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class FeedApi(FeedServiceServicer):
    """Any replica answers, from rows."""

    def __init__(self, feeds: FeedRepository) -> None:
        self._feeds = feeds

    async def GetFeedHeads(
        self, request: messages.GetFeedHeadsRequest, context: Context
    ) -> messages.GetFeedHeadsResponse:
        """Up to where each partition's feed is committed."""
        heads = await self._feeds.heads()
        return messages.GetFeedHeadsResponse(heads=_positions(heads.sequences), history=heads.history)

    async def ReadFeeds(self, request: messages.ReadFeedsRequest, context: Context) -> messages.ReadFeedsResponse:
        """Reads parts of feeds."""
        after = {one.partition: one.sequence for one in request.after}
        through = {one.partition: one.sequence for one in request.through}
        if len(after) < len(request.after) or not after.keys() <= through.keys():
            where = Violation("after", "each partition once, and with a place in `through`")
            raise InvalidArgument("The places do not fit together.", violations=[where])
        limit = page_size(request.page_size, default=200, largest=1_000)
        parts = await self._feeds.read(after, through, request.user_id, limit)
        answer = messages.ReadFeedsResponse(
            reached=_positions({partition: part.reached for partition, part in parts.items()}),
            expired_partitions=[partition for partition, part in parts.items() if part.gap],
        )
        for partition, part in parts.items():
            for sequence, events in part.turns:
                place = messages.FeedPosition(partition=partition, sequence=sequence)
                answer.turns.add(position=place, batch=events)
        return answer


def _positions(sequences: Mapping[int, int]) -> list[messages.FeedPosition]:
    return [messages.FeedPosition(partition=one, sequence=sequence) for one, sequence in sequences.items()]
