"""Drives one run in an asyncio task of its own, whatever the block's style: from its claim to its end."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

import structlog
from blockyard.block import Context, RunStyle
from blockyard.block.preparation import prepare
from blockyard.block.resources import Resources
from blockyard.values import encode_reference

from services.common import telemetry
from services.common.backoff import delays
from services.common.blobs import BlobReference, BlobStore, BlobStoreAway, blob_key
from services.common.bus import Bus
from services.runner import metering, outcomes
from services.runner.casualty import HeldRuns, State
from services.runner.claims import claim
from services.runner.credentials import Credentials, CredentialUnavailable, LeasedAgain, LeaseRefused, with_references
from services.runner.files import RunFiles, kept_with
from services.runner.inputs import decode_inputs, has_references, resolve
from services.runner.kept import Kept
from services.runner.outbox import Outbox
from services.runner.outputs import Encoded, Yielded
from services.runner.processes import NotBegun, Processes
from services.runner.redaction import Redaction
from services.runner.result_cache import ResultCache, key_of
from services.runner.runs import Run
from services.runner.threads import Threads
from services.runner.values import Values
from services.runner.watch import EventLoopHeld, EventLoopWatch, Watched

BLOB_BYTES = 256 << 10
"""A larger value goes to the blob store."""
OUTPUTS_BETWEEN_PAUSES = 64
"""A block that never waits lets others run after so many outputs, and what it said be sent."""

log = structlog.stdlib.get_logger(__name__)


class Driver:
    """Has all that a run may need. One for all runs."""

    def __init__(
        self,
        bus: Bus,
        runner_id: str,
        outbox: Outbox,
        kept: Kept,
        blobs: BlobStore,
        threads: Threads,
        processes: Processes,
        watch: EventLoopWatch,
        held: HeldRuns,
        resources: Resources,
        values: Values,
        cache: ResultCache,
        files: RunFiles,
        credentials: Credentials,
    ) -> None:
        self._bus = bus
        self._runner_id = runner_id
        self._outbox = outbox
        self._kept = kept
        self._blobs = blobs
        self._threads = threads
        self._processes = processes
        self._watch = watch
        self._held = held
        self._resources = resources
        self._values = values
        self._cache = cache
        self._files = files
        self._credentials = credentials

    async def drive(self, run: Run) -> None:
        """The run, to its end. What ends it from outside has said so before it cancels this."""
        task = run.task
        task_id = f"{UUID(bytes=task.execution_id)}-{task.node_execution}"
        # The asyncio task has a context of its own, so nothing has to be unbound.
        structlog.contextvars.bind_contextvars(task_id=task_id, node_id=task.node_id, block=run.block.name)
        with (
            telemetry.extract(task.traceparent),
            telemetry.span(f"run {run.block.name}", task_id=task_id, attempt=task.attempt),
        ):
            await self._claim_and_run(run)

    async def _claim_and_run(self, run: Run) -> None:
        unavailable: CredentialUnavailable | None = None
        try:
            # Before the claim: a run that waits for the vault may go back, since nothing was granted.
            if run.task.credentials:
                run.leased = await self._credentials.lease(run)
        except LeaseRefused as refusal:
            log.info("a run is not wanted any more: its credentials were refused", reason=str(refusal))
            self._outbox.retract(run)
            return
        except CredentialUnavailable as error:
            unavailable = error
        if run.once and not run.claimed and not await self._is_granted(run):
            self._outbox.retract(run)
            return
        if unavailable is not None:
            # Said behind the claim: an owner takes no word of a run that it has not granted.
            self._outbox.say(run, finish=outcomes.failed(run, unavailable))
            return
        run.begin()
        self._held.begins(run.entry, State.RUNS, run.started_ms)
        again = LeasedAgain(self._credentials, run) if run.leased is not None else None
        context = run.context(self._resources, self._values, self._files, again)
        try:
            await self._run(run, context)
        except asyncio.CancelledError as error:
            if run.ended:
                raise
            # Nobody ended the run from outside: the block itself raised this.
            self._outbox.say(run, finish=outcomes.failed(run, error, context))
        except NotBegun as error:
            log.warning("a run could not begin", error=str(error))
            self._outbox.say(run, finish=outcomes.not_begun(run, str(error)))
        except EventLoopHeld:
            self._outbox.say(run, finish=outcomes.held_event_loop(run, self._watch.seconds))
        except BaseException as error:  # an edge: whatever a block raises is its outcome
            log.debug("a run failed", exc_info=error)
            self._outbox.say(run, finish=outcomes.failed(run, error, context))
        else:
            self._outbox.say(run, finish=outcomes.completed(run, context))

    async def _is_granted(self, run: Run) -> bool:
        # It counts as begun already: once its owner has granted it, it must not go back.
        self._held.begins(run.entry, State.RUNS, 0)
        answer = await claim(self._bus, self._runner_id, run)
        run.claimed = answer.granted
        if not run.claimed:
            log.info("a run was not granted", reason=answer.reason)
        return run.claimed

    async def _run(self, run: Run, context: Context | None) -> None:
        inputs = decode_inputs(run.task.inputs)
        if has_references(run.task.inputs):
            inputs = await resolve(inputs, self._blobs)
        inputs = with_references(inputs, run)
        said = 0
        async with aclosing(self._judged(run, inputs, context)) as outputs:
            async for output in outputs:
                if run.leased is not None:
                    output = _without_secrets(output, run.leased.redaction)
                pin, index, value = output
                if run.metered:
                    metering.moved(run, (output,))
                if len(value) > BLOB_BYTES:
                    output = (pin, index, await self._store(run, value))
                while self._kept.streaming_waits and not run.ended:
                    await self._kept.changed()
                self._outbox.say(run, (output,))
                said += 1
                if said % OUTPUTS_BETWEEN_PAUSES == 0:
                    await asyncio.sleep(0)

    def _judged(self, run: Run, inputs: dict[str, Any], context: Context | None) -> AsyncGenerator[Encoded, None]:
        """The outputs, of this run or of an earlier one, once it is known what the run costs."""
        takes = self._cache.takes(run)
        if not (takes or run.block.costs):
            return self._outputs(run, inputs, context)
        # The author's validators run here.
        self._watch.enter(run)
        try:
            if run.block.costs:
                metering.assess(run, inputs)
            key = key_of(run, inputs) if takes else b""
        finally:
            self._watch.leave()
        if not takes:
            return self._outputs(run, inputs, context)
        return self._cache.outputs(run, key, lambda: self._outputs(run, inputs, context))

    def _outputs(self, run: Run, inputs: dict[str, Any], context: Context | None) -> AsyncGenerator[Encoded, None]:
        style = run.block.style
        if style is RunStyle.PROCESS:
            return self._processes.outputs(run, inputs, context)
        if style is RunStyle.THREAD:
            return self._threads.outputs(run, inputs, context)
        return self._outputs_here(run, inputs, context)

    async def _outputs_here(
        self, run: Run, inputs: dict[str, Any], context: Context | None
    ) -> AsyncGenerator[Encoded, None]:
        yielded = Yielded(run.task.selectors)
        metering.begins(run)
        items = run.block.execute(prepare(run.block, inputs), context, run.given)
        try:
            while True:
                try:
                    pin, value = await Watched(anext(items), run, self._watch)
                except StopAsyncIteration:
                    return
                for encoded in yielded.encode(pin, value):
                    yield encoded
        finally:
            await Watched(items.aclose(), run, self._watch)

    async def _store(self, run: Run, value: bytes) -> bytes:
        """A reference to the value, once the blob store has it (rule 21). Waits while the store is away."""
        task = run.task
        task_id = f"{UUID(bytes=task.execution_id)}-{task.node_execution}"
        key = blob_key(
            str(UUID(bytes=kept_with(task))), task_id, f"{run.run_id:016x}", hashlib.sha256(value).hexdigest()
        )
        reference: BlobReference | None = None
        pauses = delays()
        while reference is None:
            try:
                reference = await self._blobs.put(key, value)
            except BlobStoreAway as error:
                log.warning("a value cannot be stored yet, trying on", error=str(error))
                await asyncio.sleep(next(pauses))
        return encode_reference(reference.key, reference.size, reference.sha256)


def _without_secrets(output: Encoded, redaction: Redaction) -> Encoded:
    pin, index, value = output
    return redaction.text(pin), index, redaction.json(value)
