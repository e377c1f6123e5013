"""A vault for runners: a real server of LeaseService that gives what a test has put in, and refuses as it says."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from blockyard.dev.ports import free_port
from blockyard.runner.v1.lease_service_pb2 import (
    CheckSecretRequest,
    CheckSecretResponse,
    LeaseCredentialsRequest,
    LeaseCredentialsResponse,
    LeasedCredential,
    MatchCredentialsRequest,
    MatchCredentialsResponse,
)
from blockyard.runner.v1.lease_service_pb2_grpc import LeaseServiceServicer, add_LeaseServiceServicer_to_server
from blockyard.runner.v1.task_pb2 import Task
from grpc_status import rpc_status

from services.common import error_status
from services.common.errors import BlockyardError
from tests.integration.runner.house import House, RunnerProcess
from tests.integration.runner.owner import Recorded

SECRET = "sk-live-0123456789"
REFERENCE = {"id": "c-1", "provider": "acme", "type": "api_key", "title": "Work"}
CREDENTIALS = json.dumps({"credentials": REFERENCE}).encode()
"""What a task says of its credentials."""

NO_FAILURE = BlockyardError("the call succeeds")

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(eq=False)
class LeaseServer(LeaseServiceServicer):
    """Gives the same credentials to every run that asks."""

    credentials: Mapping[str, LeasedCredential]
    """By input pin."""
    failures: list[BlockyardError] = field(default_factory=list)
    """Of the next calls."""
    then: list[Mapping[str, LeasedCredential]] = field(default_factory=list)
    """What it has at the second call, and those behind it."""
    asked: list[LeaseCredentialsRequest] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    async def LeaseCredentials(self, request: LeaseCredentialsRequest, context: Context) -> LeaseCredentialsResponse:
        self.asked.append(request)
        metadata = {name: str(value) for name, value in context.invocation_metadata() or ()}
        self.tokens.append(metadata["authorization"])
        failure = self.failures.pop(0) if self.failures else NO_FAILURE
        if failure is not NO_FAILURE:
            parts = rpc_status.to_status(error_status.status_of(failure))
            await context.abort(parts.code, parts.details, parts.trailing_metadata)
        if len(self.asked) > 1 and self.then:
            self.credentials = self.then.pop(0)
        wanted = request.pins or self.credentials
        return LeaseCredentialsResponse(
            credentials={pin: self.credentials[pin] for pin in wanted if pin in self.credentials}
        )

    async def MatchCredentials(self, request: MatchCredentialsRequest, context: Context) -> MatchCredentialsResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Runners match nothing.")

    async def CheckSecret(self, request: CheckSecretRequest, context: Context) -> CheckSecretResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Runners check nothing.")


@asynccontextmanager
async def serving(vault: LeaseServer, port: int) -> AsyncIterator[None]:
    """The vault is there."""
    server = grpc.aio.server()
    add_LeaseServiceServicer_to_server(vault, server)
    assert server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


def api_key(text: str) -> LeasedCredential:
    """A leased API key."""
    return LeasedCredential(
        lease_id="0199",
        credential_id="c-1",
        provider="acme",
        type="api_key",
        version=1,
        secret={"api_key": text},
        secret_parts=["api_key"],
        title="Work",
    )


@dataclass(eq=False)
class Vaulted:
    """A house with a runner that knows where a vault is."""

    house: House
    runner: RunnerProcess
    vault: LeaseServer
    port: int

    def task(self, block: str, **fields: Any) -> Task:
        return self.house.owner.task(self.house.block(block), **{"credentials": CREDENTIALS, **fields})

    async def run(self, block: str, **fields: Any) -> Recorded:
        task = self.task(block, **fields)
        await self.house.owner.send(task)
        return await self.house.owner.end_of(task)


@asynccontextmanager
async def vaulted(built: House, secret: str = SECRET, *, there: bool = True, **settings: Any) -> AsyncIterator[Vaulted]:
    """A runner that knows where a vault is, and the vault, if it is there."""
    vault, port = LeaseServer({"credentials": api_key(secret)}), free_port()
    async with AsyncExitStack() as stack:
        if there:
            await stack.enter_async_context(serving(vault, port))
        runner = await built.add_runner(credentials_address=f"127.0.0.1:{port}", **settings)
        yield Vaulted(built, runner, vault, port)
