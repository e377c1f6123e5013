"""What runs say, gathered into one message for each owner and turn of the event loop.

Nothing waits for company longer than the turn in which it was said; what piles up while messages are on their way
travels together.
"""

import asyncio
from collections.abc import Callable, Iterable

from blockyard.runner.v1.result_pb2 import Finish, Result, ResultBatch

from services.runner.kept import Kept
from services.runner.metrics import RunMetrics
from services.runner.outputs import Encoded
from services.runner.runs import Run

MAX_RESULTS = 64
MAX_BYTES = 256 << 10
"""A message takes nothing further when it has so many bytes; one value has at most as many."""
RESULT_BYTES = 64
"""What a result takes beside its values, about."""


class _Draft:
    """A message that is being gathered."""

    __slots__ = ("batch", "results", "runs", "size")

    def __init__(self) -> None:
        self.batch = ResultBatch()
        self.runs: list[Run] = []
        self.results: dict[Run, Result] = {}
        self.size = 0


class Outbox:
    """Gathers; hands each finished message to `send` by its number, and to `kept`."""

    def __init__(self, runner_id: str, pool: str, kept: Kept, send: Callable[[int], None], metrics: RunMetrics) -> None:
        self._runner_id = runner_id
        self._pool = pool
        self._kept = kept
        self._send = send
        self._metrics = metrics
        self._drafts: dict[str, _Draft] = {}
        self._scheduled = False
        self._number = 0

    def say(self, run: Run, outputs: Iterable[Encoded] = (), finish: Finish | None = None) -> None:
        """Outputs of a run, its end, or both. Nothing is said of a run that has ended."""
        if run.ended:
            return
        draft, result = self._result(run)
        for pin, index, value in outputs:
            size = len(value) + len(pin) + 16
            if draft.size + size > MAX_BYTES and draft.size > RESULT_BYTES:
                self._seal(run.task.owner)
                draft, result = self._result(run)
            result.outputs.add(pin=pin, index=index, value=value)
            run.outputs += 1
            draft.size += size
        if finish is not None:
            run.ended = True
            finish.outputs = run.outputs
            self._metrics.ended(finish.outcome, finish.duration_us)
            result.finish.CopyFrom(finish)
            draft.size += len(finish.error) + len(finish.stats)
        if len(draft.runs) >= MAX_RESULTS:
            self._seal(run.task.owner)

    def running(self, run: Run) -> None:
        """The run has been going on for a while."""
        if not run.ended:
            run.told_running = True
            self._result(run)[1].running = True

    def flush(self) -> None:
        """Send what was gathered."""
        self._scheduled = False
        for owner in tuple(self._drafts):
            self._seal(owner)

    def retract(self, run: Run) -> None:
        """Nothing of this run is wanted: what has not been sent yet is not sent."""
        run.ended = True
        draft = self._drafts.get(run.task.owner)
        if draft is not None and run in draft.results:
            draft.results[run].CopyFrom(Result())
            # Its place stays, empty, until the message is sealed; there is nobody to keep it for.
            draft.runs.remove(run)
            del draft.results[run]
        self._kept.forget(run)

    def _result(self, run: Run) -> tuple[_Draft, Result]:
        """The message for the run's owner, and the run's own place in it."""
        task = run.task
        draft = self._drafts.get(task.owner)
        if draft is None:
            draft = self._drafts[task.owner] = _Draft()
            if not self._scheduled:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self.flush)
        result = draft.results.get(run)
        if result is None:
            result = draft.batch.results.add(
                execution_id=task.execution_id,
                node_execution=task.node_execution,
                attempt=task.attempt,
                partition=task.partition,
                run_id=run.run_id,
                started_ms=run.started_ms,
            )
            draft.results[run] = result
            draft.runs.append(run)
            draft.size += RESULT_BYTES
        return draft, result

    def _seal(self, owner: str) -> None:
        draft = self._drafts.pop(owner)
        batch = draft.batch
        if len(draft.runs) != len(batch.results):
            wanted = [result for result in batch.results if result.execution_id]
            del batch.results[:]
            batch.results.extend(wanted)
        if not draft.runs:
            return
        self._number += 1
        batch.runner_id = self._runner_id
        batch.batch = self._number
        batch.pool = self._pool
        for run in draft.runs:
            if run.ended:
                run.finish_batch = self._number
        subject = f"blockyard.result.{batch.results[0].partition}"
        self._kept.add(self._number, subject, batch.SerializeToString(), draft.runs)
        self._send(self._number)
