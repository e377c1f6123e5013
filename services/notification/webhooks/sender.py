"""Sends what waits: each webhook has a queue, and each queue is worked on by one replica at a time.

due        -> claimed    by a lease in the row of the queue; that of a replica that died ends by itself
claimed    -> sent       a few at a time of each queue, one at a time while it fails, within the slots of its user
sent       -> recorded   by the number of the attempt: an attempt that two replicas made is recorded once
nothing due -> released  the row then says when something will be

A slow endpoint holds its own few requests, and nobody else's. What is sent before a crash and not recorded is sent
again, with the same webhook-id.
"""

import asyncio
import random
import secrets
from collections import deque
from contextlib import suppress
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog

from services.common import tasks
from services.common.backoff import delays
from services.common.database import PASSING, TROUBLE
from services.common.derived_secrets import KeyGone
from services.notification.clock import Clock
from services.notification.repository.deliveries import DeliveryRepository, Due, Outcome, Target
from services.notification.repository.webhooks import WebhookRepository
from services.notification.webhooks import metrics
from services.notification.webhooks.disabling import Disabling, Patience, why_disabled
from services.notification.webhooks.records import Attempt, DeliveryState, DisableReason
from services.notification.webhooks.schedule import after_failure, after_success
from services.notification.webhooks.sending import Poster, Sent
from services.notification.webhooks.signing import Signer
from services.notification.webhooks.slots import Slots

LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
LOOK_SECONDS = 1.0
"""How often rows are looked at without having been told of any: another replica takes in, or a retry is due."""
MOST_QUEUES = 500
"""Held by a replica at a time."""
TROUBLE_SECONDS = 5.0
"""A queue is left alone so long when what was sent cannot be recorded: it is due still, and would be sent at once."""
FETCHED = 20
SECRET_TRIES = 3
"""Before a webhook is disabled whose secret cannot be made: while keys are changed, another replica may have it."""
NO_SECRET = "the operator's key that its secret was made from is not there any more"
TURN_SECONDS = 10.0
"""After this a queue is let go of, and comes behind all others that are due."""

log = structlog.stdlib.get_logger(__name__)


