"""Turns what runners send into arrivals: results of partitions held here. Items of others are passed on to them."""

from collections.abc import Callable, Iterator

from blockyard.runner.v1.result_pb2 import Outcome, Result, ResultBatch

from services.execution.engine import Continued, Finish, Output, Reported
from services.execution.engine.plan import Reason
from services.execution.live import Arrival, Receipt
from services.execution.telling import scrub

ID_BYTES = 16
"""Of an execution's id. Runners are not all ours: what is none must not come further than here."""


def reported(result: Result) -> Reported:
    """The fact of a result."""
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
    return Reported(
        number=result.node_execution,
        attempt=result.attempt,
        run=result.run_id,
        outputs=outputs,
        finish=finish,
        started_ms=result.started_ms,
    )


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
    """(partition, batch) for items that belong to other owners."""
    by_partition: dict[int, list[Result]] = {}
    for result in foreign:
        by_partition.setdefault(result.partition, []).append(result)
    for partition, results in by_partition.items():
        yield partition, ResultBatch(runner_id=batch.runner_id, batch=batch.batch, pool=batch.pool, results=results)


def arrival(result: Result, receipt: Receipt) -> Arrival:
    """What a result brings for its execution."""
    return Arrival(result.execution_id, reported(result), receipt)


def void(result: Result, receipt: Receipt) -> Arrival:
    """A result, or part of a message, that brings nothing, to be settled."""
    return Arrival(result.execution_id, Continued(), receipt)
