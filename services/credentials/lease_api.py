"""LeaseService: secrets for runs, asked for by runners, and what fits pins, asked for by the execution service."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from blockyard.runner.v1 import lease_service_pb2 as messages
from blockyard.runner.v1.lease_service_pb2_grpc import LeaseServiceServicer
from grpc.aio import ServicerContext

from services.common.errors import InvalidArgument, Violation
from services.credentials.errors import CredentialNotFound
from services.credentials.leasing import Asked, Given, Leasing
from services.credentials.matching import Candidate, Demand, Match, match
from services.credentials.records import CredentialType
from services.credentials.repository.leases import LeaseRepository
from services.credentials.secret_checks import SecretChecks, Shown

MOST_PINS = 100
MOST_DEMANDS = 1_000
MOST_SIGNATURES = 10
ID_BYTES = 16
LONGEST_RUNNER_ID = 200

SECRET_PARTS: Mapping[CredentialType, Sequence[str]] = {
    CredentialType.API_KEY: ("api_key",),
    CredentialType.OAUTH2: ("access_token",),
    CredentialType.USER_PASSWORD: ("password",),
    CredentialType.HOST_SCOPED: ("headers",),
}
"""What must not be told of a secret. A refresh token never leaves the vault."""
TOLD_PARTS: Mapping[CredentialType, Sequence[str]] = {
    CredentialType.OAUTH2: ("token_type",),
    CredentialType.USER_PASSWORD: ("username",),
    CredentialType.HOST_SCOPED: ("host",),
}

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


@dataclass(slots=True, eq=False)
class LeaseApi(LeaseServiceServicer):
    """Translates; Leasing decides."""

    leasing: Leasing
    repository: LeaseRepository
    checks: SecretChecks

    async def LeaseCredentials(
        self, request: messages.LeaseCredentialsRequest, context: Context
    ) -> messages.LeaseCredentialsResponse:
        """Gives a run the secrets that its node names."""
        violations = list(_wrong_with(request))
        if violations:
            raise InvalidArgument(violations=violations)
        given = await self.leasing.lease(Asked(request.runner_id, request.run, tuple(request.pins)))
        return messages.LeaseCredentialsResponse(credentials={pin: _leased(one) for pin, one in given.items()})

    async def MatchCredentials(
        self, request: messages.MatchCredentialsRequest, context: Context
    ) -> messages.MatchCredentialsResponse:
        """Finds for pins the credentials that fit, and judges those that were chosen."""
        violations = list(_wrong_with_demands(request))
        if violations:
            raise InvalidArgument(violations=violations)
        demands = [_demand(one) for one in request.demands]
        any_provider = any(not demand.providers and not demand.credential_id for demand in demands)
        providers = None if any_provider else sorted({name for demand in demands for name in demand.providers})
        chosen = [one for one in (_uuid(demand.credential_id) for demand in demands) if one is not None]
        candidates = await self.repository.candidates(request.user_id, providers, chosen)
        now = datetime.now(UTC)
        return messages.MatchCredentialsResponse(
            matches={demand.name: _match(match(demand, candidates, now)) for demand in demands}
        )

    async def CheckSecret(self, request: messages.CheckSecretRequest, context: Context) -> messages.CheckSecretResponse:
        """Says whether somebody knows a secret."""
        credential_id = _uuid(request.credential_id)
        if credential_id is None:
            raise CredentialNotFound
        if len(request.signatures) > MOST_SIGNATURES:
            raise InvalidArgument(violations=[Violation("signatures", f"at most {MOST_SIGNATURES}")])
        shown = Shown(request.signed, list(request.signatures), request.digest, request.as_text)
        known = await self.checks.knows(request.user_id, credential_id, shown)
        return messages.CheckSecretResponse(known=known)


def _wrong_with(request: messages.LeaseCredentialsRequest) -> Iterator[Violation]:
    run = request.run
    # PostgreSQL takes no NUL, and leases of others are stored with this one.
    if not 1 <= len(request.runner_id) <= LONGEST_RUNNER_ID or not request.runner_id.isprintable():
        yield Violation("runner_id", f"expected 1 to {LONGEST_RUNNER_ID} printable characters")
    if len(run.execution_id) != ID_BYTES:
        yield Violation("run.execution_id", f"expected {ID_BYTES} bytes, got {len(run.execution_id)}")
    if run.node_execution < 1:
        yield Violation("run.node_execution", f"expected 1 or more, got {run.node_execution}")
    if run.attempt < 1:
        yield Violation("run.attempt", f"expected 1 or more, got {run.attempt}")
    if run.run_id == 0:
        yield Violation("run.run_id", "expected a run, got 0, which stands for none")
    if len(request.pins) > MOST_PINS:
        yield Violation("pins", f"at most {MOST_PINS}, got {len(request.pins)}")


def _wrong_with_demands(request: messages.MatchCredentialsRequest) -> Iterator[Violation]:
    if not request.user_id:
        yield Violation("user_id", "missing")
    if len(request.demands) > MOST_DEMANDS:
        yield Violation("demands", f"at most {MOST_DEMANDS:,}, got {len(request.demands):,}")
    names: set[str] = set()
    for at, demand in enumerate(request.demands):
        if demand.name in names:
            yield Violation(f"demands[{at}].name", "another demand has it")
        names.add(demand.name)


def _leased(given: Given) -> messages.LeasedCredential:
    record, parts = given.opened.record, given.opened.parts
    secret_parts = SECRET_PARTS[record.type]
    told = (*secret_parts, *TOLD_PARTS.get(record.type, ()))
    leased = messages.LeasedCredential(
        lease_id=str(given.lease_id),
        credential_id=str(record.credential_id),
        provider=record.provider,
        type=record.type.word,
        version=record.version,
        secret={name: _text(parts[name]) for name in told if name in parts},
        secret_parts=secret_parts,
        title=record.title,
        scopes=record.scopes,
    )
    if record.type is CredentialType.OAUTH2 and record.expire_time is not None:
        leased.expire_time.FromDatetime(record.expire_time)
    return leased


def _text(part: object) -> str:
    return part if isinstance(part, str) else orjson.dumps(part).decode()


def _demand(one: messages.CredentialDemand) -> Demand:
    return Demand(one.name, one.providers, one.types, one.scopes, one.url, one.credential_id)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _match(found: Match) -> messages.CredentialMatch:
    return messages.CredentialMatch(candidates=[_matched(one) for one in found.candidates], problem=found.problem)


def _matched(one: Candidate) -> messages.MatchedCredential:
    return messages.MatchedCredential(
        credential_id=str(one.credential_id), provider=one.provider, type=one.type.word, title=one.title
    )
