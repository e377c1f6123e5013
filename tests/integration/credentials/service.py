"""The vault in this process on a real PostgreSQL, and callers of it."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from blockyard.credentials.v1.credential_pb2 import Credential, CredentialSecret
from blockyard.credentials.v1.credentials_service_pb2 import CreateCredentialRequest
from blockyard.credentials.v1.credentials_service_pb2_grpc import CredentialsServiceStub
from blockyard.dev.postgres import PostgresServer
from blockyard.runner.v1.lease_service_pb2_grpc import LeaseServiceStub
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from services.common import identity, run
from services.credentials.__main__ import start
from services.credentials.config import CredentialsSettings
from tests import signing
from tests.integration.credentials.neighbours import Neighbours, neighbours
from tests.stack.postgres import as_role, migrated_database


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call failed, as its status and details say."""

    code: grpc.StatusCode
    reason: str
    message: str
    fields: dict[str, str]
    retry: bool
    metadata: dict[str, str]


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """What an error says, with its details unpacked."""
    status: Any = rpc_status.from_call(error)
    reason, fields, retry, metadata = "", {}, False, {}
    for detail in status.details if status else ():
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        precondition = error_details_pb2.PreconditionFailure()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(request):
            fields = {one.field: one.description for one in request.field_violations}
        elif detail.Unpack(precondition):
            fields = {one.subject: one.description for one in precondition.violations}
        else:
            retry = retry or detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)
    return Refusal(error.code(), reason, error.details() or "", fields, retry, metadata)


class Caller:
    """Calls the vault's services with one token."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        # Any: the generated stubs' types depend on the kind of channel.
        self._stubs: list[Any] = [stub(channel) for stub in (CredentialsServiceStub, LeaseServiceStub)]
        self._metadata = [("authorization", f"Bearer {token}")]

    async def call(self, method: str, request: Any) -> Any:
        """The answer; the stub that has the method is found by its name."""
        bound = next(getattr(stub, method) for stub in self._stubs if hasattr(stub, method))
        return await bound(request, metadata=self._metadata, timeout=30)

    async def refused(self, method: str, request: Any) -> Refusal:
        """The refusal of a call that must not succeed."""
        try:
            answer = await self.call(method, request)
        except grpc.aio.AioRpcError as error:
            return refusal(error)
        raise AssertionError(f"{method} was not refused: {answer}")

    async def keep(self, api_key: str = "sk-sentinel-0123456789", **fields: Any) -> Credential:
        """A credential of the caller."""
        given: dict[str, Any] = {"provider": "acme", "title": "Acme", **fields}
        request = CreateCredentialRequest(secret=CredentialSecret(api_key=api_key), **given)
        answer = await self.call("CreateCredential", request)
        kept: Credential = answer.credential
        return kept


@dataclass(eq=False)
class Service:
    """A running vault."""

    channel: grpc.aio.Channel
    address: str
    database_url: str
    pool: "asyncpg.Pool[asyncpg.Record]" = field(repr=False)
    """As the service's own role, for what no call tells."""
    keys: Path
    """The folder of keys."""
    neighbours: Neighbours

    def user(self, user_id: str = "anna", role: str = "user") -> Caller:
        return Caller(self.channel, identity.user_token(signing.JWT_SECRET, user_id, role, 300))

    def admin(self) -> Caller:
        return self.user("root", "admin")

    def service(self) -> Caller:
        return Caller(self.channel, signing.service_token())

    def runner(self) -> Caller:
        return Caller(self.channel, signing.runner_token())

    async def is_ready(self) -> bool:
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@dataclass(frozen=True, slots=True)
class Ground:
    """What replicas of a vault share."""

    database_url: str
    keys: Path
    neighbours: Neighbours


@asynccontextmanager
async def ground(postgres: PostgresServer) -> AsyncIterator[Ground]:
    """A fresh database, and a folder of keys of its own."""
    async with AsyncExitStack() as stack:
        database_url = stack.enter_context(migrated_database(postgres.url, "credentials"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blockyard-keys-")))
        house = await stack.enter_async_context(neighbours())
        yield Ground(database_url, folder, house)


@asynccontextmanager
async def vault_service(postgres: PostgresServer, **settings: Any) -> AsyncIterator[Service]:
    """A vault on a fresh database."""
    async with ground(postgres) as own, replica(own.database_url, own.keys, own.neighbours, **settings) as service:
        yield service


@asynccontextmanager
async def replica(database_url: str, keys: Path, house: Neighbours, **settings: Any) -> AsyncIterator[Service]:
    """A vault on a database that is there."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blockyard-")))
        port_file = folder / f"port-{os.getpid()}"
        values: dict[str, Any] = {
            "port": 0,
            "port_file": port_file,
            **signing.SETTINGS,
            "database_url": as_role(database_url, "credentials"),
            "vault_keys_url": keys.as_uri(),
            "canary_interval_seconds": 0.1,
            "graph_address": house.address,
            "execution_address": house.address,
            "grace_seconds": 0,
            **settings,
        }
        pool = await stack.enter_async_context(
            asyncpg.create_pool(values["database_url"], min_size=1, server_settings={"search_path": "credentials"})
        )
        await start(CredentialsSettings(**values), stack, run.Process(stack))
        address = f"127.0.0.1:{int(port_file.read_text())}"
        channel = grpc.aio.insecure_channel(address, options=[("grpc.max_send_message_length", 32 << 20)])
        yield Service(await stack.enter_async_context(channel), address, database_url, pool, keys, house)
