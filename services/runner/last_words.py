"""What owners are told of the runs that a dead runner held: one that ended its process has failed, others go back.

Of a run that must not be repeated nothing is said unless it is known to be what ended the process: it may have done its
work, and its owner's silence towards it is right then (rule 3).
"""

from collections.abc import Iterable

import structlog
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.runner.v1.result_pb2 import Finish
from blockyard.runner.v1.task_pb2 import Task

from services.runner import outcomes
from services.runner.casualty import Casualty, Death, Part
from services.runner.outbox import Outbox
from services.runner.runs import Run

log = structlog.stdlib.get_logger(__name__)


def tell_of_casualties(outbox: Outbox, death: Death, casualties: Iterable[Casualty]) -> None:
    """Tell the owners of these runs what became of them."""
    for casualty in casualties:
        finish = _finish(death, casualty)
        log.warning(
            "a run was lost with its process",
            node_execution=casualty.node_execution,
            part=casualty.part.name.lower(),
            death=str(death),
        )
        if finish is not None:
            # Outputs of it that the stream has not got are lost: the end counts none, and stands behind what came.
            outbox.say(_run(casualty), finish=finish)


def _run(casualty: Casualty) -> Run:
    task = Task(
        execution_id=casualty.execution_id,
        node_execution=casualty.node_execution,
        attempt=casualty.attempt,
        partition=casualty.partition,
    )
    place = (casualty.execution_id, casualty.node_execution)
    return Run(task, None, place, run_id=casualty.run_id, started_ms=casualty.started_ms)


def _finish(death: Death, casualty: Casualty) -> Finish | None:
    if casualty.part is Part.CAUSE:
        return outcomes.killed() if death.hung else outcomes.ended_process(death)
    if casualty.part is Part.WAITING:
        return outcomes.returned()
    if casualty.once:
        return None
    why = f"the process of its runner {death} during the run"
    return outcomes.returned(why, NodeErrorReason.NODE_ERROR_REASON_RUNNER_LOST)
