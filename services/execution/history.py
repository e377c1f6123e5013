"""What is recorded of an execution, put together for readers: node executions with their outputs, results, events."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from blockyard.event.v1.event_pb2 import Event, EventBatch, EventKind

from services.execution.engine.effects import ExecutionStatus
from services.execution.inspection import Inspector
from services.execution.large_values import MARK, LargeValues, resolve
from services.execution.records import ExecutionRow, NodeExecutionRow
from services.execution.repository.executions import ExecutionRepository
from services.execution.watching import TERMINAL

ANSWER_BYTES = 3_000_000
"""Bytes of one answer, or one message of a stream, unless one thing alone has more: gRPC's clients take 4 MiB."""

TURNS_OF_OUTPUTS = 200
"""Turns that are read for the outputs of one node execution."""

OUTPUTS_SHOWN = 1_000
"""Outputs of a node execution that an answer holds; events have them all."""

Position = tuple[int, int, int]
"""Where a page begins: (0, last turn, number) among outcomes, (1, 0, index) among what has none."""


@dataclass(frozen=True, slots=True)
class Found:
    """A node execution with its outputs by pin, and where the page behind it begins."""

    row: NodeExecutionRow
    outputs: dict[str, list[bytes]]
    truncated: bool
    position: Position


class History:
    """Reads what turns have recorded."""

    def __init__(self, executions: ExecutionRepository, inspector: Inspector, large_values: LargeValues) -> None:
        self._executions = executions
        self._large_values = large_values
        self._inspector = inspector

    async def node_executions(
        self, row: ExecutionRow, node_id: str, position: Position, most: int
    ) -> AsyncIterator[Found]:
        """At most so many behind a position: outcomes in their order, then what is alive or was never complete."""
        phase, first, second = position
        if phase == 0:
            outcomes = await self._executions.node_executions(row.execution_id, node_id, (first, second), most)
            async for found in self._with_outputs(row.execution_id, outcomes):
                yield found
            most -= len(outcomes)
            second = 0
        if most:
            rest = await self._without_outcome(row, node_id)
            for at, one in enumerate(rest[second : second + most], second + 1):
                yield Found(one, {}, False, (1, 0, at))

    async def _without_outcome(self, row: ExecutionRow, node_id: str) -> list[NodeExecutionRow]:
        if row.status == ExecutionStatus.QUEUED:
            return []
        if row.status >= ExecutionStatus.COMPLETED:
            return await self._executions.incomplete_sets(row.execution_id, node_id, 0, 1_000)
        alive = await self._inspector.alive(row)
        return [one for one in alive if not node_id or one.node_id == node_id]

    async def _with_outputs(self, execution_id: UUID, rows: list[NodeExecutionRow]) -> AsyncIterator[Found]:
        """Outputs are not stored with outcomes: the events of the turns between have them."""
        for some, span in _spans(rows):
            for found in await self._from_span(execution_id, some, span):
                # One after the other: a page ends where an answer is full, so not all of them may be wanted.
                for pin, values in found.outputs.items():
                    found.outputs[pin] = [await self._large_values.whole(value) for value in values]
                yield found

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
                    outputs[event.node_execution].setdefault(event.pin, []).append(event.value)
        cut = len(batches) == limit
        return [
            Found(
                one,
                outputs[one.number],
                cut or counts[one.number] > OUTPUTS_SHOWN,
                (0, one.last_turn, one.number),
            )
            for one in rows
        ]

    async def results(self, row: ExecutionRow) -> dict[str, list[bytes]]:
        """Values by name of the output."""
        results: dict[str, list[bytes]] = {}
        for name, value in await self._executions.outputs(row.execution_id):
            results.setdefault(name, []).append(await self._large_values.whole(value))
        return results

    async def events(self, execution_id: UUID, after: int, size: int) -> tuple[list[Event], bool]:
        """Events above `after`, as many as an answer holds, and whether the last of them is the execution's last."""
        events: list[Event] = []
        read = 0
        while len(events) < size and read < ANSWER_BYTES:
            batches = await self._executions.event_batches(execution_id, after, 100)
            for _, _, data in batches:
                events += [event for event in EventBatch.FromString(data).events if event.sequence > after]
                after = events[-1].sequence if events else after
                read += len(data)
                if len(events) >= size:
                    break
            if len(batches) < 100:
                break
        async for portion in self.portions(events[:size]):
            return portion, portion[-1].kind in TERMINAL
        return [], False

    async def portions(self, events: Sequence[Event]) -> AsyncIterator[list[Event]]:
        """Events with their whole values, in lists that an answer holds."""
        portion: list[Event] = []
        room = ANSWER_BYTES
        for event in events:
            whole = await self._whole(event)
            size = whole.ByteSize()
            if portion and size > room:
                yield portion
                portion, room = [], ANSWER_BYTES
            portion.append(whole)
            room -= size
        if portion:
            yield portion

    async def _whole(self, event: Event) -> Event:
        if MARK not in event.value:
            return event
        # A copy: values that have been sent must not be held as long as all events of their turn are.
        whole = Event()
        whole.CopyFrom(event)
        await resolve([whole], self._large_values)
        return whole


def _spans(rows: list[NodeExecutionRow]) -> Iterator[tuple[list[NodeExecutionRow], tuple[int, int]]]:
    """Node executions whose events are read together, and the turns that have them."""
    if not rows:
        return
    if all(one.first_turn >= one.last_turn - 5 for one in rows):
        span = (min(one.first_turn for one in rows), max(one.last_turn for one in rows))
        if span[1] - span[0] <= 5 * len(rows) + TURNS_OF_OUTPUTS:
            yield rows, span
            return
    for one in rows:
        yield [one], (one.first_turn, one.last_turn)
