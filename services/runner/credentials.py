"""Gets the secrets that a run's node names from the vault, before anything of the block happens, and again on demand.

The vault decides by what the execution service says of the run; nothing is said here of user or credential. While it is
away the run waits, as long as its timeout lets it run: that a vault is gone for a minute costs a minute.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import orjson
import structlog
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.errors import CallError, from_rpc_error
from blockyard.runner.v1 import lease_service_pb2 as messages
from blockyard.runner.v1.lease_service_pb2_grpc import LeaseServiceStub

from services.common.backoff import delays
from services.runner.leased import Given, HeldSecrets, Leased
from services.runner.outcomes import BlockFailed
from services.runner.redaction import secrets_in
from services.runner.runs import Run

DEADLINE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 5.0
SHORTEST_LINE = 40
"""A line of a secret that is looked for by itself: its first and last ones are no secret."""
REFUSED = "LEASE_REFUSED"
_FINAL = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT}
"""What the vault says with these it will say again. With all others it is away, or not itself, and is asked on."""
NO_VAULT = "this runner knows no vault: an operator sets BLOCKYARD_CREDENTIALS_ADDRESS"

log = structlog.stdlib.get_logger(__name__)


class LeaseRefused(Exception):
    """The run is not wanted any more, as far as the vault was told."""


class CredentialUnavailable(BlockFailed):
    """A credential that the node names cannot be had."""

    def __init__(self, message: str) -> None:
        super().__init__(NodeErrorReason.NODE_ERROR_REASON_CREDENTIAL_UNAVAILABLE, message)


class Credentials:
    """Leases for all runs of this runner."""

    def __init__(self, vault: grpc.aio.Channel | None, runner_id: str, secrets: HeldSecrets) -> None:
        # Any: the generated stub's type depends on the kind of channel.
        self._vault: Any = LeaseServiceStub(vault) if vault is not None else None
        self._runner_id = runner_id
        self._secrets = secrets

    async def lease(self, run: Run) -> Leased:
        """What the run's node names. Raises LeaseRefused, and CredentialUnavailable for what stays so."""
        pins = sorted(references_of(run.task.credentials))
        answer = await self._answer(run, pins)
        return Leased(_given(answer), _texts(answer), self._secrets)

    async def lease_again(self, run: Run, pin: str) -> Mapping[str, Any]:
        """The newest secret for a pin of a run that has one, kept with what it has."""
        answer = await self._answer(run, [pin])
        if run.leased is None:
            raise LeaseRefused("it has ended")
        run.leased.add(_given(answer), _texts(answer))
        return run.leased.given[pin]

    async def _answer(self, run: Run, pins: Sequence[str]) -> messages.LeaseCredentialsResponse:
        if self._vault is None:
            raise CredentialUnavailable(f"inputs.{pins[0]}: {NO_VAULT}")
        request = messages.LeaseCredentialsRequest(runner_id=self._runner_id, run=run.holding(), pins=pins)
        seconds = run.task.timeout_ms / 1000 or None
        trouble = ""
        try:
            async with asyncio.timeout(seconds):
                for pause in delays(longest=LONGEST_PAUSE_SECONDS):
                    try:
                        answer: messages.LeaseCredentialsResponse = await self._vault.LeaseCredentials(
                            request, timeout=DEADLINE_SECONDS
                        )
                    except grpc.aio.AioRpcError as error:
                        told = from_rpc_error(error)
                        _raise_if_final(error.code(), told, pins)
                        if trouble != (trouble := f"{error.code().name}: {told}"):
                            log.warning("credentials cannot be leased, trying on", error=trouble)
                        await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, max(pause, told.retry_after or 0.0)))
                    else:
                        return _complete(answer, pins)
        except TimeoutError:
            raise CredentialUnavailable(
                f"inputs.{pins[0]}: the vault gave nothing within the node's timeout of {seconds:g} s "
                f"({trouble or 'no answer'}): start again once it is back"
            ) from None
        raise AssertionError("delays never end")


class LeasedAgain:
    """For one run: asks for the newest secrets while it goes on."""

    def __init__(self, credentials: Credentials, run: Run) -> None:
        self._credentials = credentials
        self._run = run

    async def refresh(self, pin: str) -> Mapping[str, Any]:
        """What the credential of this pin gives now. A CredentialUnavailable if it gives nothing any more."""
        if pin not in references_of(self._run.task.credentials):
            raise CredentialUnavailable(f"inputs.{pin}: the node names no credential for it")
        try:
            return await self._credentials.lease_again(self._run, pin)
        except LeaseRefused as refusal:
            raise CredentialUnavailable(f"inputs.{pin}: the run is not wanted any more: {refusal}") from refusal


def references_of(credentials: bytes) -> dict[str, dict[str, Any]]:
    """What a task says of its credentials, by input pin: what blocks see of them in their input."""
    references: dict[str, dict[str, Any]] = orjson.loads(credentials)
    return references


def with_references(inputs: dict[str, Any], run: Run) -> dict[str, Any]:
    """The inputs with what the run's credentials are, where the pins have nothing: the start has chosen them."""
    if not run.task.credentials:
        return inputs
    missing = {pin: one for pin, one in references_of(run.task.credentials).items() if inputs.get(pin) is None}
    return {**inputs, **missing}


def _raise_if_final(code: grpc.StatusCode, told: CallError, pins: Sequence[str]) -> None:
    if told.reason == REFUSED:
        raise LeaseRefused(str(told))
    if code not in _FINAL:
        return
    sentences = [f"inputs.{violation.field}: {violation.description}" for violation in told.violations]
    raise CredentialUnavailable("; ".join(sentences) or f"inputs.{pins[0]}: {told.message}")


def _complete(answer: messages.LeaseCredentialsResponse, pins: Sequence[str]) -> messages.LeaseCredentialsResponse:
    for pin in pins:
        if pin not in answer.credentials:
            raise CredentialUnavailable(f"inputs.{pin}: the vault has nothing for it: choose a credential, start again")
    return answer


def _given(answer: messages.LeaseCredentialsResponse) -> Given:
    return {pin: _parts(one) for pin, one in answer.credentials.items()}


def _parts(leased: messages.LeasedCredential) -> dict[str, Any]:
    parts: dict[str, Any] = dict(leased.secret)
    if "headers" in parts:
        parts["headers"] = orjson.loads(parts["headers"])
    about = {"id": leased.credential_id, "provider": leased.provider, "type": leased.type, "title": leased.title}
    return {**parts, **about, "scopes": list(leased.scopes)}


def _texts(answer: messages.LeaseCredentialsResponse) -> frozenset[str]:
    """What must not be told of it."""
    texts: set[str] = set()
    for leased in answer.credentials.values():
        secret = [leased.secret[name] for name in leased.secret_parts if name != "headers"]
        texts.update(secret)
        if "headers" in leased.secret_parts:
            headers: Mapping[str, str] = orjson.loads(leased.secret["headers"])
            texts.update(text for value in headers.values() for text in secrets_in(value))
        # A key in lines, such as a private one, may be told line by line.
        texts.update(line for text in secret for line in text.splitlines() if len(line) >= SHORTEST_LINE)
        if "username" in leased.secret and "password" in leased.secret:
            texts.add(f"{leased.secret['username']}:{leased.secret['password']}")
    return frozenset(texts)
