"""The turn that is being applied: what it has caused so far, and when it is. All parts of the machine write here."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.execution.engine.effects import Effects, Event, EventKind, NodeOutcome, NodeStatus
from services.execution.engine.facts import Finish, Output
from services.execution.engine.state import NodeExecution
from services.execution.engine.topology import Topology


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a turn is full, and what can wait is left to the next one (GUARANTEES, rule 10). A replay needs the same."""

    events: int = 10_000
    """Told in one turn."""
    bytes: int = 1 << 20
    """Of the values among them: they travel in one message."""
    recorded: int = 8 << 20
    """Bytes of the inputs, constants too, that outcomes and sets that were never full repeat: they are stored in one
    transaction, and may be the same large value."""
    at_once: int = 1_000
    """Outputs of one run that are passed on together, if there is room for them."""


class Turn:
    """One object for all turns of a machine, begun anew for each."""

    __slots__ = (
        "_at_once",
        "_bytes",
        "_most_bytes",
        "_most_events",
        "_most_recorded",
        "_recorded",
        "_topology",
        "effects",
        "now",
    )

    def __init__(self, topology: Topology, bounds: Bounds) -> None:
        self._topology = topology
        self._at_once = bounds.at_once
        self._most_bytes = bounds.bytes
        self._most_events = bounds.events
        self._most_recorded = bounds.recorded
        self.begin(0)

    def begin(self, now_ms: int) -> Effects:
        """Nothing has been caused yet."""
        self.effects = Effects()
        self.now = now_ms
        self._bytes = 0
        self._recorded = 0
        return self.effects

    @property
    def full(self) -> bool:
        """True if what is not done yet has to wait for the next turn."""
        return (
            self._bytes >= self._most_bytes
            or len(self.effects.events) >= self._most_events
            or self._recorded >= self._most_recorded
        )

    def has_room(self, outputs: Sequence[Output]) -> bool:
        """True if a run that has yielded these can end in this turn, and all of them be passed on."""
        if len(outputs) > self._at_once or len(self.effects.events) >= self._most_events:
            return False
        if self._recorded >= self._most_recorded:
            return False
        size = self._bytes
        for output in outputs:
            size += len(output.value)
        return size <= self._most_bytes

    def tell(self, event: Event) -> None:
        """Subscribers are told."""
        self.effects.events.append(event)
        self._bytes += len(event.value)

    def tell_of(self, kind: EventKind, execution: NodeExecution) -> None:
        """Tells what has become of a node execution."""
        self.effects.events.append(Event(kind, execution.number, execution.node, execution.attempt))

    def tell_output(self, execution: NodeExecution, output: Output, provisional: bool = False) -> None:
        """Tells of a value that a run has yielded."""
        self._bytes += len(output.value)
        self.effects.events.append(
            Event(
                EventKind.NODE_OUTPUT,
                execution.number,
                execution.node,
                execution.attempt,
                output.pin,
                output.index,
                output.value,
                provisional,
            )
        )

    def record(self, execution: NodeExecution, status: NodeStatus, finish: Finish) -> None:
        """The one outcome of a node execution."""
        self.conclude(
            NodeOutcome(
                number=execution.number,
                node=execution.node,
                status=status,
                attempts=execution.attempt,
                lineage=execution.lineage,
                values=execution.values,
                queued_ms=execution.queued_ms,
                started_ms=execution.started_ms,
                first_turn=execution.first_turn,
                error=finish.error,
                reason=finish.reason,
                stats=finish.stats,
            )
        )

    def conclude(self, outcome: NodeOutcome) -> None:
        """Adds an outcome."""
        self.effects.outcomes.append(outcome)
        self._count_inputs(outcome)

    def leave(self, waiting: NodeOutcome) -> None:
        """Adds an input set that was never full."""
        self.effects.incomplete.append(waiting)
        self._count_inputs(waiting)

    def _count_inputs(self, outcome: NodeOutcome) -> None:
        self._recorded += len(self._topology.places[outcome.node].inputs_prefix)
        for value in outcome.values:
            if value is not None:
                self._recorded += len(value)
