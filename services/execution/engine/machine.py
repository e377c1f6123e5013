"""The state machine of one execution: facts in, effects out (DESIGN 4 and 5).

What it does with a value is in matching.py, when a collect runs in collecting.py; here node executions begin, run and
end. Values are JSON bytes and are never looked into.
"""

import heapq
import zlib
from collections import deque
from collections.abc import Sequence
from itertools import islice

import msgspec

from services.execution.engine.collecting import WHOLE, Collector
from services.execution.engine.effects import (
    Effects,
    Event,
    EventKind,
    ExecutionStatus,
    NodeOutcome,
    NodeStatus,
    OutputRecord,
)
from services.execution.engine.facts import (
    Claimed,
    Continued,
    Decided,
    Decision,
    Fact,
    Finish,
    Output,
    Reported,
    RunLost,
    Started,
    StopRequested,
    Ticked,
)
from services.execution.engine.lineage import Lineage, strengthen
from services.execution.engine.matching import Full, Matcher, Token
from services.execution.engine.plan import Effect, NodeKind, Reason
from services.execution.engine.state import (
    Gathered,
    LiveStatus,
    NodeExecution,
    Run,
    Scope,
    State,
    Timer,
    TimerKind,
)
from services.execution.engine.timers import drop_stale, is_stale, set_timer
from services.execution.engine.topology import Place, Topology, Way

RULES = 1
"""Number of the rules in this folder. A change that replays a history otherwise gets a new number and keeps the old."""

OUTPUTS_WAIT_MS = 60_000
"""How long the end of a run waits for outputs of it that did not come, before the run is void."""

BACKSTOP_SLACK_MS = 30_000
"""How far past its timeout a run that told it runs may go: the runner's own timeout comes first."""

SLICE = 1_000
"""Live node executions that one turn ends when an execution ends early."""

MOST_NESTED = 1_000
"""Fan-outs inside one another, such as those of a crawler: each value carries an entry for every one of them."""

LINKED_ERROR = "error"


