"""Graphs and their versions, through GraphService."""

import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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
GraphFileFormat = Literal["json", "yaml", "autogpt"]

_FORMATS: dict[str, messages.GraphFileFormat.ValueType] = {
    "json": messages.GRAPH_FILE_FORMAT_JSON,
    "yaml": messages.GRAPH_FILE_FORMAT_YAML,
    "autogpt": messages.GRAPH_FILE_FORMAT_AUTOGPT,
}


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be known of a graph that was imported or exported: a code such as BLOCK_UNKNOWN, the place in the
    file, and what to do."""

    code: str
    field: str
    description: str

    def __str__(self) -> str:
        return f"{self.field}: {self.description}" if self.field else self.description


@dataclass(frozen=True, slots=True)
class ImportedGraph:
    """A graph made from a file, and without their nodes and links the graphs that nodes of it run."""

    graph: GraphRecord
    sub_graphs: tuple[GraphRecord, ...]
    remarks: tuple[Remark, ...]
    format: str

    @property
    def runnable(self) -> bool:
        """False if a remark names what keeps it, or one of its sub-graphs, from running."""
        return not any(remark.code in ("BLOCK_UNKNOWN", "NOT_RUNNABLE") for remark in self.remarks)


@dataclass(frozen=True, slots=True)
class GraphFile:
    """A graph written as a file, with a name for it, and what was left out."""

    data: bytes
    name: str
    remarks: tuple[Remark, ...]


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
            update_mask=FieldMask(paths=fields or ["*"]),
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

    async def import_file(
        self, data: bytes, *, format: GraphFileFormat | None = None, name: str = "", request_id: str | None = None
    ) -> ImportedGraph:
        """Makes a graph from a file (JSON or YAML of Blockyard, or an agent of AutoGPT); without a format it is found
        out. The same `request_id` twice gives the graphs of the first call."""
        request = messages.ImportGraphRequest(
            file=data,
            format=_FORMATS[format] if format else messages.GRAPH_FILE_FORMAT_UNSPECIFIED,
            name=name,
            request_id=request_id or str(uuid.uuid4()),
        )
        answer = await self._call(self._stub.ImportGraph, request, messages.ImportGraphResponse, repeatable=True)
        return ImportedGraph(
            graph=GraphRecord.from_proto(answer.graph),
            sub_graphs=tuple(GraphRecord.from_proto(graph) for graph in answer.sub_graphs),
            remarks=_remarks(answer.remarks),
            format=messages.GraphFileFormat.Name(answer.format).removeprefix("GRAPH_FILE_FORMAT_").lower(),
        )

    async def export(self, graph_id: str, version: int = 0, *, format: GraphFileFormat = "yaml") -> GraphFile:
        """A graph as a file that `import_file` takes, without secrets and credentials."""
        request = messages.ExportGraphRequest(graph_id=graph_id, version=version, format=_FORMATS[format])
        answer = await self._call(self._stub.ExportGraph, request, messages.ExportGraphResponse, repeatable=True)
        return GraphFile(answer.file, answer.file_name, _remarks(answer.remarks))


def _message(graph: GraphLike) -> graph_pb2.Graph:
    if isinstance(graph, Graph):
        return graph.to_proto()
    copy = graph_pb2.Graph()
    copy.CopyFrom(graph)
    return copy


def _violations(violations: Iterable[graph_pb2.Violation]) -> tuple[FieldViolation, ...]:
    return tuple(FieldViolation(one.field, one.description) for one in violations)


def _remarks(remarks: Iterable[messages.Remark]) -> tuple[Remark, ...]:
    return tuple(Remark(_code(one.code), one.field, one.description) for one in remarks)


def _code(code: "messages.RemarkCode.ValueType") -> str:
    """Name of a code without its prefix; UNKNOWN for one that is newer than this package."""
    if code not in messages.RemarkCode.values():
        return "UNKNOWN"
    return messages.RemarkCode.Name(code).removeprefix("REMARK_CODE_")
