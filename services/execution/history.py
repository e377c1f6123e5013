"""What is recorded of an execution, put together for readers: node executions with their outputs, results, events."""

from dataclasses import dataclass
from uuid import UUID

from blockyard.event.v1.event_pb2 import Event, EventBatch, EventKind

from services.execution.engine.effects import ExecutionStatus
from services.execution.inspection import Inspector
from services.execution.large_values import LargeValues, resolve
from services.execution.records import ExecutionRow, NodeExecutionRow
from services.execution.repository.executions import ExecutionRepository
from services.execution.watching import TERMINAL

TURNS_OF_OUTPUTS = 200
"""Turns that are read for the outputs of one node execution."""

OUTPUTS_SHOWN = 1_000
"""Outputs of a node execution that an answer holds; events have them all."""

Position = tuple[int, int, int]
"""Where a page begins: (0, last turn, number) among outcomes, (1, 0, index) among what has none."""


@dataclass(frozen=True, slots=True)
class Found:
    """A node execution with its outputs by pin."""

    row: NodeExecutionRow
    outputs: dict[str, list[bytes]]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some node executions, and where the next page begins."""

    found: list[Found]
    following: Position | None


class History:
    """Reads what turns have recorded."""

    def __init__(self, executions: ExecutionRepository, inspector: Inspector, large_values: LargeValues) -> None:
        self._executions = executions
        self._large_values = large_values
        self._inspector = inspector

    async def node_executions(self, row: ExecutionRow, node_id: str, position: Position, size: int) -> Page:
        """Outcomes in their order, then what is alive or was never complete."""
        found: list[Found] = []
        phase, first, second = position
        if phase == 0:
            after = (first, second)
            outcomes = await self._executions.node_executions(row.execution_id, node_id, after, size + 1)
            found = await self._with_outputs(row.execution_id, outcomes[:size])
            if len(outcomes) > size:
                last = outcomes[size - 1]
                return Page(found, (0, last.last_turn, last.number))
            second = 0
        rest = await self._without_outcome(row, node_id)
        room = size - len(found)
        found += [Found(one, {}, False) for one in rest[second : second + room]]
        following = (1, 0, second + room) if len(rest) > second + room else None
        return Page(found, following)

    async def _without_outcome(self, row: ExecutionRow, node_id: str) -> list[NodeExecutionRow]:
        if row.status == ExecutionStatus.QUEUED:
            return []
        if row.status >= ExecutionStatus.COMPLETED:
            return await self._executions.incomplete_sets(row.execution_id, node_id, 0, 1_000)
        alive = await self._inspector.alive(row)
        return [one for one in alive if not node_id or one.node_id == node_id]

    async def _with_outputs(self, execution_id: UUID, rows: list[NodeExecutionRow]) -> list[Found]:
        """Outputs are not stored with outcomes: the events of the turns between have them."""
        if not rows:
            return []
        if all(one.first_turn >= one.last_turn - 5 for one in rows):
            span = (min(one.first_turn for one in rows), max(one.last_turn for one in rows))
            if span[1] - span[0] <= 5 * len(rows) + TURNS_OF_OUTPUTS:
                return await self._from_span(execution_id, rows, span)
        found: list[Found] = []
        for one in rows:
            found += await self._from_span(execution_id, [one], (one.first_turn, one.last_turn))
        return found

    async def _from_span(self, execution_id: UUID, rows: list[NodeExecutionRow], span: tuple[int, int]) -> list[Found]:
        wanted = {one.number for one in rows}
        limit = max(TURNS_OF_OUTPUTS, 6 * len(rows) + TURNS_OF_OUTPUTS)
        batches = await self._executions.events_of_turns(execution_id, span, limit)
        outputs: dict[int, dict[str, list[bytes]]] = {number: {} for number in wanted}
        counts = dict.fromkeys(wanted, 0)
        for data in batches:
            for event in EventBatch.FromString(data).events:
                if event.kind != EventKind.EVENT_KIND_NODE_OUTPUT or event.provisional:
                    continue
                if event.node_execution not in wanted:
                    continue
                counts[event.node_execution] += 1
                if counts[event.node_execution] <= OUTPUTS_SHOWN:
                    outputs[event.node_execution].setdefault(event.pin, []).append(
                        await self._large_values.whole(event.value)
                    )
        cut = len(batches) == limit
        return [Found(one, outputs[one.number], cut or counts[one.number] > OUTPUTS_SHOWN) for one in rows]

    async def results(self, row: ExecutionRow) -> dict[str, list[bytes]]:
        """Values by name of the output."""
        results: dict[str, list[bytes]] = {}
        for name, value in await self._executions.outputs(row.execution_id):
            results.setdefault(name, []).append(await self._large_values.whole(value))
        return results

    async def events(self, execution_id: UUID, after: int, size: int) -> tuple[list[Event], bool]:
        """Events above `after`, and whether the last of them is the execution's last."""
        events: list[Event] = []
        while len(events) < size:
            batches = await self._executions.event_batches(execution_id, after, 100)
            for _, _, data in batches:
                events += [event for event in EventBatch.FromString(data).events if event.sequence > after]
                after = events[-1].sequence if events else after
                if len(events) >= size:
                    break
            if len(batches) < 100:
                break
        events = events[:size]
        await resolve(events, self._large_values)
        return events, bool(events) and events[-1].kind in TERMINAL
