"""GraphService: translate, authorise, delegate, answer."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from blockyard.graph.v1 import graph_service_pb2 as messages
from blockyard.graph.v1.graph_pb2 import Graph
from blockyard.graph.v1.graph_pb2 import Violation as ViolationMessage
from blockyard.graph.v1.graph_service_pb2_grpc import GraphServiceServicer
from grpc.aio import ServicerContext

from services.common.errors import InvalidArgument, Violation
from services.common.field_masks import changed_fields
from services.common.identity import current_caller
from services.common.paging import decode_page_token, encode_page_token, page_size
from services.graph.documents import AUTHORED, with_both_forms
from services.graph.errors import GraphNotFound
from services.graph.graphs import Graphs
from services.graph.importing.importer import Importer
from services.graph.importing.remarks import Remark
from services.graph.picture import mermaid
from services.graph.records import GraphRow
from services.graph.storage import graph_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class GraphApi(GraphServiceServicer):
    """The public methods; every caller sees its own graphs only."""

    def __init__(self, graphs: Graphs, importer: Importer, token_secret: str) -> None:
        self._graphs = graphs
        self._importer = importer
        self._token_secret = token_secret

    async def CreateGraph(self, request: messages.CreateGraphRequest, context: Context) -> messages.CreateGraphResponse:
        """Creates a graph."""
        graph, warnings = await self._graphs.create(_user(), request.graph, request.request_id)
        return messages.CreateGraphResponse(graph=await self._whole(graph), warnings=_remarks(warnings))

    async def GetGraph(self, request: messages.GetGraphRequest, context: Context) -> messages.GetGraphResponse:
        """Gets a graph."""
        graph = await self._graphs.get(_user(), graph_id(request.graph_id), request.version)
        return messages.GetGraphResponse(graph=await self._whole(graph))

    async def ListGraphs(self, request: messages.ListGraphsRequest, context: Context) -> messages.ListGraphsResponse:
        """Lists the caller's graphs."""
        user, size = _user(), page_size(request.page_size)
        scope = f"ListGraphs {user}"
        before = None
        if request.page_token:
            moment, last = decode_page_token(self._token_secret, scope, request.page_token)
            before = _EPOCH + int(moment) * _MICROSECOND, UUID(str(last))
        rows = await self._graphs.page(user, before, size + 1)
        answer = messages.ListGraphsResponse(graphs=[graph_of(row) for row in rows[:size]])
        if len(rows) > size:
            answer.next_page_token = encode_page_token(self._token_secret, scope, _position(rows[size - 1]))
        return answer

    async def UpdateGraph(self, request: messages.UpdateGraphRequest, context: Context) -> messages.UpdateGraphResponse:
        """Makes a new version."""
        if request.expected_latest_version < 0:
            raise InvalidArgument(violations=[Violation("expected_latest_version", "must not be negative")])
        graph, warnings = await self._graphs.update(
            _user(),
            graph_id(request.graph.id),
            request.graph,
            changed_fields(request.update_mask, request.graph, AUTHORED),
            request.expected_latest_version,
        )
        return messages.UpdateGraphResponse(graph=await self._whole(graph), warnings=_remarks(warnings))

    async def DeleteGraph(self, request: messages.DeleteGraphRequest, context: Context) -> messages.DeleteGraphResponse:
        """Deletes a graph."""
        await self._graphs.delete(_user(), graph_id(request.graph_id))
        return messages.DeleteGraphResponse()

    async def ListGraphVersions(
        self, request: messages.ListGraphVersionsRequest, context: Context
    ) -> messages.ListGraphVersionsResponse:
        """Lists a graph's versions."""
        user, size, key = _user(), page_size(request.page_size), graph_id(request.graph_id)
        scope = f"ListGraphVersions {user} {key}"
        before = None
        if request.page_token:
            [last] = decode_page_token(self._token_secret, scope, request.page_token)
            before = int(last)
        rows = await self._graphs.versions(user, key, before, size + 1)
        answer = messages.ListGraphVersionsResponse(versions=[graph_of(row) for row in rows[:size]])
        if len(rows) > size:
            answer.next_page_token = encode_page_token(self._token_secret, scope, [rows[size - 1].version])
        return answer

    async def SetActiveVersion(
        self, request: messages.SetActiveVersionRequest, context: Context
    ) -> messages.SetActiveVersionResponse:
        """Chooses the active version."""
        graph = await self._graphs.activate(_user(), graph_id(request.graph_id), request.version)
        return messages.SetActiveVersionResponse(graph=await self._whole(graph))

    async def ForkGraph(self, request: messages.ForkGraphRequest, context: Context) -> messages.ForkGraphResponse:
        """Copies a graph."""
        graph = await self._graphs.fork(_user(), graph_id(request.graph_id), request.version, request.name)
        return messages.ForkGraphResponse(graph=await self._whole(graph))

    async def ValidateGraph(
        self, request: messages.ValidateGraphRequest, context: Context
    ) -> messages.ValidateGraphResponse:
        """Checks a graph."""
        findings = await self._graphs.examine(_user(), request.graph)
        answer = messages.ValidateGraphResponse(errors=_remarks(findings.errors), warnings=_remarks(findings.warnings))
        if findings.graph is not None:
            answer.graph.CopyFrom(await self._whole(findings.graph))
        return answer

    async def RenderGraph(self, request: messages.RenderGraphRequest, context: Context) -> messages.RenderGraphResponse:
        """Draws a graph."""
        if request.format not in messages.PictureFormat.values():
            expected = ", ".join(messages.PictureFormat.keys())
            raise InvalidArgument(violations=[Violation("format", f"expected one of {expected}, got {request.format}")])
        layout = await self._graphs.layout(_user(), graph_id(request.graph_id), request.version)
        return messages.RenderGraphResponse(picture=mermaid(layout))

    async def ImportGraph(self, request: messages.ImportGraphRequest, context: Context) -> messages.ImportGraphResponse:
        """Makes a graph from a file."""
        made = await self._importer.bring_in(_user(), request.file, request.format, request.name, request.request_id)
        return messages.ImportGraphResponse(
            graph=await self._whole(made.graph),
            sub_graphs=made.sub_graphs,
            remarks=_told(made.remarks),
            format=made.format,
        )

    async def ExportGraph(self, request: messages.ExportGraphRequest, context: Context) -> messages.ExportGraphResponse:
        """Writes a graph as a file."""
        key = graph_id(request.graph_id)
        written = await self._importer.write_out(_user(), key, request.version, request.format)
        return messages.ExportGraphResponse(file=written.data, file_name=written.name, remarks=_told(written.remarks))

    async def _whole(self, graph: Graph) -> Graph:
        """The graph as it is answered with: what it wants of credentials, and constants in both forms."""
        await self._graphs.with_credentials(_user(), graph)
        with_both_forms(graph.nodes)
        return graph


def graph_id(text: str) -> UUID:
    """The id in a request. What is no id names no graph."""
    try:
        return UUID(text)
    except ValueError:
        raise GraphNotFound(f"There is no graph with the id {text[:100]!r}.") from None


def _user() -> str:
    return current_caller().user_id


def _remarks(violations: Iterable[Violation]) -> list[ViolationMessage]:
    return [ViolationMessage(field=one.field, description=one.description) for one in violations]


def _told(remarks: Iterable[Remark]) -> list[messages.Remark]:
    return [messages.Remark(code=one.code, field=one.field, description=one.description) for one in remarks]


def _position(row: GraphRow) -> list[str | int]:
    return [(row.create_time - _EPOCH) // _MICROSECOND, str(row.graph_id)]
