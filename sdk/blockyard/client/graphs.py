"""Graphs and their versions, through GraphService."""

import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from blockyard.calls import Caller
from blockyard.errors import FieldViolation
from blockyard.graph.v1 import graph_pb2
from blockyard.graph.v1 import graph_service_pb2 as messages
from blockyard.graphs import Graph
from blockyard.records import GraphRecord, Validation

if TYPE_CHECKING:
    from blockyard.graph.v1.graph_service_pb2_grpc import GraphServiceAsyncStub  # there for type checkers alone

GraphLike = Graph | graph_pb2.Graph


class GraphsClient:
    """The caller's graphs. Wherever a version is asked for, 0 means the active one."""

    def __init__(self, stub: "GraphServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._call = call

    async def create(self, graph: GraphLike, request_id: str | None = None) -> GraphRecord:
        """Stores a graph as version 1. The same `request_id` twice gives the graph of the first call."""
        request = messages.CreateGraphRequest(graph=_message(graph), request_id=request_id or str(uuid.uuid4()))
        answer = await self._call(self._stub.CreateGraph, request, messages.CreateGraphResponse, repeatable=True)
        return GraphRecord.from_proto(answer.graph, _violations(answer.warnings))

    async def get(self, graph_id: str, version: int = 0) -> GraphRecord:
        """A graph at a version, with nodes and links."""
        request = messages.GetGraphRequest(graph_id=graph_id, version=version)
        answer = await self._call(self._stub.GetGraph, request, messages.GetGraphResponse, repeatable=True)
        return GraphRecord.from_proto(answer.graph)

    async def list(self, page_size: int = 0) -> AsyncIterator[GraphRecord]:
        """The caller's graphs, newest first, each at its active version and without nodes and links."""
        token = ""
        while True:
            request = messages.ListGraphsRequest(page_size=page_size, page_token=token)
            answer = await self._call(self._stub.ListGraphs, request, messages.ListGraphsResponse, repeatable=True)
            for graph in answer.graphs:
                yield GraphRecord.from_proto(graph)
            token = answer.next_page_token
            if not token:
                return

    async def update(
        self, graph_id: str, graph: GraphLike, *, fields: Sequence[str] = (), expected_latest_version: int = 0
    ) -> GraphRecord:
        """Makes a new version and makes it active. `fields` names what is changed (among name, description, nodes,
        links, limits), by default all. With `expected_latest_version` a change in between raises Conflict."""
        content = _message(graph)
        content.id = graph_id
        request = messages.UpdateGraphRequest(
            graph=content,
            update_mask=FieldMask(paths=fields) if fields else None,
            expected_latest_version=expected_latest_version,
        )
        answer = await self._call(self._stub.UpdateGraph, request, messages.UpdateGraphResponse, repeatable=False)
        return GraphRecord.from_proto(answer.graph, _violations(answer.warnings))

    async def delete(self, graph_id: str) -> None:
        """Deletes a graph with all versions. Executions that run go on."""
        request = messages.DeleteGraphRequest(graph_id=graph_id)
        await self._call(self._stub.DeleteGraph, request, messages.DeleteGraphResponse, repeatable=False)

    async def versions(self, graph_id: str, page_size: int = 0) -> AsyncIterator[GraphRecord]:
        """The versions of a graph, newest first, without nodes and links."""
        token = ""
        while True:
            request = messages.ListGraphVersionsRequest(graph_id=graph_id, page_size=page_size, page_token=token)
            answer = await self._call(
                self._stub.ListGraphVersions, request, messages.ListGraphVersionsResponse, repeatable=True
            )
            for graph in answer.versions:
                yield GraphRecord.from_proto(graph)
            token = answer.next_page_token
            if not token:
                return

    async def set_active_version(self, graph_id: str, version: int) -> GraphRecord:
        """Chooses the version that runs when a start names none."""
        request = messages.SetActiveVersionRequest(graph_id=graph_id, version=version)
        answer = await self._call(
            self._stub.SetActiveVersion, request, messages.SetActiveVersionResponse, repeatable=True
        )
        return GraphRecord.from_proto(answer.graph)

    async def fork(self, graph_id: str, version: int = 0, name: str = "") -> GraphRecord:
        """Copies a version into a new graph."""
        request = messages.ForkGraphRequest(graph_id=graph_id, version=version, name=name)
        answer = await self._call(self._stub.ForkGraph, request, messages.ForkGraphResponse, repeatable=False)
        return GraphRecord.from_proto(answer.graph)

    async def validate(self, graph: GraphLike) -> Validation:
        """Checks a graph without storing it. What is wrong is in the answer, not raised."""
        request = messages.ValidateGraphRequest(graph=_message(graph))
        answer = await self._call(self._stub.ValidateGraph, request, messages.ValidateGraphResponse, repeatable=True)
        return Validation(_violations(answer.errors), _violations(answer.warnings))

    async def picture(self, graph_id: str, version: int = 0) -> str:
        """The graph as a Mermaid flowchart."""
        request = messages.RenderGraphRequest(
            graph_id=graph_id, version=version, format=messages.PICTURE_FORMAT_MERMAID
        )
        answer = await self._call(self._stub.RenderGraph, request, messages.RenderGraphResponse, repeatable=True)
        return answer.picture


def _message(graph: GraphLike) -> graph_pb2.Graph:
    if isinstance(graph, Graph):
        return graph.to_proto()
    copy = graph_pb2.Graph()
    copy.CopyFrom(graph)
    return copy


def _violations(violations: Iterable[graph_pb2.Violation]) -> tuple[FieldViolation, ...]:
    return tuple(FieldViolation(one.field, one.description) for one in violations)
