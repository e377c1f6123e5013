"""CatalogueService: how runners and the execution service meet the catalogue. For service tokens only."""

from typing import Any

from blockyard.runner.v1 import catalogue_service_pb2 as messages
from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceServicer
from google.protobuf.duration_pb2 import Duration
from grpc.aio import ServicerContext

from services.graph.api.graphs import graph_id
from services.graph.graphs import LEASE_SECONDS, Graphs
from services.graph.registration import Registrar

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class CatalogueApi(CatalogueServiceServicer):
    """Whoever calls is a service, and says for which user it asks."""

    def __init__(self, graphs: Graphs, registrar: Registrar, interval: float) -> None:
        self._graphs = graphs
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
        """Gets a graph with its blocks."""
        lease = Duration()
        if request.wants_lease and not request.version:
            lease.FromNanoseconds(round(LEASE_SECONDS * 1e9))
            runnable = await self._graphs.leased(request.user_id, graph_id(request.graph_id))
        else:
            runnable = await self._graphs.runnable(request.user_id, graph_id(request.graph_id), request.version)
        answer = messages.GetRunnableGraphResponse(etag=runnable.etag, lease=lease)
        if runnable.etag != request.known_etag:
            answer.graph.CopyFrom(runnable.graph)
            answer.blocks.extend(runnable.blocks)
        return answer
