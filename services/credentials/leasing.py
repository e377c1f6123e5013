"""Gives runs the secrets that their nodes name, and writes down that it did.

run -> verdict      the execution service says whether the run is alive, of which user it is, and which credentials its
                    node names. Nothing that a runner says of user or credential counts (rule 27)
verdict -> secret   opened as that user, and refreshed if it is a token that expires soon
secret -> rows      a lease and an audit entry, before the answer: what was given is written down. Uses are summed up in
                    memory (lease_upkeep.py)

Concurrent leases share the question and the insert. Nothing is locked meanwhile, so a replacement waits for none.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
import structlog
from blockyard.runner.v1.heartbeat_pb2 import Holding
from blockyard.runner.v1.task_service_pb2 import CheckRunsRequest, CheckRunsResponse, RunVerdict

from services.common.errors import BlockyardError, Unavailable, Violation
from services.common.ids import new_id
from services.credentials import audit
from services.credentials.errors import CredentialNotFound, CredentialUnusable, KeyUnavailable, LeaseRefused
from services.credentials.gathering import Gathering
from services.credentials.lease_upkeep import UseCounts
from services.credentials.matching import problem_of
from services.credentials.oauth.refreshing import AccessTokens
from services.credentials.records import CredentialType, Opened
from services.credentials.repository.leases import Lease, LeaseRepository
from services.credentials.vault import Vault

CHECK_SECONDS = 5.0
MOST_CHECKS = 1_000
"""Runs in one question, as the execution service takes them."""
QUESTIONS_AT_ONCE = 4
"""An execution whose owner is changing takes its time: the others shall not wait for it."""
MOST_ROWS = 1_000
"""Leases in one insert."""

log = structlog.stdlib.get_logger(__name__)


class RunUnknown(Unavailable):
    """Whether the run is alive cannot be told yet: the owner of its execution is changing. Try again."""

    retry_after = 0.5


@dataclass(frozen=True, slots=True)
class Asked:
    """A run, and the runner that has it."""

    runner_id: str
    run: Holding
    pins: Sequence[str]
    """Empty for all that the node names."""


@dataclass(frozen=True, slots=True)
class Given:
    """A secret for a pin."""

    lease_id: UUID
    opened: Opened


@dataclass(slots=True, eq=False)
class Leasing:
    """All leases of this replica. `run` is to be held as a task."""

    tasks: Any
    """Stub of TaskService. Any: its type depends on the kind of channel."""
    vault: Vault
    tokens: AccessTokens
    repository: LeaseRepository
    uses: UseCounts
    _checks: Gathering[Asked, RunVerdict] = field(init=False)
    _inserts: Gathering[Sequence[tuple[Lease, tuple[UUID, bytes]]], None] = field(init=False)

    def __post_init__(self) -> None:
        self._checks = Gathering(self._check, MOST_CHECKS)
        self._inserts = Gathering(self._insert, MOST_ROWS)

    async def lease(self, asked: Asked) -> Mapping[str, Given]:
        """The secrets by pin: all that are asked for, or an error that names the pins that cannot be had."""
        verdict = await self._checks.ask(asked)
        if verdict.unknown:
            raise RunUnknown
        if not verdict.alive:
            raise LeaseRefused(f"Nothing is given to this run: {verdict.reason[:200] or 'it is not alive'}.")
        named = _named(verdict, asked.pins)
        opened = await self._opened(verdict.user_id, named)
        given = {pin: Given(new_id(), opened[credential_id]) for pin, credential_id in named.items()}
        rows = [_row(asked, verdict, pin, one) for pin, one in given.items()]
        await self._inserts.ask([(row, _audit_entry(row, given[row.pin].opened.record.provider)) for row in rows])
        self.uses.add([row.credential_id for row in rows])
        return given

    async def run(self) -> None:
        """Ask the execution service and write leases, until this is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(QUESTIONS_AT_ONCE):
                tasks.create_task(self._checks.run())
            tasks.create_task(self._inserts.run())

    async def _check(self, asked: Sequence[Asked]) -> Sequence[RunVerdict]:
        request = CheckRunsRequest(runs=[one.run for one in asked], runner_ids=[one.runner_id for one in asked])
        try:
            answer: CheckRunsResponse = await self.tasks.CheckRuns(request, timeout=CHECK_SECONDS)
        except grpc.aio.AioRpcError as error:
            # Whatever it is, it is between the services: the run may be alive.
            log.warning("the execution service does not judge runs", code=error.code().name, reason=error.details())
            raise Unavailable("The execution service is away, which says whether runs are alive. Try again.") from error
        if len(answer.verdicts) != len(asked):
            raise Unavailable("The execution service did not judge every run. Try again.")
        return answer.verdicts

    async def _opened(self, user_id: str, named: Mapping[str, UUID]) -> Mapping[UUID, Opened]:
        """All of them, fresh; an error with a violation for each pin that cannot be had."""
        found = await self.vault.open_many(user_id, named.values())
        fresh: dict[UUID, Opened] = {}
        failed: dict[str, BlockyardError] = {}
        for pin, credential_id in named.items():
            if credential_id in fresh:
                continue
            try:
                fresh[credential_id] = await self._fresh(found.get(credential_id))
            except (CredentialNotFound, CredentialUnusable) as error:
                failed[pin] = error
        if failed:
            first = next(iter(failed.values()))
            violations = [Violation(pin, _shown(error.message)) for pin, error in failed.items()]
            raise type(first)(first.message, violations=violations)
        return fresh

    async def _fresh(self, found: Opened | CredentialUnusable | KeyUnavailable | None) -> Opened:
        if found is None:
            raise CredentialNotFound("The credential is gone: choose another one for this pin, and start again.")
        if isinstance(found, BlockyardError):
            raise found
        record = found.record
        problem = problem_of(record.type, record.state, record.state_reason, record.expire_time, datetime.now(UTC))
        if problem:
            raise CredentialUnusable(f'The credential "{record.title}" cannot be used: {problem}')
        return await self.tokens.fresh(found) if record.type is CredentialType.OAUTH2 else found

    async def _insert(self, batches: Sequence[Sequence[tuple[Lease, tuple[UUID, bytes]]]]) -> Sequence[None]:
        rows = [row for batch in batches for row in batch]
        await self.repository.insert([lease for lease, _ in rows], [entry for _, entry in rows])
        return [None] * len(batches)


