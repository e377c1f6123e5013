"""The catalogue of blocks, through BlockService, and runs of single ones, through ExecutionService."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from blockyard import values
from blockyard.calls import Caller
from blockyard.client.block_runs import BlockRun
from blockyard.execution.v1 import execution_service_pb2 as execution_messages
from blockyard.graph.v1 import block_service_pb2 as messages
from blockyard.records import BlockCategoryRecord, BlockRecord, BlockVersionRecord, Json

if TYPE_CHECKING:  # there for type checkers alone
    from blockyard.execution.v1.execution_service_pb2_grpc import ExecutionServiceAsyncStub
    from blockyard.graph.v1.block_service_pb2_grpc import BlockServiceAsyncStub


class BlocksClient:
    """The blocks that runners have registered."""

    def __init__(self, stub: "BlockServiceAsyncStub", executions: "ExecutionServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._executions = executions
        self._call = call

    async def list(
        self, query: str = "", category: str = "", page_size: int = 0, *, available_only: bool = False
    ) -> AsyncIterator[BlockRecord]:
        """Blocks by name; with `query` those whose name, description or category contain each of its words, the best
        first. `available_only` leaves out those that no runner can run now."""
        token = ""
        while True:
            request = messages.ListBlocksRequest(
                page_size=page_size, page_token=token, query=query, category=category, available_only=available_only
            )
            answer = await self._call(self._stub.ListBlocks, request, messages.ListBlocksResponse, repeatable=True)
            for block in answer.blocks:
                yield BlockRecord.from_proto(block)
            token = answer.next_page_token
            if not token:
                return

    async def categories(self) -> Sequence[BlockCategoryRecord]:
        """All categories by name, with how many blocks each has."""
        answer = await self._call(
            self._stub.ListBlockCategories,
            messages.ListBlockCategoriesRequest(),
            messages.ListBlockCategoriesResponse,
            repeatable=True,
        )
        return [BlockCategoryRecord.from_proto(one) for one in answer.categories]

    async def versions(self, block: str) -> Sequence[BlockVersionRecord]:
        """The versions of a block that are known, the current one first, and the runners that have each."""
        answer = await self._call(
            self._stub.ListBlockVersions,
            messages.ListBlockVersionsRequest(block_id=block),
            messages.ListBlockVersionsResponse,
            repeatable=True,
        )
        return [BlockVersionRecord.from_proto(one) for one in answer.versions]

    async def get(self, block: str) -> BlockRecord:
        """A block by id or by the name of its class."""
        request = messages.GetBlockRequest(block_id=block)
        answer = await self._call(self._stub.GetBlock, request, messages.GetBlockResponse, repeatable=True)
        return BlockRecord.from_proto(answer.block)

    async def run(
        self,
        block: str,
        inputs: Mapping[str, Json] | None = None,
        *,
        credentials: Mapping[str, str] | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> BlockRun:
        """Runs one block, by id or by the name of its class, without a graph, and waits for its end.

        After `timeout` seconds (by default the deadline of the client) the run is given as it stands then, and goes on:
        `client.executions` has it by its id. A block that fails is no error here: `completed` and `error` tell. The
        same `request_id` twice is one run; without one, each call draws its own and is safely repeated. `credentials`
        are ids of the caller's credentials by input pin; for a pin that is not named the first one that fits is taken.
        """
        request = execution_messages.RunBlockRequest(
            block_id=block,
            inputs_json=values.encode(dict(inputs or {})),
            request_id=request_id or str(uuid.uuid4()),
            value_format=execution_messages.VALUE_FORMAT_JSON,
            credentials=credentials or {},
        )
        answer = await self._call(
            self._executions.RunBlock,
            request,
            execution_messages.RunBlockResponse,
            repeatable=True,
            deadline=timeout,
        )
        return BlockRun.from_proto(answer)
