"""Runs blocks that only compute without an asyncio task for each: most of what a graph does takes microseconds.

Only PURE blocks, since whatever turns out to be unfit for this is stopped and run again as a task: a block that
suspends, one whose values need the blob store, one that yields more than should be held back until its end.
"""

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from blockyard.block import Block, Context, Effect, RunStyle
from blockyard.block.preparation import prepare
from blockyard.graph.v1.block_pb2 import EFFECT_PURE
from blockyard.runner.v1.result_pb2 import Finish

from services.runner import metering, outcomes
from services.runner.driving import BLOB_BYTES
from services.runner.inputs import decode_inputs, has_references
from services.runner.outputs import Encoded, Yielded
from services.runner.runs import Run
from services.runner.watch import EventLoopHeld, EventLoopWatch

MAX_BYTES = 512 << 10
"""A run that yields more is not held back until its end."""


class _Unfit(Exception):
    """This run cannot go on here, though its block may another time."""


class Inline:
    """Knows which blocks have turned out to suspend."""

    def __init__(self, watch: EventLoopWatch) -> None:
        self._watch = watch
        self._suspending: set[str] = set()

    def takes(self, run: Run) -> bool:
        """Whether to try it here."""
        block, task = run.block, run.task
        return (
            block.effect is Effect.PURE
            and task.effect == EFFECT_PURE
            and block.id not in self._suspending
            and block.run_signature.style is RunStyle.ASYNC
            and block.cache is None
            # A span around the run needs a task of its own.
            and not task.traceparent
            and not has_references(task.inputs)
            # Their secrets have to be waited for.
            and not task.credentials
        )

    def run(self, run: Run) -> tuple[list[Encoded], Finish] | None:
        """All that the run yielded, and how it ended; None if it has to be run as a task."""
        outputs: list[Encoded] = []
        context = run.context()
        steps = _collect(run, context, outputs)
        try:
            self._watch.enter(run)
            try:
                steps.send(None)
            finally:
                self._watch.leave()
        except StopIteration:
            return outputs, outcomes.completed(run, context)
        except _Unfit:
            return None
        except RuntimeError as error:
            # What looks for the asyncio task that it is in finds none here, and says so with a RuntimeError.
            if isinstance(error, RecursionError):
                return outputs, outcomes.failed(run, error, context)
            self._suspending.add(run.block.id)
            return None
        except EventLoopHeld:
            return outputs, outcomes.held_event_loop(run, self._watch.seconds)
        except BaseException as error:  # noqa: BLE001  # an edge: whatever a block raises is its outcome
            return outputs, outcomes.failed(run, error, context)
        self._suspending.add(run.block.id)
        _give_up(steps)
        return None


async def _collect(run: Run, context: Context | None, outputs: list[Encoded]) -> None:
    task = run.task
    block: Block = run.block
    decoded = decode_inputs(task.inputs)
    inputs = prepare(block, decoded)
    if block.costs:
        metering.assess(run, decoded)
        metering.begins(run)
    yielded = Yielded(task.selectors)
    items = block.execute(inputs, context)
    size = 0
    try:
        async for pin, value in items:
            for encoded in yielded.encode(pin, value):
                outputs.append(encoded)
                bytes_of_value = len(encoded[2])
                size += bytes_of_value + 16
                if bytes_of_value > BLOB_BYTES or size > MAX_BYTES:
                    raise _Unfit
    finally:
        if run.metered:
            metering.moved(run, outputs)
        await items.aclose()


def _give_up(steps: Coroutine[Any, Any, None]) -> None:
    # Whatever it says: the run is made again.
    with suppress(BaseException):
        steps.close()
