"""What becomes of a delivery. What may go wrong where, and what the sender is told:

sender -> trigger     too large: refused before anything else; no such address: NOT_FOUND
trigger -> sender     secret or signature wrong, or old: UNAUTHENTICATED, whatever else is wrong; noted, a few a minute
delivery -> judgement disabled, or its owner is: FAILED_PRECONDITION; another event: FILTERED; too fast: told when again
delivery -> start     durable before the answer, under a request id of the trigger and the delivery: a delivery that
                      comes again, to whichever replica and after whatever died, finds the execution that it started.
                      A part that is away: UNAVAILABLE, and the sender comes again. What will not pass by itself (the
                      graph is gone, inputs do not fit): FAILED_PRECONDITION, and the owner reads why in the list
start -> list         the note may be lost, with the process or the database; the execution is not, and is answered
"""

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import grpc
import structlog

from services.common.database import TROUBLE
from services.common.errors import BlockyardError
from services.common.ids import new_id
from services.common.rate_limits import Rate, RateLimit
from services.execution.errors import (
    TooManyExecutions,
    TriggerDisabled,
    TriggerNotFound,
    TriggerStartFailed,
    WebhookInvalid,
    WebhookNotAuthentic,
    WebhooksTooFast,
)
from services.execution.metrics import METRICS
from services.execution.records import ExecutionRow
from services.execution.refusals import is_lasting, printable, reason_text
from services.execution.repository.triggers import TriggerRepository
from services.execution.starting import Starter, StartRequest
from services.execution.templates import own_request_id, start_of, start_once
from services.execution.triggers import PAYLOAD
from services.execution.webhooks.payloads import PING, check_size, event_of, read_payload, unwanted
from services.execution.webhooks.records import Delivery, Kind, Outcome, TriggerRow
from services.execution.webhooks.secrets import SecretKeys
from services.execution.webhooks.senders import SecretGone, Senders
from services.execution.webhooks.signatures import Claim, claim_of, delivery_id, holds

REFUSALS_NOTED = Rate(calls=10, seconds=60.0, burst=10)
"""Of one trigger: whoever knows an address and no secret shall write no more rows than that."""
LONGEST_SHOWN = 200
"""Characters of ids, events and reasons that are noted."""

KEY_GONE = "the key of its secret is gone: rotate the secret"

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Webhook:
    """What was posted."""

    headers: Mapping[str, str]
    """By their names in lower case."""
    content_type: str
    body: bytes


