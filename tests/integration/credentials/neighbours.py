"""The services that the vault asks, as a real gRPC server that says what a test has told it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from blockyard.account.v1.account_pb2 import AuditEntry
from blockyard.account.v1.identity_service_pb2 import RecordActionsRequest, RecordActionsResponse
from blockyard.account.v1.identity_service_pb2_grpc import (
    IdentityServiceServicer,
    add_IdentityServiceServicer_to_server,
)
from blockyard.credentials.v1.credential_pb2 import CredentialUse
from blockyard.runner.v1.catalogue_service_pb2 import (
    CatalogueServiceFindCredentialUsesRequest,
    CatalogueServiceFindCredentialUsesResponse,
)
from blockyard.runner.v1.catalogue_service_pb2_grpc import (
    CatalogueServiceServicer,
    add_CatalogueServiceServicer_to_server,
)
from blockyard.runner.v1.task_service_pb2 import FindCredentialUsesRequest, FindCredentialUsesResponse
from blockyard.runner.v1.task_service_pb2_grpc import TaskServiceServicer, add_TaskServiceServicer_to_server

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(eq=False)
class Neighbours:
    """Uses by the id of the credential, and audit entries that were taken."""

    address: str = ""
    in_graphs: dict[str, Sequence[CredentialUse]] = field(default_factory=dict)
    in_executions: dict[str, Sequence[CredentialUse]] = field(default_factory=dict)
    entries: list[AuditEntry] = field(default_factory=list)
    away: bool = False
    refusals: int = 0

    async def refuse_if_away(self, context: Context) -> None:
        if self.away:
            self.refusals += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away for the test")


@dataclass
class _Catalogue(CatalogueServiceServicer):
    house: Neighbours

    async def FindCredentialUses(
        self, request: CatalogueServiceFindCredentialUsesRequest, context: Context
    ) -> CatalogueServiceFindCredentialUsesResponse:
        await self.house.refuse_if_away(context)
        return CatalogueServiceFindCredentialUsesResponse(uses=self.house.in_graphs.get(request.credential_id, ()))


@dataclass
class _Tasks(TaskServiceServicer):
    house: Neighbours

    async def FindCredentialUses(
        self, request: FindCredentialUsesRequest, context: Context
    ) -> FindCredentialUsesResponse:
        await self.house.refuse_if_away(context)
        return FindCredentialUsesResponse(uses=self.house.in_executions.get(request.credential_id, ()))


@dataclass
class _Identity(IdentityServiceServicer):
    house: Neighbours

    async def RecordActions(self, request: RecordActionsRequest, context: Context) -> RecordActionsResponse:
        await self.house.refuse_if_away(context)
        known = {entry.id for entry in self.house.entries}
        self.house.entries.extend(entry for entry in request.entries if entry.id not in known)
        return RecordActionsResponse()


@asynccontextmanager
async def neighbours() -> AsyncIterator[Neighbours]:
    """They serve while the context is open."""
    house = Neighbours()
    server = grpc.aio.server()
    # The stubs call methods abstract which a server may leave out: the vault calls none of those here.
    add_CatalogueServiceServicer_to_server(_Catalogue(house), server)  # type: ignore[abstract]
    add_TaskServiceServicer_to_server(_Tasks(house), server)  # type: ignore[abstract]
    add_IdentityServiceServicer_to_server(_Identity(house), server)  # type: ignore[abstract]
    house.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield house
    finally:
        await server.stop(None)
