"""A vault that holds references in memory: a second implementation of what the execution service asks of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from blockyard.runner.v1 import lease_service_pb2 as messages
from blockyard.runner.v1.lease_service_pb2_grpc import LeaseServiceServicer, add_LeaseServiceServicer_to_server

from services.credentials.secret_checks import Shown, holds

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(eq=False)
class MemoryVault(LeaseServiceServicer):
    """Matches by provider and kind."""

    credentials: dict[str, list[messages.MatchedCredential]] = field(default_factory=dict)
    """By user."""
    questions: list[messages.MatchCredentialsRequest] = field(default_factory=list)
    away: bool = False
    secrets: dict[str, str] = field(default_factory=dict)
    """By credential."""

    def add(self, credential_id: str, provider: str, *, user_id: str = "anna", type_: str = "api_key") -> None:
        added = messages.MatchedCredential(
            credential_id=credential_id, provider=provider, type=type_, title=f"title of {credential_id}"
        )
        self.credentials.setdefault(user_id, []).append(added)

    async def MatchCredentials(
        self, request: messages.MatchCredentialsRequest, context: Context
    ) -> messages.MatchCredentialsResponse:
        self.questions.append(request)
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the vault is away")
        known = self.credentials.get(request.user_id, [])
        return messages.MatchCredentialsResponse(matches={one.name: _match(one, known) for one in request.demands})

    async def CheckSecret(self, request: messages.CheckSecretRequest, context: Context) -> messages.CheckSecretResponse:
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the vault is away")
        if request.credential_id not in self.secrets:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such credential")
        shown = Shown(request.signed, list(request.signatures), request.digest, request.as_text)
        return messages.CheckSecretResponse(known=holds(self.secrets[request.credential_id], shown))

    async def LeaseCredentials(self, request: Any, context: Context) -> Any:
        raise NotImplementedError("the execution service has no business with secrets")


def _match(demand: messages.CredentialDemand, known: list[messages.MatchedCredential]) -> messages.CredentialMatch:
    fits = [one for one in known if one.provider in demand.providers and one.type in demand.types]
    if not demand.credential_id:
        return messages.CredentialMatch(candidates=fits)
    chosen = [one for one in fits if one.credential_id == demand.credential_id]
    return messages.CredentialMatch(candidates=chosen, problem="" if chosen else "there is no such credential")


@asynccontextmanager
async def serving(vault: MemoryVault) -> AsyncIterator[str]:
    """Its address."""
    server = grpc.aio.server()
    add_LeaseServiceServicer_to_server(vault, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
