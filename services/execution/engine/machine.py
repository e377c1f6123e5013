"""The state machine of one execution: facts in, effects out (DESIGN 4 and 5).

Here a turn is taken. What runners say is put together in runs.py, how attempts end is in attempts.py, where values go
in routing.py, matching.py and collecting.py, the engine's own nodes in natives.py, and how the execution ends in
ends.py. Values are JSON bytes and are never looked into.
"""

import heapq
from collections.abc import Sequence

from services.execution.engine.attempts import Attempts
from services.execution.engine.collecting import WHOLE, Collector
from services.execution.engine.effects import Effects, Event, EventKind, ExecutionStatus
from services.execution.engine.ends import Ends
from services.execution.engine.facts import (
    ChildEnded,
    Claimed,
    Continued,
    Decided,
    Fact,
    Reported,
    RunLost,
    Started,
    StopRequested,
    Ticked,
)
from services.execution.engine.routing import Router
from services.execution.engine.runs import Runs
from services.execution.engine.state import State, Timer, TimerKind
from services.execution.engine.timers import drop_stale, set_timer
from services.execution.engine.topology import Topology
from services.execution.engine.turn import Bounds, Turn

RULES = 1
"""Number of the rules in this folder. A change that replays a history otherwise gets a new number and keeps the old."""

BOUNDS = Bounds()
"""Part of the rules."""


class Machine:
    """One execution. `apply` is deterministic; the state is plain data and may be stored between turns."""

    __slots__ = ("_attempts", "_collector", "_ends", "_router", "_runs", "_turn", "state", "topology")

    def __init__(self, topology: Topology, state: State, bounds: Bounds = BOUNDS) -> None:
        self.topology = topology
        self.state = state
        turn = self._turn = Turn(topology, bounds)
        collector = self._collector = Collector(topology, state) if topology.has_collects else None
        ends = self._ends = Ends(topology, state, turn)
        router = self._router = Router(topology, state, turn, ends, collector)
        self._attempts = Attempts(topology, state, turn, ends, router, collector)
        self._runs = Runs(topology, state, turn, router, self._attempts)

    @property
    def ended(self) -> bool:
        """True once the execution has a terminal status."""
        return self.state.status >= ExecutionStatus.COMPLETED

    @property
    def wake_ms(self) -> int | None:
        """When the next timer is due; None if the execution has ended. Long ago, if the last turn left work over."""
        if self.state.more:
            return 1
        return self.state.timers[0].due_ms if self.state.timers else None

    def wants(self, report: Reported) -> bool:
        """False for a report that would change nothing: a late duplicate, which need not become a fact."""
        return self._runs.wants(report)

    def apply(self, facts: Sequence[Fact], now_ms: int) -> Effects:
        """One turn: all these facts at this time (milliseconds since 1970, never going back)."""
        state = self.state
        effects = self._turn.begin(now_ms)
        if state.more:
            self._attempts.pass_on()
            self._settle()
            self._catch_up()
        for fact in facts:
            if state.ending:
                break
            self._apply(fact)
            self._settle()
        if not self.ended:
            self._close_turn(effects)
        state.turn += 1
        state.events += len(effects.events)
        return effects

    def _catch_up(self) -> None:
        """Facts that had to wait, in their order, until the turn is full."""
        waiting, self.state.later = self.state.later, []
        for fact in waiting:
            if self.state.ending:
                break
            self._apply(fact)
            self._settle()

    def _apply(self, fact: Fact) -> None:
        match fact:
            case Reported() if self.state.later or self._turn.full:
                self.state.later.append(fact)
            case Decided() | RunLost() | StopRequested() | ChildEnded() if self.state.later:
                # Order decides: the end of a run that waits here was known before.
                self.state.later.append(fact)
            case Reported():
                if self._runs.wants(fact):
                    self._runs.report(fact)
            case Started():
                self._start(fact)
            case Claimed():
                self._runs.claim(fact)
            case Ticked():
                self._tick()
            case StopRequested():
                status = ExecutionStatus.FAILED if fact.failed else ExecutionStatus.CANCELLED
                self._ends.end(status, fact.message)
            case RunLost():
                self._attempts.lose(fact)
            case Decided():
                self._attempts.decide(fact)
            case ChildEnded():
                self._attempts.end_child(fact)
            case Continued():
                pass

    def _start(self, fact: Started) -> None:
        state, now = self.state, self._turn.now
        state.started_ms = now
        state.status = ExecutionStatus.RUNNING
        self._turn.tell(Event(EventKind.EXECUTION_STARTED))
        set_timer(state, Timer(now + self.topology.plan.max_duration_ms, TimerKind.DURATION))
        if self._collector is not None:
            for collect in self.topology.collects:
                if self.topology.plan.nodes[collect].of < 0:
                    self._collector.open(collect, WHOLE, (), now)
        self._router.start(fact.inputs)

    def _tick(self) -> None:
        timers = self.state.timers
        while timers and timers[0].due_ms <= self._turn.now and not self.state.ending and not self._turn.full:
            timer = heapq.heappop(timers)
            if timer.kind is TimerKind.DURATION:
                self._ends.ran_too_long()
            else:
                self._attempts.fire(timer)

    def _settle(self) -> None:
        """Closes the collects that can close, and the execution when nothing is alive."""
        state, collector = self.state, self._collector
        while collector is not None and state.scopes and not state.ending:
            scope = collector.next_closable()
            if scope is None:
                break
            self._router.close(scope, collector)
            if self._turn.full:
                self._turn.effects.more = True
                break
        if not state.live and not state.scopes and not state.ending:
            self._ends.end(ExecutionStatus.COMPLETED, "")

    def _close_turn(self, effects: Effects) -> None:
        state = self.state
        if state.ending:
            effects.more = self._ends.wind_up()
        elif effects.more or state.passing or state.later:
            effects.more = True
        else:
            drop_stale(state)
            self._note_waiting()
        state.more = effects.more

    def _note_waiting(self) -> None:
        """WAITING stands beside RUNNING while only timers and people are awaited."""
        waits = bool(self.state.live) and not self.state.busy
        if waits and self.state.status != ExecutionStatus.WAITING:
            self.state.status = ExecutionStatus.WAITING
            self._turn.tell(Event(EventKind.EXECUTION_WAITING, wake_ms=self.wake_ms or 0))
        elif not waits and self.state.status == ExecutionStatus.WAITING:
            self.state.status = ExecutionStatus.RUNNING
