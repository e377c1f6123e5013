"""A catalogue that holds graphs in memory: a second implementation of CatalogueService, for tests of its clients."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from blockyard.graph.v1.block_pb2 import Block, BlockType, Effect, RetryPolicy
from blockyard.graph.v1.graph_pb2 import CredentialsField, CredentialsPin, Graph, Link, Node
from blockyard.graph.v1.preset_pb2 import Preset
from blockyard.runner.v1.catalogue_service_pb2 import (
    GetRunnableBlockRequest,
    GetRunnableBlockResponse,
    GetRunnableGraphRequest,
    GetRunnableGraphResponse,
    RegisterBlocksRequest,
    RegisterBlocksResponse,
)
from blockyard.runner.v1.catalogue_service_pb2_grpc import (
    CatalogueServiceServicer,
    add_CatalogueServiceServicer_to_server,
)
from google.protobuf.duration_pb2 import Duration
from grpc_status import rpc_status

from services.common import error_status
from services.common.structs import to_struct
from services.execution.errors import PresetNotFound

TYPES = {
    "INPUT": BlockType.BLOCK_TYPE_INPUT,
    "OUTPUT": BlockType.BLOCK_TYPE_OUTPUT,
    "COLLECT": BlockType.BLOCK_TYPE_COLLECT,
    "AGENT": BlockType.BLOCK_TYPE_AGENT,
    "APPROVAL": BlockType.BLOCK_TYPE_HUMAN_IN_THE_LOOP,
}


@dataclass
class GraphBuilder:
    """Writes a graph with a block of its own for each node: nodes by name, links as "node.pin"."""

    graph_id: str
    user_id: str = "anna"
    nodes: list[Node] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    blocks: dict[str, Block] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    credentials_fields: list[CredentialsField] = field(default_factory=list)

    def node(
        self,
        name: str,
        block: str = "",
        /,
        *,
        effect: Effect.ValueType = Effect.EFFECT_PURE,
        many: tuple[str, ...] = (),
        attempts: int = 1,
        timeout_s: float = 60.0,
        pool: str = "default",
        static: bool = False,
        **constants: Any,
    ) -> str:
        block = block or name
        backoff = Duration(nanos=50_000_000)
        self.blocks[block] = Block(
            id=block,
            name=block,
            type=TYPES.get(block, BlockType.BLOCK_TYPE_STANDARD),
            effect=effect,
            many_pins=many,
            pool=pool,
            schema_hash=f"hash of {block}",
            static_output=static,
            retry=RetryPolicy(max_attempts=attempts, initial_backoff=backoff, max_backoff=backoff),
            timeout=Duration(seconds=int(timeout_s), nanos=int(timeout_s % 1 * 1e9)),
        )
        self.nodes.append(Node(id=name, block_id=block, inputs_json=json.dumps(constants).encode()))
        return name

    def wants_credential(
        self,
        name: str,
        *places: str,
        types: tuple[str, ...] = ("api_key",),
        required: bool = True,
        named_only: bool = False,
        **pins: str,
    ) -> None:
        """A field for places "node.pin" of provider `name`; `pins` are such that name a credential, by node."""
        wanted = [CredentialsPin(node_id=place.split(".")[0], pin=place.split(".")[1]) for place in places]
        named = [CredentialsPin(node_id=node, pin="credentials", credential_id=id_) for node, id_ in pins.items()]
        self.credentials_fields.append(
            CredentialsField(
                name=name,
                providers=[name],
                types=types,
                required=required,
                named_only=named_only,
                pins=[*wanted, *named],
            )
        )

    def input(self, name: str, schema: dict[str, Any] | None = None, required: bool = False) -> str:
        self.names[name] = schema or {}
        if required:
            self.required.append(name)
        return self.node(name, "INPUT", name=name)

    def output(self, name: str) -> str:
        return self.node(name, "OUTPUT", name=name)

    def link(self, source: str, sink: str) -> None:
        source_node, source_pin = source.split(".", 1)
        sink_node, sink_pin = sink.split(".", 1)
        self.links.append(
            Link(source_node_id=source_node, source_pin=source_pin, sink_node_id=sink_node, sink_pin=sink_pin)
        )

    def graph(self) -> GetRunnableGraphResponse:
        schema = to_struct({"type": "object", "properties": self.names, "required": self.required})
        graph = Graph(
            id=self.graph_id,
            version=1,
            active_version=1,
            latest_version=1,
            user_id=self.user_id,
            nodes=self.nodes,
            links=self.links,
            input_schema=schema,
            credentials_fields=self.credentials_fields,
        )
        answer = GetRunnableGraphResponse(graph=graph, blocks=list(self.blocks.values()))
        answer.etag = hashlib.sha256(answer.SerializeToString(deterministic=True)).digest()
        return answer


class MemoryCatalogue(CatalogueServiceServicer):
    """Answers GetRunnableGraph and GetRunnableBlock from what was put in."""

    def __init__(self) -> None:
        self.graphs: dict[str, GetRunnableGraphResponse] = {}
        self.blocks: dict[str, GetRunnableBlockResponse] = {}
        """By id."""
        self.presets: dict[str, Preset] = {}
        """By id."""
        self.questions = 0
        self.lease_seconds = 0.0
        """Of the active version, for those who want a lease."""
        self.leased = 0
        """Leases that were given."""
        self.away: set[str] = set()
        """Graphs that cannot be asked for now."""
        self.answering = asyncio.Event()
        """Clear it to let questions wait."""
        self.answering.set()

    def add(self, builder: GraphBuilder) -> None:
        self.graphs[builder.graph_id] = builder.graph()

    def add_block(self, block: Block, absence: str = "") -> None:
        self.blocks[block.id] = GetRunnableBlockResponse(block=block, absence=absence)

    async def FindCredentialUses(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        raise NotImplementedError("the vault asks this, and there is none in these tests")

    async def GetGraphNames(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        raise NotImplementedError("mails ask this, and none are sent in these tests")

    async def GetRunnableBlock(
        self, request: GetRunnableBlockRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> GetRunnableBlockResponse:
        await self.answering.wait()
        for found in self.blocks.values():
            if request.block_id in (found.block.id, found.block.name):
                return found
        await context.abort(grpc.StatusCode.NOT_FOUND, f"No runner has registered a block {request.block_id}.")

    async def RegisterBlocks(
        self, request: RegisterBlocksRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> RegisterBlocksResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Blocks come with the graphs that are put in.")

    async def GetRunnableGraph(
        self, request: GetRunnableGraphRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> GetRunnableGraphResponse:
        self.questions += 1
        preset = self.presets.get(request.preset_id)
        if request.preset_id and preset is None:
            await refuse(context, PresetNotFound())
        found = self.graphs.get(request.graph_id or (preset.graph_id if preset else ""))
        await self.answering.wait()
        if request.graph_id in self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The catalogue is away.")
        if found is None or found.graph.user_id != request.user_id or request.version not in (0, 1):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"There is no graph {request.graph_id}.")
        assert found is not None
        answer = GetRunnableGraphResponse(etag=found.etag)
        if found.etag != request.known_etag:
            answer.CopyFrom(found)
        if preset is not None:
            answer.preset.CopyFrom(preset)
        if request.wants_lease and self.lease_seconds:
            self.leased += 1
            answer.lease.FromNanoseconds(round(self.lease_seconds * 1e9))
        return answer


async def refuse(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    """Answers with an error as services do."""
    parts = rpc_status.to_status(error_status.from_exception(error))
    await context.abort(parts.code, parts.details, tuple(parts.trailing_metadata or ()))


@asynccontextmanager
async def serving(catalogue: MemoryCatalogue) -> AsyncIterator[str]:
    """Serves it on loopback; gives the address."""
    server = grpc.aio.server()
    add_CatalogueServiceServicer_to_server(catalogue, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