class Sender:
    """Sends for as long as `run` runs; any number of replicas may."""

    def __init__(
        self,
        rows: DeliveryRepository,
        webhooks: WebhookRepository,
        poster: Poster,
        signer: Signer,
        slots: Slots,
        clock: Clock,
        patience: Patience,
        of_endpoint: int,
    ) -> None:
        """`of_endpoint` requests at most are under way to one webhook."""
        self._rows = rows
        self._webhooks = webhooks
        self._poster = poster
        self._signer = signer
        self._slots = slots
        self._clock = clock
        self._patience = patience
        self._of_endpoint = of_endpoint
        self._me = secrets.token_hex(16)
        self._work = asyncio.Event()
        self._held: dict[UUID, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """There may be something to send."""
        self._work.set()

    async def run(self) -> None:
        """Sends until it is cancelled."""
        pauses = delays()
        renewing = asyncio.create_task(self._renew(), name="webhook leases")
        try:
            while not renewing.done():
                self._work.clear()
                try:
                    await self._claim()
                except PASSING as error:
                    log.warning("webhooks wait to be sent", reason=str(error) or type(error).__name__)
                    await asyncio.sleep(next(pauses))
                    continue
                pauses = delays()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._work.wait()
            await renewing
        finally:
            await tasks.end((renewing, *self._held.values()))

    async def _claim(self) -> None:
        room = MOST_QUEUES - len(self._held)
        if room <= 0:
            return
        # After an outage leases have ended of what is worked on here: they are renewed, and nothing begins twice.
        for webhook_id in await self._rows.claim(self._me, self._clock(), LEASE_SECONDS, room, self._held):
            task = asyncio.create_task(self._work_on(webhook_id), name=f"webhook {webhook_id}")
            self._held[webhook_id] = task
            task.add_done_callback(partial(self._let_go, webhook_id))

    def _let_go(self, webhook_id: UUID, task: "asyncio.Task[None]") -> None:
        if self._held.get(webhook_id) is task:
            del self._held[webhook_id]
        # It may have let go only to let others come first.
        self._work.set()

    async def _renew(self) -> None:
        """Keeps the leases of what is worked on. What was lost to another replica is ended."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            held = dict(self._held)
            if not held:
                continue
            try:
                kept = await self._rows.renew(self._me, list(held), LEASE_SECONDS)
            except PASSING as error:
                log.warning("leases of webhooks cannot be renewed", reason=str(error) or type(error).__name__)
                continue
            for webhook_id, task in held.items():
                if webhook_id not in kept and self._held.get(webhook_id) is task:
                    task.cancel()

    async def _work_on(self, webhook_id: UUID) -> None:
        try:
            await _Turn(self, webhook_id).run()
        except TROUBLE as error:
            log.warning("a webhook waits to be sent", webhook_id=str(webhook_id), reason=str(error))
            await asyncio.sleep(TROUBLE_SECONDS)
        except Exception:
            # An edge: what one webhook has must not keep all others waiting.
            log.exception("a webhook cannot be sent", webhook_id=str(webhook_id))
            await asyncio.sleep(TROUBLE_SECONDS)
        finally:
            with suppress(*TROUBLE):
                await self._rows.release(self._me, webhook_id, self._clock())

    async def attempt(self, target: Target, due: Due) -> bool:
        """Sends a delivery once and records what came of it; False if it failed, or is not to be sent any more."""
        async with self._slots.taken(target.user_id):
            # Large bodies are read here, of no more than are sent: hundreds of queues may wait for their turn.
            body = await self._rows.body(due.delivery_id) if due.body is None else due.body
            if body is None:
                return False
            number, now = due.attempts + 1, self._clock()
            try:
                headers = self._signer.headers(target.webhook_id, target.secrets, str(due.delivery_id), now, body)
            except KeyGone:
                sent = Sent(Attempt(number, now, 0, 0, NO_SECRET), secret_lost=True)
            else:
                sent = await self._poster.post(number, target.url, headers, body)
        metrics.observe(sent)
        return await self._record(target, due, sent)

    async def _record(self, target: Target, due: Due, sent: Sent) -> bool:
        outcome = self._outcome(due, sent)
        failing = await self._rows.record(due, outcome)
        if failing is None or sent.succeeded:
            return failing is not None
        if outcome.state is DeliveryState.FAILED:
            metrics.GIVEN_UP.inc()
        if sent.secret_lost and outcome.tries >= SECRET_TRIES:
            why: tuple[DisableReason, str] | None = DisableReason.SECRET_LOST, f"{NO_SECRET}: rotate it"
        else:
            why = why_disabled(sent.attempt, failing, self._patience)
        if why is not None:
            await self._disable(target, *why)
        return False

    def _outcome(self, due: Due, sent: Sent) -> Outcome:
        tries, now = due.tries + 1, self._clock()
        if sent.succeeded:
            following = after_success()
        else:
            fraction = random.random()
            following = after_failure(tries, sent.attempt.status, sent.retry_after, fraction)
        hold = now + timedelta(seconds=following.hold_seconds) if following.hold_seconds else None
        due_time = now + timedelta(seconds=following.seconds)
        return Outcome(sent.attempt, tries, following.state, due_time, hold)

    async def _disable(self, target: Target, reason: DisableReason, message: str) -> None:
        now = self._clock()
        async with self._webhooks.transaction() as connection:
            done = await Disabling(target.webhook_id, target.user_id, target.url, reason, message).carry_out(
                connection, now
            )
        if done:
            metrics.DISABLED.labels(reason.name.lower()).inc()
            log.info("a webhook is disabled", webhook_id=str(target.webhook_id), reason=reason.name)

    async def targeted(self, webhook_id: UUID) -> tuple[Target, int] | None:
        """Where to send, and how many at a time."""
        target = await self._rows.target(webhook_id)
        return None if target is None else (target, 1 if target.failing else self._of_endpoint)

    async def due(self, webhook_id: UUID, under_way: list[UUID]) -> deque[Due]:
        """What is to be sent now."""
        return deque(await self._rows.due(webhook_id, self._clock(), under_way, FETCHED))


class _Turn:
    """Sends what is due in a queue, until nothing is, or others should have their turn."""

    def __init__(self, sender: Sender, webhook_id: UUID) -> None:
        self._sender = sender
        self._webhook_id = webhook_id
        self._under_way: dict[asyncio.Task[bool], UUID] = {}
        self._due: deque[Due] = deque()
        self._target: Target | None = None
        self._width = 1
        self._ends = asyncio.get_running_loop().time() + TURN_SECONDS

    async def run(self) -> None:
        try:
            while await self._fill():
                done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del self._under_way[task]
                    if not await task:
                        # It may want to be left alone, or be disabled: what comes next is looked up.
                        self._due.clear()
        finally:
            await tasks.end(tuple(self._under_way))

    async def _fill(self) -> bool:
        """Begins what there is room for; False if nothing is under way."""
        if not self._due and asyncio.get_running_loop().time() < self._ends:
            await self._fetch()
        while self._due and self._target is not None and len(self._under_way) < self._width:
            due = self._due.popleft()
            task = asyncio.create_task(self._sender.attempt(self._target, due), name=f"delivery {due.delivery_id}")
            self._under_way[task] = due.delivery_id
        return bool(self._under_way)

    async def _fetch(self) -> None:
        found = await self._sender.targeted(self._webhook_id)
        if found is not None:
            self._target, self._width = found
            self._due = await self._sender.due(self._webhook_id, list(self._under_way.values()))
