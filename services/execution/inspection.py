"""What an execution does at this moment, by a read-only replay on whatever replica is asked."""

from collections.abc import Iterator
from dataclasses import dataclass

from services.execution.engine import NodeExecution
from services.execution.engine.effects import NodeStatus
from services.execution.engine.lineage import strengthen
from services.execution.engine.plan import Reason
from services.execution.engine.state import LiveStatus, TimerKind
from services.execution.live import Live
from services.execution.loading import Loader
from services.execution.records import ExecutionRow, NodeExecutionRow
from services.execution.telling import missing_pins

STATUSES = {
    LiveStatus.QUEUED: NodeStatus.QUEUED,
    LiveStatus.RUNNING: NodeStatus.RUNNING,
    LiveStatus.RETRYING: NodeStatus.QUEUED,
    LiveStatus.AMBIGUOUS: NodeStatus.AMBIGUOUS,
}

MOST = 100
"""Things that an explanation lists."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Something that an execution waits for."""

    number: int
    node_id: str
    reason: str
    wake_ms: int = 0


class Inspector:
    """Looks at executions as of their last committed turn."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    async def alive(self, row: ExecutionRow) -> list[NodeExecutionRow]:
        """Node executions without an outcome, by number, and then the input sets that are not full."""
        live = await self._load(row)
        state = live.machine.state
        found = [self._alive_row(live, execution) for execution in state.live.values()]
        for waiting in state.sets.values():
            node = live.machine.topology.plan.nodes[waiting.node]
            inlets = live.machine.topology.places[waiting.node].inlets
            values = tuple(waiting.values.get(pin) for pin in range(len(inlets)))
            found.append(
                NodeExecutionRow(
                    number=waiting.order,
                    node_id=node.id,
                    block_id=node.block_id,
                    status=NodeStatus.INCOMPLETE,
                    attempts=0,
                    first_turn=0,
                    last_turn=0,
                    queued_ms=0,
                    started_ms=0,
                    ended_ms=0,
                    inputs=live.machine.topology.inputs(waiting.node, values),
                    lineage=strengthen(waiting.lineage, waiting.weak),
                    error="",
                    reason=Reason.NONE,
                    missing=tuple(missing_pins(live, waiting.node, values)),
                )
            )
        return found

    async def waits(self, row: ExecutionRow) -> list[Wait]:
        """What an execution waits for, at most MOST things."""
        live = await self._load(row)
        found: list[Wait] = []
        for wait in self._waits(live):
            found.append(wait)
            if len(found) == MOST:
                break
        return found

    def _waits(self, live: Live) -> Iterator[Wait]:
        state, plan = live.machine.state, live.machine.topology.plan
        retries = {timer.number: timer.due_ms for timer in state.timers if timer.kind is TimerKind.RETRY}
        for execution in state.live.values():
            node = plan.nodes[execution.node]
            if execution.status is LiveStatus.QUEUED:
                yield Wait(execution.number, node.id, f"a runner of pool {node.pool}")
            elif execution.status is LiveStatus.RUNNING:
                yield Wait(execution.number, node.id, "the end of its run")
            elif execution.status is LiveStatus.RETRYING:
                due = retries.get(execution.number, 0)
                yield Wait(execution.number, node.id, f"the time of attempt {execution.attempt + 1}", due)
            else:
                yield Wait(execution.number, node.id, "a decision: the outcome of its run is not known (ResumeNode)")
        for scope in state.scopes.values():
            collect = plan.nodes[scope.collect]
            of = plan.nodes[collect.of].id if collect.of >= 0 else "the whole execution"
            yield Wait(0, collect.id, f"items of {of}, {len(scope.items)} so far")

    def _alive_row(self, live: Live, execution: NodeExecution) -> NodeExecutionRow:
        topology = live.machine.topology
        node = topology.plan.nodes[execution.node]
        return NodeExecutionRow(
            number=execution.number,
            node_id=node.id,
            block_id=node.block_id,
            status=STATUSES[execution.status],
            attempts=execution.attempt,
            first_turn=execution.first_turn,
            last_turn=live.machine.state.turn,
            queued_ms=execution.queued_ms,
            started_ms=execution.started_ms,
            ended_ms=0,
            inputs=topology.inputs(execution.node, execution.values),
            lineage=execution.lineage,
            error="",
            reason=Reason.NONE,
        )

    async def _load(self, row: ExecutionRow) -> Live:
        return await self._loader.load(row)
