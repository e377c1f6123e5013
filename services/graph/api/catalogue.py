"""CatalogueService: how runners and the execution service meet the catalogue. For service tokens only."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from blockyard.credentials.v1.credential_pb2 import CredentialUse
from blockyard.runner.v1 import catalogue_service_pb2 as messages
from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceServicer
from grpc.aio import ServicerContext

from services.common.errors import InvalidArgument, Violation
from services.graph.api.graphs import graph_id
from services.graph.api.presets import preset_id
from services.graph.graphs import MOST_USES, Graphs, Runnable
from services.graph.presets import Presets, preset_message
from services.graph.registration import Registrar

MOST_NAMES = 100
"""Asked for at once."""

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class CatalogueApi(CatalogueServiceServicer):
    """Whoever calls is a service, and says for which user it asks."""

    def __init__(self, graphs: Graphs, presets: Presets, registrar: Registrar, interval: float) -> None:
        self._graphs = graphs
        self._presets = presets
        self._registrar = registrar
        self._interval = interval

    async def RegisterBlocks(
        self, request: messages.RegisterBlocksRequest, context: Context
    ) -> messages.RegisterBlocksResponse:
        """Registers a runner's blocks."""
        hashes = await self._registrar.register(request.runner_id, request.pool, request.blocks)
        answer = messages.RegisterBlocksResponse(schema_hashes=hashes)
        answer.interval.FromNanoseconds(round(self._interval * 1e9))
        return answer

    async def GetRunnableGraph(
        self, request: messages.GetRunnableGraphRequest, context: Context
    ) -> messages.GetRunnableGraphResponse:
        """Gets a graph with its blocks, and the preset that it is started with."""
        if request.preset_id:
            return await self._with_preset(request)
        user, graph, seconds = request.user_id, graph_id(request.graph_id), 0.0
        if request.wants_lease and not request.version:
            runnable, seconds = await self._graphs.leased(user, graph)
        else:
            runnable = await self._graphs.runnable(user, graph, request.version)
        answer = _answer(runnable, request)
        if seconds:
            answer.lease.FromNanoseconds(round(seconds * 1e9))
        return answer

    async def _with_preset(self, request: messages.GetRunnableGraphRequest) -> messages.GetRunnableGraphResponse:
        graph = graph_id(request.graph_id) if request.graph_id else None
        preset = await self._presets.to_start(request.user_id, preset_id(request.preset_id), graph)
        version = request.version or preset.content.graph_version
        answer = _answer(await self._graphs.runnable(request.user_id, preset.graph_id, version), request)
        answer.preset.CopyFrom(preset_message(preset))
        return answer

    async def GetRunnableBlock(
        self, request: messages.GetRunnableBlockRequest, context: Context
    ) -> messages.GetRunnableBlockResponse:
        """Gets a block to be run on its own."""
        block = (await self._graphs.catalogue.snapshot()).one(request.block_id)
        # Why it may not be run is in the block; that no runner has it now may be another thing in a moment.
        answer = messages.GetRunnableBlockResponse(block=block.shown(), absence="" if block.barred else block.absence)
        answer.block.unavailable_reason = block.barred
        return answer

    async def FindCredentialUses(
        self, request: messages.CatalogueServiceFindCredentialUsesRequest, context: Context
    ) -> messages.CatalogueServiceFindCredentialUsesResponse:
        """Where graphs and presets name a credential."""
        found = await self._graphs.credential_uses(request.user_id, credential_id(request.credential_id))
        uses = [
            CredentialUse(graph_id=str(row.graph_id), graph_version=row.version, node_id=use.node_id, pin=use.pin)
            for row, use in found
        ]
        presets = await self._presets.credential_uses(request.user_id, credential_id(request.credential_id))
        uses += [CredentialUse(graph_id=str(row.graph_id), preset_id=str(row.preset_id)) for row in presets]
        return messages.CatalogueServiceFindCredentialUsesResponse(uses=uses[:MOST_USES])

    async def GetGraphNames(
        self, request: messages.GetGraphNamesRequest, context: Context
    ) -> messages.GetGraphNamesResponse:
        """Gets the names of graphs."""
        if len(request.graph_ids) > MOST_NAMES:
            problem = f"expected at most {MOST_NAMES} ids, got {len(request.graph_ids)}"
            raise InvalidArgument(violations=[Violation("graph_ids", problem)])
        names = await self._graphs.repository.names(request.user_id, graph_ids(request.graph_ids))
        return messages.GetGraphNamesResponse(names={str(key): name for key, name in names.items()})


def _answer(runnable: Runnable, request: messages.GetRunnableGraphRequest) -> messages.GetRunnableGraphResponse:
    """The graph, unless the caller has it."""
    answer = messages.GetRunnableGraphResponse(etag=runnable.etag)
    if runnable.etag != request.known_etag:
        answer.graph.CopyFrom(runnable.graph)
        answer.blocks.extend(runnable.blocks)
    return answer


def graph_ids(texts: Sequence[str]) -> list[UUID]:
    """The ids in a request; what is none names no graph."""
    found: list[UUID] = []
    for text in texts:
        with suppress(ValueError):
            found.append(UUID(text))
    return found


def credential_id(text: str) -> UUID:
    """The id in a request."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidArgument(violations=[Violation("credential_id", "expected a UUID")]) from None
