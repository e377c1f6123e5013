"""The account service in this process on a real PostgreSQL, and callers of it."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from blockyard.account.v1 import account_pb2
from blockyard.account.v1.account_service_pb2 import CreateApiKeyRequest, CreateApiKeyResponse
from blockyard.account.v1.account_service_pb2_grpc import AccountServiceStub
from blockyard.account.v1.identity_service_pb2_grpc import IdentityServiceStub
from blockyard.account.v1.ledger_service_pb2_grpc import LedgerServiceStub
from blockyard.dev.postgres import PostgresServer

from services.account.__main__ import start
from services.account.config import AccountSettings
from services.common import identity, run
from tests import signing
from tests.integration.graph.service import Refusal, refusal
from tests.stack.postgres import as_role, migrated_database

STUBS = (AccountServiceStub, IdentityServiceStub, LedgerServiceStub)


class Caller:
    """Calls the account service with one token or key, or with none."""

    def __init__(self, channel: grpc.aio.Channel, token: str | None, **metadata: str) -> None:
        # Any: the generated stubs' types depend on the kind of channel.
        self._stubs: list[Any] = [stub(channel) for stub in STUBS]
        authorization = {} if token is None else {"authorization": f"Bearer {token}"}
        self._metadata = [(name.replace("_", "-"), value) for name, value in {**authorization, **metadata}.items()]

    def begin(self, method: str, request: Any) -> Any:
        """The call; the stub that has the method is found by its name."""
        bound = next(getattr(stub, method) for stub in self._stubs if hasattr(stub, method))
        return bound(request, metadata=self._metadata, timeout=20)

    async def call(self, method: str, request: Any) -> Any:
        """The answer."""
        return await self.begin(method, request)

    async def refused(self, method: str, request: Any) -> Refusal:
        """The refusal of a call that must not succeed."""
        try:
            answer = await self.call(method, request)
        except grpc.aio.AioRpcError as error:
            return refusal(error)
        raise AssertionError(f"{method} was not refused: {answer}")

    async def make_key(self, *permissions: str, name: str = "a key", **fields: Any) -> CreateApiKeyResponse:
        """A key of this caller's, with permissions by name."""
        numbers = [account_pb2.Permission.Value(f"PERMISSION_{one}") for one in permissions]
        request = CreateApiKeyRequest(name=name, permissions=numbers, **fields)
        answer: CreateApiKeyResponse = await self.call("CreateApiKey", request)
        return answer


@dataclass(eq=False)
class Service:
    """A running account service."""

    channel: grpc.aio.Channel
    address: str
    database_url: str

    def user(self, user_id: str, role: str = "user", **metadata: str) -> Caller:
        return self.holder_of(identity.user_token(signing.JWT_SECRET, user_id, role, 300), **metadata)

    def admin(self, user_id: str = "root") -> Caller:
        return self.user(user_id, "admin")

    def service(self) -> Caller:
        return self.holder_of(signing.service_token())

    def holder_of(self, token: str | None, **metadata: str) -> Caller:
        return Caller(self.channel, token, **metadata)


@asynccontextmanager
async def account_service(postgres: PostgresServer, **settings: Any) -> AsyncIterator[Service]:
    """A service on a fresh database."""
    async with AsyncExitStack() as stack:
        database_url = stack.enter_context(migrated_database(postgres.url, "account"))
        yield await stack.enter_async_context(replica(database_url, **settings))


@asynccontextmanager
async def replica(database_url: str, **settings: Any) -> AsyncIterator[Service]:
    """A service on a database that is there."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blockyard-")))
        port_file = folder / f"port-{os.getpid()}"
        values: dict[str, Any] = {
            **signing.SETTINGS,
            "port": 0,
            "port_file": port_file,
            "database_url": as_role(database_url, "account"),
            "nats_url": "nats://127.0.0.1:1",
            "grace_seconds": 0,
            **settings,
        }
        await start(AccountSettings(**values), stack, run.Process(stack))
        address = f"127.0.0.1:{int(port_file.read_text())}"
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        yield Service(channel, address, database_url)