class Machine:
    """One execution. `apply` is deterministic; the state is plain data and may be stored between turns."""

    __slots__ = ("_collector", "_effects", "_matcher", "_native", "_now", "_running_native", "state", "topology")

    def __init__(self, topology: Topology, state: State) -> None:
        self.topology = topology
        self.state = state
        self._collector = Collector(topology, state) if topology.has_collects else None
        self._matcher = Matcher(topology, state, self._collector)
        if self._collector is not None:
            self._collector.matcher = self._matcher
        self._effects = Effects()
        self._native: deque[tuple[Place, Full]] = deque()
        self._running_native = False
        self._now = 0

    @property
    def ended(self) -> bool:
        """True once the execution has a terminal status."""
        return self.state.status >= ExecutionStatus.COMPLETED

    @property
    def wake_ms(self) -> int | None:
        """When the next timer is due; None if the execution has ended."""
        return self.state.timers[0].due_ms if self.state.timers else None

    def wants(self, report: Reported) -> bool:
        """False for a report that would change nothing: a late duplicate, which need not become a fact."""
        execution = self.state.live.get(report.number)
        if execution is None or execution.attempt != report.attempt or self.state.ending:
            return False
        if execution.status is LiveStatus.RETRYING:
            return False
        if self.topology.plan.nodes[execution.node].effect is Effect.ONCE:
            return execution.claimed_run == report.run
        return execution.status is not LiveStatus.AMBIGUOUS

    def apply(self, facts: Sequence[Fact], now_ms: int) -> Effects:
        """One turn: all these facts at this time (milliseconds since 1970, never going back)."""
        self._effects = effects = Effects()
        self._now = now_ms
        for fact in facts:
            if self.ended:
                break
            self._apply(fact)
            self._settle()
        if self.state.ending and not self.ended:
            self._wind_up()
        elif not self.ended:
            drop_stale(self.state)
            self._note_waiting()
        self.state.turn += 1
        self.state.events += len(effects.events)
        return effects

    def _apply(self, fact: Fact) -> None:
        if self.state.ending:
            return
        match fact:
            case Reported():
                if self.wants(fact):
                    self._report(self.state.live[fact.number], fact)
            case Started():
                self._start(fact)
            case Claimed():
                self._claim(fact)
            case Ticked():
                self._tick()
            case StopRequested():
                self._end(ExecutionStatus.CANCELLED, fact.message)
            case RunLost():
                self._lose(fact)
            case Decided():
                self._decide(fact)
            case Continued():
                pass

    # Beginning

    def _start(self, fact: Started) -> None:
        state = self.state
        state.started_ms = self._now
        state.status = ExecutionStatus.RUNNING
        self._emit(Event(EventKind.EXECUTION_STARTED))
        set_timer(state, Timer(self._now + self.topology.plan.max_duration_ms, TimerKind.DURATION))
        if self._collector is not None:
            for collect in self.topology.collects:
                if self.topology.plan.nodes[collect].of < 0:
                    self._collector.open(collect, WHOLE, (), self._now)
        for place in self.topology.starts:
            if place.node.kind is NodeKind.INPUT:
                self._give_input(place, fact.inputs)
            elif place.node.kind is not NodeKind.COLLECT:
                self._begin(place, Full((), ()))
        self._run_native()

    def _give_input(self, place: Place, inputs: dict[str, bytes]) -> None:
        name = msgspec.json.decode(place.constants["name"], type=str)
        value = inputs.get(name) or bytes(place.constants.get("value", b"null"))
        number = self._next_number()
        values = [Output("result", 0, value)] if value != b"null" else []
        self._conclude_native(place, number, Full((), ()), values, self._now, self.state.turn + 1)

    def _begin(self, place: Place, full: Full) -> None:
        """A set is full: a node execution comes to be."""
        state = self.state
        if self._at_limit(place):
            return
        if place.node.kind is NodeKind.OUTPUT:
            self._native.append((place, full))
            return
        number = self._next_number()
        execution = NodeExecution(number, place.index, full.lineage, full.values, self._now, state.turn + 1)
        state.live[number] = execution
        state.busy += 1
        if place.fans_out:
            state.fan_outs[number] = place.index
        if self._collector is not None:
            self._open_scopes(place, execution)
            self._collector.enters(execution)
        self._queue(execution)

    def _at_limit(self, place: Place) -> bool:
        """True if nothing may begin any more: the execution is ending, or has just come to its limit."""
        most = self.topology.plan.max_node_executions
        if self.state.numbers >= most:
            self._end(
                ExecutionStatus.FAILED, f"limit reached: {most} node executions, the next was of node {place.node.id}"
            )
        return self.state.ending != 0

    def _open_scopes(self, place: Place, execution: NodeExecution) -> None:
        """Collects run once for each outermost execution of the node that they name."""
        assert self._collector is not None
        if place.collects and not any(self.state.fan_outs.get(at) == place.index for at, _ in execution.lineage):
            for collect in place.collects:
                self._collector.open(collect, execution.number, execution.lineage, self._now)

    def _queue(self, execution: NodeExecution) -> None:
        self._effects.queued.append(execution)
        self._emit(Event(EventKind.NODE_QUEUED, execution.number, execution.node, execution.attempt))

    def _next_number(self) -> int:
        self.state.numbers += 1
        return self.state.numbers

    # What runners say

    def _claim(self, fact: Claimed) -> None:
        execution = self.state.live.get(fact.number)
        if execution is None or execution.attempt != fact.attempt or execution.status is not LiveStatus.QUEUED:
            return
        execution.claimed_run = fact.run
        self._mark_running(execution, self._now, fact.run)

    def _report(self, execution: NodeExecution, report: Reported) -> None:
        if execution.status is LiveStatus.AMBIGUOUS:
            execution.status = LiveStatus.RUNNING
            self.state.busy += 1
            self._watch(execution, report.run)
        finish = report.finish
        if finish is not None:
            execution.started_ms = report.started_ms
            if execution.runs is None and execution.routed is None and finish.outputs == len(report.outputs):
                self._conclude(execution, report.outputs, finish)
                return
        elif execution.status is LiveStatus.QUEUED:
            self._mark_running(execution, report.started_ms, report.run)
        elif report.run != execution.latest_run and report.run not in (execution.runs or ()):
            self._watch(execution, report.run)
        self._take_in(execution, report)

    def _take_in(self, execution: NodeExecution, report: Reported) -> None:
        """A part of a run: outputs as they come, an end that may have overtaken some."""
        pure = self.topology.plan.nodes[execution.node].effect is Effect.PURE
        if execution.runs is None:
            execution.runs = {}
        run = execution.runs.setdefault(report.run, Run())
        for output in report.outputs:
            place = (output.pin, output.index)
            if place in run.seen:
                continue
            run.seen[place] = None
            if not pure:
                run.outputs.append(output)
                self._tell_output(execution, output, provisional=True)
            elif not self._route_pure(execution, output):
                return
        if run.finish is None and report.finish is not None:
            run.finish = report.finish
            if len(run.seen) < run.finish.outputs:
                due = self._now + OUTPUTS_WAIT_MS
                set_timer(self.state, Timer(due, TimerKind.OUTPUTS, execution.number, execution.attempt, report.run))
        if run.finish is not None and len(run.seen) >= run.finish.outputs:
            self._conclude_run(execution, run, run.finish)

    def _conclude_run(self, execution: NodeExecution, run: Run, finish: Finish) -> None:
        """A run of which nothing is missing. All runs of a pure block must have yielded the same."""
        routed = sum(len(values) for values in execution.routed.values()) if execution.routed else 0
        if routed > len(run.seen) and not finish.failed:
            message = (
                f"two runs of the block gave different numbers of values, {routed} and {len(run.seen)}, though it is "
                "declared pure: declare its effect as idempotent or once"
            )
            self._fail(execution, Finish(True, 0, message, Reason.NONDETERMINISTIC))
        else:
            self._conclude(execution, run.outputs, finish)

    def _route_pure(self, execution: NodeExecution, output: Output) -> bool:
        """Passes an output of a pure block on at once; the first value for a pin and index wins. False if it fails."""
        if execution.routed is None:
            execution.routed = {}
        routed = execution.routed.setdefault(output.pin, {})
        check = zlib.crc32(output.value)
        known = routed.get(output.index)
        if known is None:
            routed[output.index] = check
            self._tell_output(execution, output)
            self._route(self.topology.places[execution.node], execution.number, execution.lineage, output)
        elif known != check:
            message = (
                f"two runs of the block gave different values on pin {output.pin}, index {output.index}, though it is "
                "declared pure: declare its effect as idempotent or once"
            )
            self._fail(execution, Finish(True, 0, message, Reason.NONDETERMINISTIC))
            return False
        return True

    def _mark_running(self, execution: NodeExecution, started_ms: int, run: int) -> None:
        execution.status = LiveStatus.RUNNING
        execution.started_ms = started_ms
        self._emit(Event(EventKind.NODE_STARTED, execution.number, execution.node, execution.attempt))
        self._watch(execution, run)

    def _watch(self, execution: NodeExecution, run: int) -> None:
        """From now on it is this run that must end in time: those before it were lost, or are slower."""
        due = self._now + self.topology.plan.nodes[execution.node].timeout_ms + BACKSTOP_SLACK_MS
        execution.latest_run = run
        execution.backstop_ms = due
        set_timer(self.state, Timer(due, TimerKind.BACKSTOP, execution.number, execution.attempt, run))

    # Ends of runs

    def _conclude(self, execution: NodeExecution, outputs: Sequence[Output], finish: Finish) -> None:
        """A run has ended, and all of its outputs are there."""
        if finish.failed and self._retry(execution, finish):
            return
        for output in outputs:
            self._tell_output(execution, output)
        place = self.topology.places[execution.node]
        if finish.failed:
            for output in outputs:
                self._route(place, execution.number, execution.lineage, output)
            self._fail(execution, finish)
            return
        self._emit(Event(EventKind.NODE_COMPLETED, execution.number, execution.node, execution.attempt))
        self._record(execution, NodeStatus.COMPLETED, finish)
        for output in outputs:
            self._route(place, execution.number, execution.lineage, output)
        self._retire(execution)

    def _fail(self, execution: NodeExecution, finish: Finish) -> None:
        """The outcome is a failure: its message goes to the error pin; unlinked, it counts."""
        place = self.topology.places[execution.node]
        message, reason = finish.error, finish.reason
        event = Event(
            EventKind.NODE_FAILED,
            execution.number,
            execution.node,
            execution.attempt,
            message=message,
            reason=reason,
        )
        self._emit(event)
        self._record(execution, NodeStatus.FAILED, finish)
        if LINKED_ERROR in place.outlets:
            error = Output(LINKED_ERROR, 0, msgspec.json.encode(message))
            self._route(place, execution.number, execution.lineage, error)
        elif not place.node.continue_on_error:
            self._end(ExecutionStatus.FAILED, f"node {place.node.id} failed: {message}")
        self._retire(execution)

    def _retry(self, execution: NodeExecution, finish: Finish) -> bool:
        policy = self.topology.plan.nodes[execution.node].retry
        if execution.attempt >= policy.max_attempts or finish.reason not in policy.reasons:
            return False
        pause = min(policy.max_ms, policy.initial_ms * policy.multiplier ** (execution.attempt - 1))
        # Half of the pause is jitter, drawn from the execution's seed: the same on every replay.
        draw = zlib.crc32(b"%d:%d:%d" % (self.state.seed, execution.number, execution.attempt)) / 2**32
        due = self._now + int(pause * (0.5 + 0.5 * draw))
        self._emit(
            Event(
                EventKind.NODE_RETRYING,
                execution.number,
                execution.node,
                execution.attempt,
                message=finish.error,
                reason=finish.reason,
                wake_ms=due,
            )
        )
        self._pause(execution, LiveStatus.RETRYING)
        execution.runs = None
        set_timer(self.state, Timer(due, TimerKind.RETRY, execution.number, execution.attempt))
        return True

    def _pause(self, execution: NodeExecution, status: LiveStatus) -> None:
        """It waits for a timer or a person; its runs, if any, are not wanted any more."""
        if execution.status in (LiveStatus.QUEUED, LiveStatus.RUNNING):
            self.state.busy -= 1
        execution.status = status
        self._effects.dropped.append(execution.number)

    def _next_attempt(self, execution: NodeExecution) -> None:
        execution.attempt += 1
        execution.claimed_run = 0
        execution.runs = None
        execution.started_ms = 0
        execution.latest_run = 0
        execution.backstop_ms = 0
        execution.status = LiveStatus.QUEUED
        self.state.busy += 1
        self._queue(execution)

    def _lose(self, fact: RunLost) -> None:
        execution = self.state.live.get(fact.number)
        if execution is None or execution.attempt != fact.attempt:
            return
        if execution.status not in (LiveStatus.QUEUED, LiveStatus.RUNNING):
            return
        self._give_up(execution, fact.message, fact.reason)

    def _give_up(self, execution: NodeExecution, message: str, reason: Reason) -> None:
        """A run is silent. If it must not be repeated, only a person knows; else it is a failure like others."""
        if self.topology.plan.nodes[execution.node].effect is Effect.ONCE and execution.claimed_run:
            self._pause(execution, LiveStatus.AMBIGUOUS)
            event = Event(
                EventKind.NODE_AMBIGUOUS, execution.number, execution.node, execution.attempt, message=message
            )
            self._emit(event)
            return
        finish = Finish(True, 0, message, reason)
        if not self._retry(execution, finish):
            self._fail(execution, finish)

    def _decide(self, fact: Decided) -> None:
        execution = self.state.live.get(fact.number)
        if execution is None or execution.status is not LiveStatus.AMBIGUOUS:
            return
        if fact.decision is Decision.RETRY:
            self._next_attempt(execution)
        elif fact.decision is Decision.COMPLETE:
            self._conclude(execution, fact.outputs, Finish(False, len(fact.outputs)))
        else:
            self._fail(execution, Finish(True, 0, fact.message, Reason.DECIDED))

    def _tick(self) -> None:
        timers = self.state.timers
        while timers and timers[0].due_ms <= self._now and not self.state.ending:
            self._fire(heapq.heappop(timers))

    def _fire(self, timer: Timer) -> None:
        if timer.kind is TimerKind.DURATION:
            limit = self.topology.plan.max_duration_ms
            self._end(ExecutionStatus.FAILED, f"limit reached: it ran for {limit / 1000:g} seconds")
            return
        if is_stale(self.state, timer):
            return
        execution = self.state.live[timer.number]
        if timer.kind is TimerKind.RETRY:
            self._next_attempt(execution)
        elif timer.kind is TimerKind.BACKSTOP:
            self._give_up(execution, "it ran far past its timeout, and its runner is silent", Reason.TIMEOUT)
        else:
            self._void(execution, timer.run)

    def _void(self, execution: NodeExecution, run: int) -> None:
        """A run ended, and outputs of it never came: it counts as lost, unless another run is still waited for."""
        runs = execution.runs or {}
        del runs[run]
        watched = execution.status is LiveStatus.RUNNING and execution.latest_run != run
        if not watched and not any(other.finish is not None for other in runs.values()):
            self._give_up(execution, "outputs of the run never came, though its end did", Reason.RUNNER_LOST)

    # Where values go

    def _route(self, place: Place, number: int, lineage: Lineage, output: Output) -> None:
        """Sends an output of a node execution over its links."""
        outlet = place.outlets.get(output.pin)
        if outlet is None:
            return
        if outlet.many:
            if len(lineage) >= MOST_NESTED:
                message = (
                    f"limit reached: {MOST_NESTED} fan-outs inside one another, the next was of node {place.node.id}"
                )
                self._end(ExecutionStatus.FAILED, message)
                return
            lineage = (*lineage, (number, output.index))
        for way in outlet.ways:
            token = Token(output.value, lineage)
            if way.cycle >= 0 and lineage:
                token = self._inside_cycle(token, way)
            sink = self.topology.places[way.sink]
            if sink.node.kind is NodeKind.COLLECT:
                self._gather(sink, way, token)
            else:
                for full in self._matcher.deliver(sink, way.pin, token):
                    self._begin(sink, full)
        self._run_native()

    def _inside_cycle(self, token: Token, way: Way) -> Token:
        """In a cycle, fan-outs that began outside it are not matched: a loop can carry a value from item to item."""
        places, fan_outs = self.topology.places, self.state.fan_outs
        inside = tuple(entry for entry in token.lineage if places[fan_outs[entry[0]]].cycle == way.cycle)
        if len(inside) == len(token.lineage):
            return token
        outside = tuple(entry for entry in token.lineage if places[fan_outs[entry[0]]].cycle != way.cycle)
        return Token(token.value, inside, outside)

    def _gather(self, place: Place, way: Way, token: Token) -> None:
        assert self._collector is not None
        lineage = strengthen(token.lineage, token.weak)
        key, indices = self._collector.scope_for(place.index, lineage)
        scope = self.state.scopes.get(key)
        if scope is None:
            if key[1] != WHOLE or place.index in self.state.closed:
                self._refuse_item(place)
                return
            scope = self._collector.open(place.index, WHOLE, (), self._now)
        self.state.orders += 1
        scope.items.append(Gathered(indices, way.order, self.state.orders, token.value))

    def _refuse_item(self, place: Place) -> None:
        """An item came for a collect that has run. On a cycle the graph waits for itself; else a count was wrong."""
        if place.cycle < 0:
            raise CollectClosed(f"{place.node.id} had run, and an item came")
        message = f"node {place.node.id} waits for what it gives itself: a Collect must not lie on a cycle of its items"
        self._end(ExecutionStatus.FAILED, message)

    def _run_native(self) -> None:
        """OUTPUT nodes whose sets are full. A queue, not recursion: they may be linked in a row."""
        if self._running_native:
            return
        self._running_native = True
        while self._native:
            place, full = self._native.popleft()
            if self._at_limit(place):
                break
            number = self._next_number()
            value = self._output_value(place, full)
            name = msgspec.json.decode(place.constants["name"], type=str)
            position = tuple(index for _, index in full.lineage)
            self._effects.outputs.append(OutputRecord(name, number, position, value))
            told = Event(EventKind.EXECUTION_OUTPUT, number, place.index, 1, pin=name, value=value)
            self._emit(told)
            outputs = [Output("output", 0, value), Output("name", 0, bytes(place.constants["name"]))]
            self._conclude_native(place, number, full, outputs, self._now, self.state.turn + 1)
        self._running_native = False

    def _output_value(self, place: Place, full: Full) -> bytes:
        for inlet, value in zip(place.inlets, full.values, strict=True):
            if inlet.name == "value" and value is not None:
                return value
        return bytes(place.constants.get("value", b"null"))

    def _conclude_native(
        self, place: Place, number: int, full: Full, outputs: Sequence[Output], queued_ms: int, first_turn: int
    ) -> None:
        """A node execution that the engine itself carried out, from beginning to end."""
        for output in outputs:
            told = Event(
                EventKind.NODE_OUTPUT, number, place.index, 1, pin=output.pin, index=output.index, value=output.value
            )
            self._emit(told)
        self._emit(Event(EventKind.NODE_COMPLETED, number, place.index, 1))
        self._effects.outcomes.append(
            NodeOutcome(
                number=number,
                node=place.index,
                status=NodeStatus.COMPLETED,
                attempts=1,
                lineage=full.lineage,
                values=full.values,
                queued_ms=queued_ms,
                started_ms=self._now,
                first_turn=first_turn,
            )
        )
        for output in outputs:
            self._route(place, number, full.lineage, output)

    # Ends

    def _retire(self, execution: NodeExecution) -> None:
        """Its outputs have been passed on: it is alive no more."""
        self.state.live.pop(execution.number, None)
        if execution.status in (LiveStatus.QUEUED, LiveStatus.RUNNING):
            self.state.busy -= 1
        self._effects.dropped.append(execution.number)
        if self._collector is not None:
            self._collector.leaves(execution)

    def _settle(self) -> None:
        """Closes the collects that can close, and the execution when nothing is alive."""
        if self.state.ending:
            return
        while self._collector is not None and self.state.scopes and not self.state.ending:
            scope = self._collector.next_closable()
            if scope is None:
                break
            self._close(scope)
        if not self.state.live and not self.state.scopes and not self.state.ending:
            self._end(ExecutionStatus.COMPLETED, "")

    def _close(self, scope: Scope) -> None:
        assert self._collector is not None
        del self.state.scopes[(scope.collect, scope.fan_out)]
        if scope.fan_out == WHOLE:
            self.state.closed.append(scope.collect)
        place = self.topology.places[scope.collect]
        if self._at_limit(place):
            return
        items = sorted(scope.items, key=lambda item: (item.indices, item.link, item.arrival))
        gathered = b"[" + b",".join(item.value for item in items) + b"]"
        outputs = [Output("items", 0, gathered), Output("count", 0, b"%d" % len(items))]
        full = Full(tuple(gathered for _ in place.inlets), scope.lineage)
        self._conclude_native(place, self._next_number(), full, outputs, scope.queued_ms, scope.first_turn)
        self._collector.closed(scope)

    def _end(self, status: ExecutionStatus, message: str) -> None:
        """Brings the execution to a terminal status; what is alive is ended in slices by _wind_up."""
        if not self.state.ending:
            self.state.ending = status
            self.state.message = message
            self._native.clear()

    def _wind_up(self) -> None:
        state = self.state
        for number in list(islice(state.live, SLICE)):
            execution = state.live.pop(number)
            claimed = self._may_have_run(execution)
            status = NodeStatus.AMBIGUOUS if claimed else NodeStatus.CANCELLED
            kind = EventKind.NODE_AMBIGUOUS if claimed else EventKind.NODE_CANCELLED
            self._emit(Event(kind, number, execution.node, execution.attempt))
            self._record(execution, status, Finish(True, 0))
            self._effects.dropped.append(number)
        if state.live:
            self._effects.more = True
            return
        status_now = ExecutionStatus(state.ending)
        ends = {
            ExecutionStatus.COMPLETED: EventKind.EXECUTION_COMPLETED,
            ExecutionStatus.FAILED: EventKind.EXECUTION_FAILED,
            ExecutionStatus.CANCELLED: EventKind.EXECUTION_CANCELLED,
        }
        state.status = status_now
        state.busy = 0
        self._effects.incomplete.extend(self._leftover())
        self._emit(Event(ends[status_now], message=state.message))
        for left in (state.sets, state.latches, state.scopes, state.timers, state.fan_outs, state.closed):
            left.clear()

    def _may_have_run(self, execution: NodeExecution) -> bool:
        """True if it must not run twice and a run of it was claimed whose end is not known."""
        once = self.topology.plan.nodes[execution.node].effect is Effect.ONCE
        return once and execution.claimed_run != 0 and execution.status is not LiveStatus.RETRYING

    def _leftover(self) -> list[NodeOutcome]:
        """Input sets that were never full, oldest first, at most SLICE of them."""
        left = [self.state.sets[order] for order in sorted(self.state.sets)[:SLICE]]
        return [
            NodeOutcome(
                number=waiting.order,
                node=waiting.node,
                status=NodeStatus.INCOMPLETE,
                attempts=0,
                lineage=strengthen(waiting.lineage, waiting.weak),
                values=tuple(waiting.values.get(pin) for pin in range(len(self.topology.places[waiting.node].inlets))),
                queued_ms=0,
                started_ms=0,
                first_turn=0,
            )
            for waiting in left
        ]

    def _note_waiting(self) -> None:
        """WAITING stands beside RUNNING while only timers and people are awaited."""
        waits = bool(self.state.live) and not self.state.busy
        if waits and self.state.status != ExecutionStatus.WAITING:
            self.state.status = ExecutionStatus.WAITING
            self._emit(Event(EventKind.EXECUTION_WAITING, wake_ms=self.wake_ms or 0))
        elif not waits and self.state.status == ExecutionStatus.WAITING:
            self.state.status = ExecutionStatus.RUNNING

    def _record(self, execution: NodeExecution, status: NodeStatus, finish: Finish) -> None:
        self._effects.outcomes.append(
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

    def _tell_output(self, execution: NodeExecution, output: Output, provisional: bool = False) -> None:
        self._emit(
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

    def _emit(self, event: Event) -> None:
        self._effects.events.append(event)


class CollectClosed(Exception):
    """An item came for a collect that had closed: the counts of its scope were wrong."""
