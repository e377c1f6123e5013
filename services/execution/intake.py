"""Turns what runners send into arrivals: results of partitions held here. Items of others are passed on to them."""

from collections.abc import Callable, Iterator

import msgspec
from blockyard.runner.v1.result_pb2 import Outcome, Result, ResultBatch
from blockyard.values import is_json

from services.execution.engine import Continued, Finish, Output, Reported
from services.execution.engine.plan import Reason
from services.execution.live import Arrival, Receipt
from services.execution.telling import scrub

ID_BYTES = 16
"""Of an execution's id. Runners are not all ours: what is none must not come further than here."""

DEEPEST = 500
"""Levels of an output. Readers have it in further lists and objects, and some take 1,000 in all; the SDK writes 254."""


def reported(result: Result) -> Reported:
    """The fact of a result. An output that is no JSON fails its run here: recorded, it would spoil each object and list
    that it becomes a part of. Those before it count."""
    outputs = tuple(Output(output.pin, output.index, output.value) for output in result.outputs)
    finish = None
    if result.HasField("finish"):
        end = result.finish
        finish = Finish(
            failed=end.outcome != Outcome.OUTCOME_COMPLETED,
            outputs=end.outputs,
            error=scrub(end.error),
            reason=reason(end.reason),
            duration_us=end.duration_us,
            stats=end.stats,
        )
    for at, output in enumerate(outputs):
        if not is_json(output.value, DEEPEST):
            outputs, finish = outputs[:at], _refusing(output, at, finish or Finish(True, at))
            break
    return Reported(
        number=result.node_execution,
        attempt=result.attempt,
        run=result.run_id,
        outputs=outputs,
        finish=finish,
        started_ms=result.started_ms,
    )


def _refusing(output: Output, outputs: int, finish: Finish) -> Finish:
    """The end of a run with this output, what it says of the run kept."""
    why = f"it is no JSON, or nested deeper than {DEEPEST} levels"
    error = f"output {scrub(output.pin[:100])!r}, value {output.index}, cannot be taken from its runner: {why}"
    return msgspec.structs.replace(finish, failed=True, outputs=outputs, error=error, reason=Reason.OUTPUT_INVALID)


def reason(number: int) -> Reason:
    """Why a run failed. A runner of a later release may know more reasons than this one."""
    try:
        return Reason(number)
    except ValueError:
        return Reason.BLOCK_ERROR


def handed_back(result: Result) -> bool:
    """True if the runner gave the task back: nothing for the engine, the task is sent again."""
    return result.HasField("finish") and result.finish.outcome == Outcome.OUTCOME_RETURNED


def split(batch: ResultBatch, holds: Callable[[int], bool]) -> tuple[list[Result], list[Result]]:
    """(items of partitions held here, items of others). Those that name no execution at all are left out."""
    own: list[Result] = []
    foreign: list[Result] = []
    for result in batch.results:
        if len(result.execution_id) != ID_BYTES:
            continue
        (own if holds(result.partition) else foreign).append(result)
    return own, foreign


def foreign_batches(batch: ResultBatch, foreign: list[Result]) -> Iterator[tuple[int, ResultBatch]]:
    """(partition, batch) for items that belong to other owners. A part has no number: who records it must not say that
    all of the batch is recorded."""
    by_partition: dict[int, list[Result]] = {}
    for result in foreign:
        by_partition.setdefault(result.partition, []).append(result)
    for partition, results in by_partition.items():
        number = batch.batch if len(results) == len(batch.results) else 0
        yield partition, ResultBatch(runner_id=batch.runner_id, batch=number, pool=batch.pool, results=results)


def arrival(result: Result, receipt: Receipt) -> Arrival:
    """What a result brings for its execution."""
    return Arrival(result.execution_id, reported(result), receipt)


def void(result: Result, receipt: Receipt) -> Arrival:
    """A result, or part of a message, that brings nothing, to be settled."""
    return Arrival(result.execution_id, Continued(), receipt)
