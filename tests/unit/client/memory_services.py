"""Blockyard's public services in memory, over real gRPC: graphs are kept, an execution is a list of events.

For what is hard to bring about with the real ones: streams that break, events that a message leaves out, errors of
every kind. The end-to-end tests run the same client against the real services.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from blockyard.account.v1.account_service_pb2_grpc import add_AccountServiceServicer_to_server
from blockyard.credentials.v1.credentials_service_pb2_grpc import add_CredentialsServiceServicer_to_server
from blockyard.event.v1.event_pb2 import Event, EventKind
from blockyard.execution.v1 import execution_pb2
from blockyard.execution.v1 import execution_service_pb2 as execution_messages
from blockyard.execution.v1.execution_service_pb2_grpc import (
    ExecutionServiceServicer,
    add_ExecutionServiceServicer_to_server,
)
from blockyard.graph.v1 import block_pb2, graph_pb2
from blockyard.graph.v1 import block_service_pb2 as block_messages
from blockyard.graph.v1 import graph_service_pb2 as graph_messages
from blockyard.graph.v1.block_service_pb2_grpc import BlockServiceServicer, add_BlockServiceServicer_to_server
from blockyard.graph.v1.graph_service_pb2_grpc import GraphServiceServicer, add_GraphServiceServicer_to_server
from blockyard.notification.v1.notification_service_pb2_grpc import add_NotificationServiceServicer_to_server
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from tests.unit.client.memory_accounts import Accounts, Office, Vault
from tests.unit.client.memory_notifications import Notifications, NotificationScript

TOKEN = "a-token"
GRAPH_ID = "0190c0de-0000-7000-8000-000000000001"
EXECUTION_ID = "0190c0de-0000-7000-8000-000000000002"
UNSET = "no server is configured: an operator sets MAIL_HOST"


def _block(name: str, inputs: dict[str, Any], required: list[str], **fields: Any) -> block_pb2.Block:
    block = block_pb2.Block(id="1", name=name, categories=["TEXT"], pool="default", many_pins=["part"], **fields)
    block.input_schema.update({"type": "object", "properties": inputs, "required": required})
    outputs = {"error": {"type": "string"}, "part": {"type": "integer", "description": "A part."}}
    block.output_schema.update({"type": "object", "properties": outputs})
    return block


_INPUTS: dict[str, Any] = {
    "key": {"type": "string", "secret": True, "default": "", "advanced": True},
    "internal": {"type": "string", "hidden": True, "default": ""},
    "loudness": {"type": "integer", "default": 7, "depends_on": ["text", "key"]},
    "text": {"type": "string", "description": "What to say; it may be as long as a sentence that fills several lines."},
}
_COSTS = [
    block_pb2.BlockCost(amount=10, type=block_pb2.BLOCK_COST_TYPE_RUN),
    block_pb2.BlockCost(amount=1, type=block_pb2.BLOCK_COST_TYPE_SECOND),
]
_COSTS[0].filter.update({"text": "long"})
BLOCKS = [
    _block(
        "ShoutBlock",
        _INPUTS,
        ["text"],
        description="Says it [bold]loudly[/bold].",
        costs=_COSTS,
        timeout=Duration(seconds=90),
        schema_hash="ab" * 32,
    ),
    _block(
        "MailBlock",
        {},
        [],
        description="Sends mail.",
        unavailable_reason=UNSET,
        availability=block_pb2.BLOCK_AVAILABILITY_NOT_CONFIGURED,
    ),
]


@dataclass
class Script:
    """What the services do. Faults are used up from the front, one a call."""

    faults: list[status_pb2.Status] = field(default_factory=list)
    faults_of: dict[str, list[status_pb2.Status]] = field(default_factory=dict)
    """Those of one method."""
    events: list[Event] = field(default_factory=list)
    status: execution_pb2.ExecutionStatus.ValueType = execution_pb2.EXECUTION_STATUS_COMPLETED
    status_message: str = ""
    results: bytes = b"{}"
    more_results: list[bytes] = field(default_factory=list)
    """Those of further pages."""
    absent_results: dict[int, list[execution_messages.AbsentResult]] = field(default_factory=dict)
    """Those that are absent, by the number of the page."""
    break_streams_after: list[int] = field(default_factory=list)
    unsaid: set[int] = field(default_factory=set)
    said_twice: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    graphs: dict[str, graph_pb2.Graph] = field(default_factory=dict)
    starts: list[execution_messages.StartExecutionRequest] = field(default_factory=list)
    block_runs: list[execution_messages.RunBlockRequest] = field(default_factory=list)
    repairs: list[execution_messages.RepairStreamsResponse] = field(default_factory=list)
    """Answers of RepairStreams; the last one is given again and again."""
    notifications: NotificationScript = field(default_factory=NotificationScript)
    office: Office = field(default_factory=Office)
    """What the vault and the account service have."""

    def execution(self) -> execution_pb2.Execution:
        """The one execution that there is."""
        return execution_pb2.Execution(
            id=EXECUTION_ID,
            graph_id=GRAPH_ID,
            graph_version=1,
            status=self.status,
            status_message=self.status_message,
            inputs_json=self.starts[-1].inputs_json if self.starts else b"",
            node_executions=1,
            last_event_sequence=len(self.events),
        )


def status(code: grpc.StatusCode, message: str, *details: Message) -> status_pb2.Status:
    """A google.rpc.Status with details."""
    packed = []
    for detail in details:
        one = Packed()
        one.Pack(detail)
        packed.append(one)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def events_of_a_run(nodes: int, ending: EventKind.ValueType = EventKind.EVENT_KIND_EXECUTION_COMPLETED) -> list[Event]:
    """The events of an execution of so many nodes."""
    kinds = [(EventKind.EVENT_KIND_EXECUTION_STARTED, 0)]
    for number in range(1, nodes + 1):
        kinds += [(EventKind.EVENT_KIND_NODE_QUEUED, number), (EventKind.EVENT_KIND_NODE_COMPLETED, number)]
    kinds.append((ending, 0))
    return [
        Event(
            sequence=sequence, kind=kind, node_execution=number, node_id=f"node_{number}" if number else "", attempt=1
        )
        for sequence, (kind, number) in enumerate(kinds, start=1)
    ]


class Services(GraphServiceServicer, BlockServiceServicer, ExecutionServiceServicer):
    """Graphs, blocks and executions, by the script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def begin(self, name: str, context: Any) -> None:
        """Notes the call, checks the token, and brings about the fault that the script has for it."""
        self._script.calls.append(name)
        if ("authorization", f"Bearer {TOKEN}") not in [tuple(pair) for pair in context.invocation_metadata()]:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who is there?")
        for faults in (self._script.faults, self._script.faults_of.get(name.split()[0])):
            if faults:
                await context.abort_with_status(rpc_status.to_status(faults.pop(0)))

    async def CreateGraph(
        self, request: graph_messages.CreateGraphRequest, context: Any
    ) -> graph_messages.CreateGraphResponse:
        await self.begin("CreateGraph", context)
        request.graph.id, request.graph.version = GRAPH_ID, 1
        self._script.graphs[GRAPH_ID] = request.graph
        return graph_messages.CreateGraphResponse(graph=request.graph)

    async def RepairStreams(
        self, request: execution_messages.RepairStreamsRequest, context: Any
    ) -> execution_messages.RepairStreamsResponse:
        await self.begin("RepairStreams", context)
        repairs = self._script.repairs
        return repairs.pop(0) if len(repairs) > 1 else repairs[0]

    async def GetGraph(self, request: graph_messages.GetGraphRequest, context: Any) -> graph_messages.GetGraphResponse:
        await self.begin("GetGraph", context)
        return graph_messages.GetGraphResponse(graph=self._script.graphs[request.graph_id])

    async def ListGraphs(
        self, request: graph_messages.ListGraphsRequest, context: Any
    ) -> graph_messages.ListGraphsResponse:
        await self.begin("ListGraphs", context)
        graphs, at = list(self._script.graphs.values()), int(request.page_token or 0)
        following = str(at + 1) if at + 1 < len(graphs) else ""
        return graph_messages.ListGraphsResponse(graphs=graphs[at : at + 1], next_page_token=following)

    async def ForkGraph(
        self, request: graph_messages.ForkGraphRequest, context: Any
    ) -> graph_messages.ForkGraphResponse:
        await self.begin("ForkGraph", context)
        return graph_messages.ForkGraphResponse(graph=self._script.graphs[request.graph_id])

    async def ListBlocks(
        self, request: block_messages.ListBlocksRequest, context: Any
    ) -> block_messages.ListBlocksResponse:
        await self.begin("ListBlocks", context)
        blocks = [one for one in BLOCKS if not (request.available_only and one.unavailable_reason)]
        return block_messages.ListBlocksResponse(blocks=blocks)

    async def GetBlock(self, request: block_messages.GetBlockRequest, context: Any) -> block_messages.GetBlockResponse:
        await self.begin("GetBlock", context)
        return block_messages.GetBlockResponse(block=next(one for one in BLOCKS if one.name == request.block_id))

    async def ListBlockCategories(
        self, request: block_messages.ListBlockCategoriesRequest, context: Any
    ) -> block_messages.ListBlockCategoriesResponse:
        await self.begin("ListBlockCategories", context)
        sentence = "Blocks that work on text."
        text = block_messages.BlockCategory(name="TEXT", description=sentence, blocks=12, available_blocks=11)
        return block_messages.ListBlockCategoriesResponse(categories=[text])

    async def ListBlockVersions(
        self, request: block_messages.ListBlockVersionsRequest, context: Any
    ) -> block_messages.ListBlockVersionsResponse:
        await self.begin("ListBlockVersions", context)
        here = block_messages.BlockRunner(runner_id="default-1", pool="default", present=True)
        unset = block_messages.BlockRunner(
            runner_id="default-2", pool="default", present=True, unavailable_reason=UNSET
        )
        gone = block_messages.BlockRunner(runner_id="default-0", pool="default")
        current = block_messages.BlockVersion(
            schema_hash="ab" * 32, current=True, pool="default", runners=[here, unset]
        )
        old = block_messages.BlockVersion(schema_hash="cd" * 32, pool="default", runners=[gone])
        bare = block_messages.BlockVersion(schema_hash="ef" * 32, pool="gpu")
        return block_messages.ListBlockVersionsResponse(versions=[current, old, bare])

    async def StartExecution(
        self, request: execution_messages.StartExecutionRequest, context: Any
    ) -> execution_messages.StartExecutionResponse:
        await self.begin("StartExecution", context)
        self._script.starts.append(request)
        return execution_messages.StartExecutionResponse(execution=self._script.execution())

    async def GetExecution(
        self, request: execution_messages.GetExecutionRequest, context: Any
    ) -> execution_messages.GetExecutionResponse:
        await self.begin("GetExecution", context)
        return execution_messages.GetExecutionResponse(execution=self._script.execution())

    async def ListExecutions(
        self, request: execution_messages.ListExecutionsRequest, context: Any
    ) -> execution_messages.ListExecutionsResponse:
        await self.begin("ListExecutions", context)
        return execution_messages.ListExecutionsResponse(executions=[self._script.execution()])

    async def GetExecutionResults(
        self, request: execution_messages.GetExecutionResultsRequest, context: Any
    ) -> execution_messages.GetExecutionResultsResponse:
        await self.begin("GetExecutionResults", context)
        pages, at = [self._script.results, *self._script.more_results], int(request.page_token or 0)
        following = str(at + 1) if at + 1 < len(pages) else ""
        return execution_messages.GetExecutionResultsResponse(
            results_json=pages[at], next_page_token=following, absent_values=self._script.absent_results.get(at)
        )

    async def ListNodeExecutions(
        self, request: execution_messages.ListNodeExecutionsRequest, context: Any
    ) -> execution_messages.ListNodeExecutionsResponse:
        await self.begin("ListNodeExecutions", context)
        node = execution_pb2.NodeExecution(
            number=1, node_id="node_1", status=execution_pb2.NODE_EXECUTION_STATUS_COMPLETED
        )
        return execution_messages.ListNodeExecutionsResponse(node_executions=[node])

    async def ListEvents(
        self, request: execution_messages.ListEventsRequest, context: Any
    ) -> execution_messages.ListEventsResponse:
        await self.begin("ListEvents", context)
        found = [one for one in self._script.events if one.sequence > request.after_sequence]
        kept = [one for one in found if one.sequence not in self._script.gone][: request.page_size]
        complete = bool(kept) and kept[-1].sequence == len(self._script.events)
        return execution_messages.ListEventsResponse(events=kept, complete=complete)

    async def RunBlock(
        self, request: execution_messages.RunBlockRequest, context: Any
    ) -> execution_messages.RunBlockResponse:
        await self.begin("RunBlock", context)
        self._script.block_runs.append(request)
        return execution_messages.RunBlockResponse(execution=self._script.execution())

    async def WatchExecution(
        self, request: execution_messages.WatchExecutionRequest, context: Any
    ) -> AsyncIterator[execution_messages.WatchExecutionResponse]:
        await self.begin(f"WatchExecution {request.after_sequence}", context)
        said = 0
        limit = self._script.break_streams_after.pop(0) if self._script.break_streams_after else None
        for event in self._script.events:
            if event.sequence <= request.after_sequence or event.sequence in self._script.unsaid:
                continue
            if said == limit:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
            said += 1
            yield execution_messages.WatchExecutionResponse(events=[event])
            if event.sequence in self._script.said_twice:
                yield execution_messages.WatchExecutionResponse(events=[event])


@contextmanager
def serve(script: Script) -> Iterator[str]:
    """Serves them in a thread; gives the address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server()
        # The stubs have every method abstract; at run time one that is not here answers UNIMPLEMENTED.
        services = Services(script)  # type: ignore[abstract]
        add_GraphServiceServicer_to_server(services, server)
        add_BlockServiceServicer_to_server(services, server)
        add_ExecutionServiceServicer_to_server(services, server)
        add_CredentialsServiceServicer_to_server(Vault(script.office, services.begin), server)
        add_AccountServiceServicer_to_server(Accounts(script.office, services.begin), server)
        add_NotificationServiceServicer_to_server(Notifications(script.notifications), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