@dataclass(slots=True, eq=False)
class Receiver:
    """Takes deliveries on any replica."""

    repository: TriggerRepository
    starter: Starter
    keys: SecretKeys
    senders: Senders
    refusal: Callable[[str], Awaitable[str]]
    """Why nothing may be started for a user; empty if it may."""
    most_bytes: int
    most_noted: int
    """Deliveries of a trigger."""
    limit: RateLimit | None
    """By trigger; None if nothing limits them."""
    clock: Callable[[], float] = time.time
    _refusals: RateLimit = field(default_factory=lambda: RateLimit(REFUSALS_NOTED))

    async def receive(self, trigger_id: str, webhook: Webhook) -> Delivery:
        """What became of a delivery: something was started, now or before, or nothing was to be."""
        try:
            delivery = await self._received(trigger_id, webhook)
        except BlockyardError as error:
            METRICS.webhook_deliveries.labels(type(error).__name__).inc()
            raise
        METRICS.webhook_deliveries.labels(delivery.outcome.name).inc()
        return delivery

    async def _received(self, trigger_id: str, webhook: Webhook) -> Delivery:
        check_size(webhook.body, self.most_bytes)
        trigger = await self.repository.at(trigger_id)
        if trigger is None:
            raise TriggerNotFound("There is no trigger at this address.")
        await self._check_authentic(trigger, webhook)
        try:
            payload = read_payload(trigger.kind, webhook.content_type, webhook.body, self.most_bytes)
        except WebhookInvalid as error:
            await self._note(trigger, _unknown(webhook), Outcome.REFUSED, error.message)
            raise
        delivery = _delivery(trigger, webhook, payload)
        if trigger.kind is Kind.GITHUB and delivery.event == PING:
            return await self._note(trigger, delivery, Outcome.PING)
        await self._check_enabled(trigger, delivery)
        reason = unwanted(trigger.kind, trigger.content, delivery.event, payload)
        if reason:
            return await self._note(trigger, delivery, Outcome.FILTERED, reason)
        self._check_rate(trigger)
        return await self._start(trigger, delivery, _request(trigger, webhook, payload))

    async def _check_authentic(self, trigger: TriggerRow, webhook: Webhook) -> None:
        now = self.clock()
        claim = claim_of(trigger.kind, webhook.headers, webhook.body, now)
        reason = await self._doubt(trigger, claim, now) if claim is not None else WebhookNotAuthentic().message
        if not reason:
            return
        if self._refusals.take(trigger.trigger_id, time.monotonic()).allowed:
            # Nothing of what somebody unknown says is noted.
            await self._note(trigger, _unknown(webhook), Outcome.REFUSED, reason)
            if reason == KEY_GONE:
                log.error(
                    "the key of a trigger's secret is gone: it takes no deliveries", trigger_id=trigger.trigger_id
                )
        raise WebhookNotAuthentic

    async def _doubt(self, trigger: TriggerRow, claim: Claim, now: float) -> str:
        """Why a claim does not hold, for the owner of the trigger alone; empty if it does."""
        wrong = WebhookNotAuthentic().message
        if trigger.content.secret_credential_id:
            try:
                known = await self.senders.knows(trigger.user_id, trigger.content.secret_credential_id, claim)
            except SecretGone as error:
                return f"the credential that holds the secret cannot be used: {error}"
            return "" if known else wrong
        secrets = self.keys.valid(trigger.kind, trigger.trigger_id, trigger.secret, datetime.fromtimestamp(now, UTC))
        if not secrets:
            return KEY_GONE
        return "" if holds(claim, secrets) else wrong

    async def _check_enabled(self, trigger: TriggerRow, delivery: Delivery) -> None:
        reason = "the trigger is disabled" if trigger.content.disabled else await self.refusal(trigger.user_id)
        if reason:
            await self._note(trigger, delivery, Outcome.DISABLED, reason)
            raise TriggerDisabled

    def _check_rate(self, trigger: TriggerRow) -> None:
        verdict = self.limit.take(trigger.trigger_id, time.monotonic()) if self.limit is not None else None
        if verdict is not None and not verdict.allowed:
            raise WebhooksTooFast(retry_after=verdict.retry_after)

    async def _start(self, trigger: TriggerRow, delivery: Delivery, request: StartRequest) -> Delivery:
        row = await self._known(request) or await self._started(trigger, delivery, request)
        started = replace(delivery, outcome=Outcome.STARTED, execution_id=row.execution_id)
        try:
            await self.repository.note(trigger.trigger_id, started, self.most_noted)
        except TROUBLE as error:
            # The sender would come again, and without an id start it again.
            log.warning(
                "a delivery that has started something is not noted", trigger_id=trigger.trigger_id, error=repr(error)
            )
        is_new = row.execution_id == request.execution_id
        return started if is_new else replace(started, outcome=Outcome.DUPLICATE)

    async def _started(self, trigger: TriggerRow, delivery: Delivery, request: StartRequest) -> ExecutionRow:
        """The execution, which is durable. What passes by itself is raised as it is: the sender comes again."""
        try:
            return await start_once(self.starter, request)
        except TooManyExecutions as error:
            raise WebhooksTooFast(retry_after=error.retry_after) from error
        except (BlockyardError, grpc.aio.AioRpcError) as error:
            if not is_lasting(error):
                raise
            reason = reason_text(error)
        await self._note(trigger, delivery, Outcome.FAILED, reason)
        raise TriggerStartFailed

    async def _known(self, request: StartRequest) -> ExecutionRow | None:
        """The execution that the same delivery started before: whatever became of the graph since."""
        if not request.request_id:
            return None
        return await self.starter.executions.by_request(request.user_id, request.request_id)

    async def _note(self, trigger: TriggerRow, delivery: Delivery, outcome: Outcome, reason: str = "") -> Delivery:
        delivery = replace(delivery, outcome=outcome, reason=printable(reason)[:LONGEST_SHOWN])
        await self.repository.note(trigger.trigger_id, delivery, self.most_noted)
        return delivery


def _delivery(trigger: TriggerRow, webhook: Webhook, payload: Mapping[str, Any]) -> Delivery:
    """What is known of a delivery before it is judged."""
    given = printable(delivery_id(trigger.kind, webhook.headers)[:LONGEST_SHOWN])
    event = printable(event_of(trigger.kind, webhook.headers, payload)[:LONGEST_SHOWN])
    return Delivery(given, event, Outcome.FAILED, payload_bytes=len(webhook.body))


def _unknown(webhook: Webhook) -> Delivery:
    """One of which nothing but its size is known."""
    return Delivery("", "", Outcome.FAILED, payload_bytes=len(webhook.body))


def _request(trigger: TriggerRow, webhook: Webhook, payload: dict[str, Any]) -> StartRequest:
    given = delivery_id(trigger.kind, webhook.headers)
    request_id = ""
    if given:
        # Of any length, and of any characters.
        digest = hashlib.sha256(given.encode()).hexdigest()[:40]
        request_id = own_request_id("trigger", trigger.trigger_id, digest)
    request = start_of(trigger.content.template, trigger.user_id, request_id, {"trigger": trigger.trigger_id})
    return replace(request, inputs={**request.inputs, PAYLOAD: payload}, execution_id=new_id())