def _named(verdict: RunVerdict, pins: Sequence[str]) -> Mapping[str, UUID]:
    """What the node names on these pins, as the execution service has it."""
    wanted = pins or sorted(verdict.credential_ids)
    unnamed = [pin for pin in wanted if pin not in verdict.credential_ids]
    if unnamed:
        sentence = "The node names no credential for this pin: choose one, and start again."
        raise CredentialNotFound(sentence, violations=[Violation(pin, _shown(sentence)) for pin in unnamed])
    return {pin: _id(pin, verdict.credential_ids[pin]) for pin in wanted}


def _id(pin: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        sentence = "What the node names is no id of a credential: choose one, and start again."
        raise CredentialNotFound(sentence, violations=[Violation(pin, _shown(sentence))]) from None


def _shown(message: str) -> str:
    """A sentence as it stands behind the name of a pin."""
    return f"{message[:1].lower()}{message[1:]}".rstrip(".")


def _row(asked: Asked, verdict: RunVerdict, pin: str, given: Given) -> Lease:
    run, record = asked.run, given.opened.record
    return Lease(
        lease_id=given.lease_id,
        credential_id=record.credential_id,
        version=record.version,
        user_id=verdict.user_id,
        execution_id=UUID(bytes=run.execution_id),
        node_execution=run.node_execution,
        attempt=run.attempt,
        run_id=run.run_id - (1 << 64) if run.run_id >= 1 << 63 else run.run_id,
        graph_id=verdict.graph_id,
        node_id=verdict.node_id,
        pin=pin,
        runner_id=asked.runner_id,
    )


def _audit_entry(lease: Lease, provider: str) -> tuple[UUID, bytes]:
    details = {
        "user": lease.user_id,
        "execution": str(lease.execution_id),
        "graph": lease.graph_id,
        "node": lease.node_id,
        "pin": lease.pin,
        "lease": str(lease.lease_id),
        "runner": lease.runner_id,
        "version": str(lease.version),
    }
    with audit.acting(audit.Actor(actor="service:runner")):
        return audit.of_credential("credential.lease", lease.credential_id, provider, details)
