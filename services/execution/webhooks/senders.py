"""Secrets that senders have drawn themselves: credentials in the vault, which says whether somebody knows one.

No such secret comes here, so P7 holds. While the vault is away, deliveries to these triggers are told to come again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from blockyard.runner.v1.lease_service_pb2 import CheckSecretRequest

from services.common.errors import InvalidArgument, Unavailable, Violation
from services.execution.credentials import NO_VAULT
from services.execution.webhooks.signatures import Claim

if TYPE_CHECKING:  # the asynchronous form exists for type checkers alone
    from blockyard.runner.v1.lease_service_pb2_grpc import LeaseServiceAsyncStub

CHECK_SECONDS = 5.0
FIELD = "trigger.secret_credential_id"
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class SecretGone(Exception):
    """The credential cannot be used: the message says why."""


@dataclass(frozen=True, slots=True)
class Senders:
    """Asks the vault."""

    vault: "LeaseServiceAsyncStub | None"
    """None where there is no vault."""

    async def knows(self, user_id: str, credential_id: str, claim: Claim) -> bool:
        """Whether a claim holds of a user's credential. Raises SecretGone and Unavailable."""
        if self.vault is None:
            raise SecretGone(NO_VAULT)
        request = CheckSecretRequest(
            user_id=user_id,
            credential_id=credential_id,
            signed=claim.signed,
            signatures=claim.signatures,
            digest=claim.digest,
            as_text=claim.as_text,
        )
        try:
            return (await self.vault.CheckSecret(request, timeout=CHECK_SECONDS)).known
        except grpc.aio.AioRpcError as error:
            if error.code() in _AWAY:
                raise Unavailable("The credentials service is away. Try again.") from error
            raise SecretGone(error.details() or error.code().name) from error

    async def check(self, user_id: str, credential_id: str) -> None:
        """Raises InvalidArgument if a user has no such credential that may hold a secret."""
        try:
            await self.knows(user_id, credential_id, Claim())
        except SecretGone as error:
            problem = f"expected the id of a credential of yours, of kind api_key: {error}"
            raise InvalidArgument(violations=[Violation(FIELD, problem)]) from error
