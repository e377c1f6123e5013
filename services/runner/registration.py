"""Registers this runner's blocks with the catalogue, at its start and again within every interval that it names."""

import asyncio

import grpc
import structlog
from blockyard.errors import from_rpc_error
from blockyard.runner.v1.catalogue_service_pb2 import RegisterBlocksRequest, RegisterBlocksResponse
from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceStub

from services.common.backoff import delays
from services.runner.blocks_here import BlocksHere

DEADLINE_SECONDS = 10.0
SHORTEST_INTERVAL_SECONDS = 1.0

log = structlog.stdlib.get_logger(__name__)


class Registration:
    """Tells once it has worked for the first time: without the catalogue's hashes no task can be judged."""

    def __init__(self, channel: grpc.aio.Channel, runner_id: str, pool: str, blocks: BlocksHere) -> None:
        self._stub = CatalogueServiceStub(channel)
        self._request = RegisterBlocksRequest(runner_id=runner_id, pool=pool, blocks=blocks.messages())
        self._blocks = blocks
        self.done = asyncio.Event()

    async def run(self) -> None:
        """Register until it is cancelled."""
        while True:
            answer = await self._register()
            self._blocks.registered(answer.schema_hashes)
            if not self.done.is_set():
                log.info("blocks registered", blocks=len(answer.schema_hashes))
                self.done.set()
            interval = answer.interval.ToTimedelta().total_seconds()
            await asyncio.sleep(max(SHORTEST_INTERVAL_SECONDS, interval))

    async def _register(self) -> RegisterBlocksResponse:
        trouble = ""
        for pause in delays():
            try:
                answer: RegisterBlocksResponse = await self._stub.RegisterBlocks(
                    self._request, timeout=DEADLINE_SECONDS
                )
            except grpc.aio.AioRpcError as error:
                if trouble != (trouble := f"{error.code().name}: {from_rpc_error(error)}"):
                    log.warning("the blocks cannot be registered, trying on", error=trouble)
                await asyncio.sleep(pause)
            else:
                return answer
        raise AssertionError("delays never end")
