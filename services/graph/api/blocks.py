"""BlockService: the catalogue for everybody who builds graphs."""

from typing import Any

from blockyard.graph.v1 import block_service_pb2 as messages
from blockyard.graph.v1.block_pb2 import Block
from blockyard.graph.v1.block_service_pb2_grpc import BlockServiceServicer
from grpc.aio import ServicerContext

from services.common.paging import decode_page_token, encode_page_token, page_size
from services.graph.blocks import BlockDefinition
from services.graph.catalogue import Catalogue

DEFAULT_PAGE_SIZE = 100

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class BlockApi(BlockServiceServicer):
    """The same blocks for every caller."""

    def __init__(self, catalogue: Catalogue, token_secret: str) -> None:
        self._catalogue = catalogue
        self._token_secret = token_secret

    async def ListBlocks(self, request: messages.ListBlocksRequest, context: Context) -> messages.ListBlocksResponse:
        """Lists blocks."""
        size = page_size(request.page_size, default=DEFAULT_PAGE_SIZE)
        scope = f"ListBlocks {request.query!r} {request.category!r}"
        found = (await self._catalogue.snapshot()).search(request.query, request.category)
        if request.page_token:
            name, block_id = decode_page_token(self._token_secret, scope, request.page_token)
            found = [block for block in found if (block.name, block.id) > (str(name), str(block_id))]
        answer = messages.ListBlocksResponse(blocks=[_message(block) for block in found[:size]])
        if len(found) > size:
            last = found[size - 1]
            answer.next_page_token = encode_page_token(self._token_secret, scope, [last.name, last.id])
        return answer

    async def GetBlock(self, request: messages.GetBlockRequest, context: Context) -> messages.GetBlockResponse:
        """Gets a block."""
        return messages.GetBlockResponse(block=_message((await self._catalogue.snapshot()).one(request.block_id)))


def _message(block: BlockDefinition) -> Block:
    message = Block()
    message.CopyFrom(block.message)
    message.unavailable_reason = block.unavailable
    return message
