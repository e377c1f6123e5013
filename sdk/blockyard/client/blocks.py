"""The catalogue of blocks, through BlockService."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from blockyard.calls import Caller
from blockyard.graph.v1 import block_service_pb2 as messages
from blockyard.records import BlockRecord

if TYPE_CHECKING:
    from blockyard.graph.v1.block_service_pb2_grpc import BlockServiceAsyncStub  # there for type checkers alone


class BlocksClient:
    """The blocks that runners have registered."""

    def __init__(self, stub: "BlockServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._call = call

    async def list(self, query: str = "", category: str = "", page_size: int = 0) -> AsyncIterator[BlockRecord]:
        """Blocks by name; with `query` those whose name, description or category contain each of its words."""
        token = ""
        while True:
            request = messages.ListBlocksRequest(page_size=page_size, page_token=token, query=query, category=category)
            answer = await self._call(self._stub.ListBlocks, request, messages.ListBlocksResponse, repeatable=True)
            for block in answer.blocks:
                yield BlockRecord.from_proto(block)
            token = answer.next_page_token
            if not token:
                return

    async def get(self, block: str) -> BlockRecord:
        """A block by id or by the name of its class."""
        request = messages.GetBlockRequest(block_id=block)
        answer = await self._call(self._stub.GetBlock, request, messages.GetBlockResponse, repeatable=True)
        return BlockRecord.from_proto(answer.block)
