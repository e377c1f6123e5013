"""The execution service in this process, between a real PostgreSQL, a real NATS, and a small catalogue and runner."""

import json
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from blockyard.dev.nats import NatsServer, start_nats
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import Event
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import Execution
from blockyard.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub

from services.common import identity, run
from services.common.bus import Bus, connect
from services.execution.__main__ import start
from services.execution.config import ExecutionSettings
from tests import signing
from tests.integration.execution.catalogue import GraphBuilder, MemoryCatalogue, serving
from tests.stack.postgres import as_role, migrated_database

SECRET = signing.JWT_SECRET


@dataclass(eq=False)
class Replica:
    """A running execution service."""

    resources: AsyncExitStack
    channel: grpc.aio.Channel
    process: run.Process
    address: str

    async def close(self) -> None:
        await self.channel.close()
        await self.resources.aclose()


@dataclass(eq=False)
class House:
    """What a test works with."""

    postgres: PostgresServer
    database_url: str
    nats: NatsServer
    bus: Bus
    catalogue: MemoryCatalogue
    catalogue_address: str
    folder: Path
    replicas: list[Replica] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    async def add_replica(self, **settings: Any) -> Replica:
        port_file = self.folder / f"port-{len(self.replicas)}-{os.urandom(4).hex()}"
        values: dict[str, Any] = {
            "port": 0,
            "port_file": port_file,
            **signing.SETTINGS,
            "nats_url": self.nats.url,
            "blob_url": f"file://{self.folder / 'blobs'}",
            "graph_address": self.catalogue_address,
            "database_url": as_role(self.database_url, "execution"),
            "partitions": 4,
            "heartbeat_seconds": 0.2,
            "runner_silence": 1.0,
            "lease_seconds": 2.0,
            "grace_seconds": 0,
            "tasks_stream_bytes": 64 << 20,
            "results_stream_bytes": 64 << 20,
            "events_stream_bytes": 64 << 20,
            **self.settings,
            **settings,
        }
        resources = AsyncExitStack()
        process = run.Process(resources)
        await start(ExecutionSettings(**values), resources, process)
        port = int(port_file.read_text())
        address = f"127.0.0.1:{port}"
        replica = Replica(resources, grpc.aio.insecure_channel(address), process, address)
        self.replicas.append(replica)
        return replica

    def client(self, user_id: str = "anna", replica: int = 0) -> "Client":
        return Client(ExecutionServiceStub(self.replicas[replica].channel), user_id)

    def graph(self, graph_id: str = "graph", user_id: str = "anna") -> GraphBuilder:
        return GraphBuilder(graph_id, user_id)


@dataclass(eq=False)
class Client:
    """Calls as one user."""

    stub: Any  # the generated stub: its type depends on the kind of channel
    user_id: str

    @property
    def metadata(self) -> list[tuple[str, str]]:
        token = identity.user_token(SECRET, self.user_id, "user", 300)
        return [("authorization", f"Bearer {token}")]

    async def start(self, graph_id: str = "graph", /, **fields: Any) -> Execution:
        inputs = fields.pop("inputs", None)
        if inputs is not None:
            fields["inputs_json"] = json.dumps(inputs).encode()
        request = messages.StartExecutionRequest(graph_id=graph_id, **fields)
        answer = await self.stub.StartExecution(request, metadata=self.metadata, timeout=20)
        execution: Execution = answer.execution
        return execution

    async def events(self, execution_id: str, after: int = 0, timeout: float = 30) -> list[Event]:
        """All events until the end."""
        request = messages.WatchExecutionRequest(execution_id=execution_id, after_sequence=after)
        found: list[Event] = []
        async for answer in self.stub.WatchExecution(request, metadata=self.metadata, timeout=timeout):
            found.extend(answer.events)
        return found

    async def get(self, execution_id: str) -> Execution:
        request = messages.GetExecutionRequest(execution_id=execution_id, value_format=messages.VALUE_FORMAT_JSON)
        answer = await self.stub.GetExecution(request, metadata=self.metadata, timeout=20)
        execution: Execution = answer.execution
        return execution

    async def results(self, execution_id: str) -> dict[str, list[Any]]:
        results: dict[str, list[Any]] = {}
        token = ""
        while True:
            request = messages.GetExecutionResultsRequest(
                execution_id=execution_id, value_format=messages.VALUE_FORMAT_JSON, page_token=token
            )
            answer = await self.stub.GetExecutionResults(request, metadata=self.metadata, timeout=20)
            for name, values in json.loads(answer.results_json).items():
                results.setdefault(name, []).extend(values)
            token = answer.next_page_token
            if not token:
                return results

    async def call(self, method: str, request: Any, timeout: float = 20) -> Any:
        return await getattr(self.stub, method)(request, metadata=self.metadata, timeout=timeout)


@asynccontextmanager
async def house(
    postgres: PostgresServer, services: Sequence[str] = ("execution",), **settings: Any
) -> AsyncIterator[House]:
    """A fresh database with the schemas of these services, and NATS; replicas are added by the test."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blockyard-", ignore_cleanup_errors=True)))
        database_url = stack.enter_context(migrated_database(postgres.url, *services))
        server = await start_nats(folder / "nats")
        stack.push_async_callback(server.kill)
        bus = await stack.enter_async_context(connect(server.url, "test"))
        catalogue = MemoryCatalogue()
        address = await stack.enter_async_context(serving(catalogue))
        built = House(postgres, database_url, server, bus, catalogue, address, folder, settings=settings)
        try:
            yield built
        finally:
            for replica in built.replicas:
                await replica.close()
