"""The graph service in this process on a real PostgreSQL, and callers of it."""

import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from blockyard.dev.postgres import PostgresServer
from blockyard.graph.v1.block_pb2 import Block
from blockyard.graph.v1.block_service_pb2_grpc import BlockServiceStub
from blockyard.graph.v1.graph_service_pb2_grpc import GraphServiceStub
from blockyard.graph.v1.preset_service_pb2_grpc import PresetServiceStub
from blockyard.runner.v1.catalogue_service_pb2 import RegisterBlocksRequest, RegisterBlocksResponse
from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from services.common import identity, run
from services.graph.__main__ import start
from services.graph.config import GraphSettings
from tests import signing
from tests.stack.postgres import as_role, migrated_database

SECRET = signing.JWT_SECRET


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call failed, as its status and details say."""

    code: grpc.StatusCode
    reason: str
    message: str
    fields: dict[str, str]
    retry: bool


class Caller:
    """Calls the services with one token, or none."""

    def __init__(self, channel: grpc.aio.Channel, token: str | None) -> None:
        # Any: the generated stubs' types depend on the kind of channel.
        stubs = (GraphServiceStub, BlockServiceStub, PresetServiceStub, CatalogueServiceStub)
        self._stubs: list[Any] = [stub(channel) for stub in stubs]
        self._metadata = [("authorization", f"Bearer {token}")] if token is not None else []

    async def call(self, method: str, request: Any) -> Any:
        """The answer; the stub that has the method is found by its name."""
        bound = next(getattr(stub, method) for stub in self._stubs if hasattr(stub, method))
        return await bound(request, metadata=self._metadata, timeout=20)

    async def refused(self, method: str, request: Any) -> Refusal:
        """The refusal of a call that must not succeed."""
        try:
            answer = await self.call(method, request)
        except grpc.aio.AioRpcError as error:
            return refusal(error)
        raise AssertionError(f"{method} was not refused: {answer}")


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """What an error says, with its details unpacked."""
    status: Any = rpc_status.from_call(error)
    reason, fields, retry = "", {}, False
    for detail in status.details if status else ():
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        precondition = error_details_pb2.PreconditionFailure()
        if detail.Unpack(info):
            assert info.domain == "blockyard"
            reason = info.reason
        elif detail.Unpack(request):
            fields = {one.field: one.description for one in request.field_violations}
        elif detail.Unpack(precondition):
            fields = {one.subject: one.description for one in precondition.violations}
        else:
            retry = retry or detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)
    return Refusal(error.code(), reason, error.details() or "", fields, retry)


@dataclass(eq=False)
class Service:
    """A running graph service."""

    channel: grpc.aio.Channel
    address: str
    database_url: str

    def user(self, user_id: str = "anna", role: str = "user") -> Caller:
        return Caller(self.channel, identity.user_token(SECRET, user_id, role, 300))

    def service(self) -> Caller:
        return Caller(self.channel, signing.service_token())

    def holder_of(self, token: str | None) -> Caller:
        return Caller(self.channel, token)

    async def register(
        self, blocks: Sequence[Block], runner_id: str = "runner-1", pool: str = "default"
    ) -> RegisterBlocksResponse:
        request = RegisterBlocksRequest(runner_id=runner_id, pool=pool, blocks=blocks)
        answer: RegisterBlocksResponse = await self.service().call("RegisterBlocks", request)
        return answer


@asynccontextmanager
async def graph_service(postgres: PostgresServer, **settings: Any) -> AsyncIterator[Service]:
    """A service on a fresh database."""
    async with AsyncExitStack() as stack:
        database_url = stack.enter_context(migrated_database(postgres.url, "graph"))
        yield await stack.enter_async_context(replica(database_url, **settings))


@asynccontextmanager
async def replica(database_url: str, **settings: Any) -> AsyncIterator[Service]:
    """A service on a database that is there."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blockyard-")))
        port_file = folder / f"port-{os.getpid()}"
        values: dict[str, Any] = {
            "port": 0,
            "port_file": port_file,
            **signing.SETTINGS,
            "database_url": as_role(database_url, "graph"),
            "grace_seconds": 0,
            **settings,
        }
        await start(GraphSettings(**values), stack, run.Process(stack))
        address = f"127.0.0.1:{int(port_file.read_text())}"
        channel = grpc.aio.insecure_channel(address, options=[("grpc.max_send_message_length", 32 << 20)])
        yield Service(await stack.enter_async_context(channel), address, database_url)
