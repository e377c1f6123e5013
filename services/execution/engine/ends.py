"""How an execution ends: at its limit, on request, after a failure, or because nothing is alive any more."""

from itertools import islice

from services.execution.engine.effects import Event, EventKind, ExecutionStatus, NodeOutcome, NodeStatus
from services.execution.engine.facts import Finish
from services.execution.engine.lineage import strengthen
from services.execution.engine.plan import Effect
from services.execution.engine.state import InputSet, LiveStatus, NodeExecution, State
from services.execution.engine.topology import Place, Topology
from services.execution.engine.turn import Turn

SLICE = 1_000
"""Live node executions that one turn ends when an execution ends early; and input sets that one records at the end."""

ENDS = {
    ExecutionStatus.COMPLETED: EventKind.EXECUTION_COMPLETED,
    ExecutionStatus.FAILED: EventKind.EXECUTION_FAILED,
    ExecutionStatus.CANCELLED: EventKind.EXECUTION_CANCELLED,
}


class Ends:
    """Decides that an execution ends, and ends it."""

    __slots__ = ("_state", "_topology", "_turn")

    def __init__(self, topology: Topology, state: State, turn: Turn) -> None:
        self._topology = topology
        self._state = state
        self._turn = turn

    def end(self, status: ExecutionStatus, message: str) -> None:
        """Brings the execution to a terminal status; the first reason counts. What is alive is ended by `wind_up`."""
        if not self._state.ending:
            self._state.ending = status
            self._state.message = message

    def at_limit(self, place: Place) -> bool:
        """True if nothing may begin any more: the execution is ending, or has just come to its limit."""
        most = self._topology.plan.max_node_executions
        if self._state.numbers >= most:
            self.end(
                ExecutionStatus.FAILED, f"limit reached: {most} node executions, the next was of node {place.node.id}"
            )
        return self._state.ending != 0

    def ran_too_long(self) -> None:
        """The execution's own time is up."""
        limit = self._topology.plan.max_duration_ms
        self.end(ExecutionStatus.FAILED, f"limit reached: it ran for {limit / 1000:g} seconds")

    def wind_up(self) -> bool:
        """Ends what is alive, records what was never full, a slice in a turn, and then ends the execution. True if
        there is more of it."""
        # Runs of what is passed on had ended before the execution did: what they yielded is told first.
        if self._state.passing or self._end_alive() or self._record_sets():
            return True
        self._close()
        return False

    def _end_alive(self) -> bool:
        """Ends node executions. True if some are left."""
        live = self._state.live
        for number in list(islice(live, SLICE)):
            if self._turn.full:
                break
            self._end_early(live.pop(number))
        return bool(live)

    def _record_sets(self) -> bool:
        """Records input sets that were never full. True if some are left.

        They stay in the state until the end: who looks meanwhile reads those of an ended execution alone from rows.
        """
        state, turn = self._state, self._turn
        begin = state.sets_recorded
        for waiting in islice(state.sets.values(), begin, begin + SLICE):
            if turn.full:
                break
            turn.leave(self._incomplete(waiting))
            state.sets_recorded += 1
        return state.sets_recorded < len(state.sets)

    def _close(self) -> None:
        """Nothing is left but the end."""
        state = self._state
        status = ExecutionStatus(state.ending)
        state.status = status
        state.busy = state.sets_recorded = 0
        self._turn.tell(Event(ENDS[status], message=state.message))
        state.later.clear()
        for left in (state.sets, state.latches, state.scopes, state.timers, state.fan_outs, state.closed):
            left.clear()

    def _end_early(self, execution: NodeExecution) -> None:
        claimed = self._may_have_run(execution)
        self._turn.tell_of(EventKind.NODE_AMBIGUOUS if claimed else EventKind.NODE_CANCELLED, execution)
        self._turn.record(execution, NodeStatus.AMBIGUOUS if claimed else NodeStatus.CANCELLED, Finish(True, 0))
        self._turn.effects.dropped.append(execution.number)

    def _may_have_run(self, execution: NodeExecution) -> bool:
        """True if it must not run twice and a run of it was claimed whose end is not known."""
        once = self._topology.plan.nodes[execution.node].effect is Effect.ONCE
        return once and execution.claimed_run != 0 and execution.status is not LiveStatus.RETRYING

    def _incomplete(self, waiting: InputSet) -> NodeOutcome:
        pins = range(len(self._topology.places[waiting.node].inlets))
        return NodeOutcome(
            number=waiting.order,
            node=waiting.node,
            status=NodeStatus.INCOMPLETE,
            attempts=0,
            lineage=strengthen(waiting.lineage, waiting.weak),
            values=tuple(waiting.values.get(pin) for pin in pins),
            queued_ms=0,
            started_ms=0,
            first_turn=0,
        )
