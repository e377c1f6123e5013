"""What is recorded of an execution, put together for readers: node executions with their outputs, results, events."""

import dataclasses
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
from blockyard.event.v1.event_pb2 import Event, EventBatch, EventKind, ValueAbsence
from blockyard.values import NO_JSON, is_json

from services.execution.engine.effects import ExecutionStatus
from services.execution.errors import ValueMissing, ValueTooLarge
from services.execution.inspection import Inspector, Seen
from services.execution.large_values import LARGEST, MARK, LargeValues
from services.execution.records import ExecutionRow, NodeExecutionRow, OutputPlace, OutputRow
from services.execution.repository.executions import LAST_TURN, ExecutionRepository
from services.execution.watching import TERMINAL

ANSWER_BYTES = 3_000_000
"""Bytes of one answer, or one message of a stream, unless one thing alone has more: gRPC's clients take 4 MiB."""

TURNS_OF_OUTPUTS = 200
"""Turns that are read for the outputs of one node execution."""

OUTPUTS_SHOWN = 1_000
"""Outputs of a node execution that an answer holds; events have them all."""

Position = tuple[int, int, int]
"""Behind what a page begins: (0, last turn, number) of an outcome, (1, turn, number) of a node execution that had none
when that turn was the last, (2, 0, number) of an input set that is not full."""

Values = dict[str, list[bytes]]
"""JSON values by pin."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Why a value cannot be given."""

    kind: ValueAbsence.ValueType
    message: str


@dataclass(frozen=True, slots=True)
class Absent:
    """A value of a node execution that cannot be given."""

    pin: str
    index: int
    is_input: bool
    absence: Absence


@dataclass(frozen=True, slots=True)
class Result:
    """A value that an output was given, whole; null where it cannot be given."""

    place: OutputPlace
    value: bytes
    absence: Absence | None = None


@dataclass(slots=True)
class Found:
    """A node execution with its outputs by pin, and the position of what comes behind it."""

    row: NodeExecutionRow
    position: Position
    outputs: Values = field(default_factory=dict)
    truncated: bool = False
    absent: list[Absent] = field(default_factory=list)
    """Of its inputs and outputs. In the place of an output is null, in that of an input nothing."""
    _count: int = 0
    _bytes: int = 0

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return len(self.row.inputs) + sum(len(value) for values in self.outputs.values() for value in values)

    def take(self, pin: str, value: bytes) -> None:
        """Takes an output in, unless an answer would not hold it."""
        self._count += 1
        self._bytes += len(value)
        if self._count > OUTPUTS_SHOWN or (self._count > 1 and self._bytes > ANSWER_BYTES):
            self.truncated = True
        else:
            self.outputs.setdefault(pin, []).append(value)


class History:
    """Reads what turns have recorded. Where a value cannot be had, whatever else there is can."""

    def __init__(self, executions: ExecutionRepository, inspector: Inspector, large_values: LargeValues) -> None:
        self._executions = executions
        self._large_values = large_values
        self._inspector = inspector

    async def node_executions(
        self, row: ExecutionRow, node_id: str, position: Position, most: int
    ) -> AsyncIterator[Found]:
        """At most so many behind a position: outcomes in their order, then what had none yet by number, then input
        sets that are not full. Little more is read than is taken."""
        async for found in self._behind(row, node_id, position, most):
            yield await self._with_inputs(found)
            most -= 1
            if not most:
                return

    async def _behind(self, row: ExecutionRow, node_id: str, position: Position, most: int) -> AsyncIterator[Found]:
        """The same, or more: the first `most` are in order."""
        phase, turn, number = position
        if phase == 0:
            async for found in self._outcomes(row, node_id, (turn, number), LAST_TURN, most):
                yield found
                _, turn, number = found.position
        seen = await self._seen(row, node_id, position, most)
        if phase == 0:
            # Who has ended since the outcomes were read is not alive any more.
            async for found in self._outcomes(row, node_id, (turn, number), seen.turn, most):
                yield found
            turn, number = seen.turn, 0
        if phase < 2:
            async for found in self._without_outcome(row, node_id, seen, (turn, number), most):
                yield found
            number = 0
        async for found in self._sets(row, node_id, seen, number, most):
            yield found

    async def _seen(self, row: ExecutionRow, node_id: str, position: Position, most: int) -> Seen:
        phase, _, number = position
        if row.status >= ExecutionStatus.COMPLETED:
            return Seen(LAST_TURN, True, [], [])
        after = (0, number, None)[phase]
        return await self._inspector.seen(row, node_id, after, number if phase == 2 else 0, most)

    async def _outcomes(
        self, row: ExecutionRow, node_id: str, after: tuple[int, int], through: int, most: int
    ) -> AsyncIterator[Found]:
        async for rows in self._executions.outcomes(row.execution_id, node_id, after, through, most):
            async for found in self._with_outputs(row.execution_id, rows):
                yield found

    async def _without_outcome(
        self, row: ExecutionRow, node_id: str, seen: Seen, after: tuple[int, int], most: int
    ) -> AsyncIterator[Found]:
        """Node executions that had no outcome at a turn, with higher numbers than `after` (that turn, number): those
        that have ended since are alive no more, and their outcomes were on no page before."""
        turn, number = after
        alive = deque(seen.executions)
        if turn < seen.turn:
            async for rows in self._executions.outcomes_by_number(
                row.execution_id, node_id, (turn, seen.turn), number, most
            ):
                async for found in self._with_outputs(row.execution_id, rows):
                    while alive and alive[0].number < found.row.number:
                        one = alive.popleft()
                        yield Found(one, (1, turn, one.number))
                    found.position = (1, turn, found.row.number)
                    yield found
        for one in alive:
            yield Found(one, (1, turn, one.number))

    async def _sets(self, row: ExecutionRow, node_id: str, seen: Seen, after: int, most: int) -> AsyncIterator[Found]:
        if seen.has_ended:
            async for one in self._executions.incomplete_sets(row.execution_id, node_id, after, most):
                yield Found(one, (2, 0, one.number))
        for one in seen.sets:
            yield Found(one, (2, 0, one.number))

    async def _with_outputs(self, execution_id: UUID, rows: list[NodeExecutionRow]) -> AsyncIterator[Found]:
        """Outputs are not stored with outcomes: the events of the turns between have them."""
        for some, span in _spans(rows):
            for found in await self._from_span(execution_id, some, span):
                # One after the other: a page ends where an answer is full, so not all of them may be wanted.
                await self._resolve_outputs(found)
                yield found

    async def _from_span(self, execution_id: UUID, rows: list[NodeExecutionRow], span: tuple[int, int]) -> list[Found]:
        found = {one.number: Found(one, (0, one.last_turn, one.number)) for one in rows}
        left = 6 * len(rows) + TURNS_OF_OUTPUTS
        async for data in self._executions.events_of_turns(execution_id, span):
            if not left:
                for each in found.values():
                    each.truncated = True
                break
            left -= 1
            for event in EventBatch.FromString(data).events:
                if event.kind == EventKind.EVENT_KIND_NODE_OUTPUT and not event.provisional:
                    of = found.get(event.node_execution)
                    if of is not None:
                        of.take(event.pin, event.value)
        return list(found.values())

    async def _resolve_outputs(self, found: Found) -> None:
        """Puts whole values in the place of references, as many as an answer holds."""
        room = ANSWER_BYTES
        resolved: Values = {}
        for pin, values in found.outputs.items():
            for index, value in enumerate(values):
                try:
                    whole = await self._large_values.whole(value)
                except (ValueMissing, ValueTooLarge) as error:
                    found.absent.append(Absent(pin, index, False, _absence(error)))
                    whole = b"null"
                if resolved and len(whole) > room:
                    found.truncated = True
                    break
                resolved.setdefault(pin, []).append(whole)
                room -= len(whole)
        found.outputs = resolved

    async def _with_inputs(self, found: Found) -> Found:
        """Puts whole values into the inputs; those that cannot be had are left out."""
        inputs = found.row.inputs
        if MARK not in inputs and found.size <= LARGEST and is_json(inputs):
            return found
        try:
            values = msgspec.json.decode(inputs, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, RecursionError):
            # One of them is no JSON, and where it ends nobody can say.
            values = {}
            found.absent.append(Absent("", 0, True, Absence(ValueAbsence.VALUE_ABSENCE_MISSING, NO_JSON)))
        room = LARGEST - found.size + len(inputs)
        kept: dict[str, bytes] = {}
        for pin, value in values.items():
            try:
                whole = await self._large_values.whole(bytes(value))
                if len(whole) > room:
                    raise ValueTooLarge("A message has no room for the value beside the other inputs and the outputs.")
                kept[pin] = whole
                room -= len(whole)
            except (ValueMissing, ValueTooLarge) as error:
                found.absent.append(Absent(pin, 0, True, _absence(error)))
        found.row = dataclasses.replace(found.row, inputs=_object(kept))
        return found

    async def results(self, execution_id: UUID, after: OutputPlace) -> AsyncIterator[Result]:
        """The results behind a place."""
        async for row in self._executions.outputs(execution_id, after):
            yield await self._whole_result(row)

    async def _whole_result(self, row: OutputRow) -> Result:
        try:
            return Result(row.place, await self._large_values.whole(row.value))
        except (ValueMissing, ValueTooLarge) as error:
            return Result(row.place, b"null", _absence(error))

    async def events(self, execution_id: UUID, after: int, size: int) -> tuple[list[Event], bool]:
        """Events above `after`, as many as an answer holds, and whether the last of them is the execution's last."""
        events: list[Event] = []
        read = 0
        async for last, data in self._executions.event_batches(execution_id, after):
            events += [event for event in EventBatch.FromString(data).events if event.sequence > after]
            after = last
            read += len(data)
            if len(events) >= size or read >= ANSWER_BYTES:
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
        try:
            whole.value = await self._large_values.whole(event.value)
        except (ValueMissing, ValueTooLarge) as error:
            absence = _absence(error)
            whole.value = b""
            whole.value_absence = absence.kind
            whole.message = absence.message
        return whole


def _object(values: Mapping[str, bytes]) -> bytes:
    """The JSON object of JSON values by name."""
    return b"{" + b",".join(msgspec.json.encode(name) + b":" + value for name, value in values.items()) + b"}"


def _absence(error: ValueMissing | ValueTooLarge) -> Absence:
    """How an answer says that it comes without a value."""
    if isinstance(error, ValueMissing):
        return Absence(ValueAbsence.VALUE_ABSENCE_MISSING, error.message)
    return Absence(ValueAbsence.VALUE_ABSENCE_TOO_LARGE, error.message)


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
