"""The timers of an execution: a heap whose first one always means something, and which stale ones cannot fill.

A timer is never taken out when what it was set for is over: that would cost a search. The first of the heap is dropped
while it is stale, so that nobody is woken for nothing, and the whole heap is swept when it has doubled.
"""

import heapq

from services.execution.engine.state import LiveStatus, State, Timer, TimerKind

SWEEP_FROM = 64
"""Timers that no sweep is worth."""


def set_timer(state: State, timer: Timer) -> None:
    """Adds a timer, and sweeps if the heap has doubled since the last sweep: a constant number of steps a timer."""
    heapq.heappush(state.timers, timer)
    if len(state.timers) > SWEEP_FROM + 2 * state.timers_kept:
        state.timers = [each for each in state.timers if not is_stale(state, each)]
        heapq.heapify(state.timers)
        state.timers_kept = len(state.timers)


def drop_stale(state: State) -> None:
    """Takes stale timers off the front, so that the first one is due for a reason."""
    timers = state.timers
    while timers and timers[0].number and is_stale(state, timers[0]):
        heapq.heappop(timers)


def is_stale(state: State, timer: Timer) -> bool:
    """True if nothing would happen when the timer fired, now or later."""
    if timer.kind is TimerKind.DURATION:
        return False
    execution = state.live.get(timer.number)
    if execution is None or execution.attempt != timer.attempt:
        return True
    if timer.kind is TimerKind.RETRY:
        return execution.status is not LiveStatus.RETRYING
    if timer.kind is TimerKind.BACKSTOP:
        return execution.status is not LiveStatus.RUNNING or execution.backstop_ms != timer.due_ms
    run = (execution.runs or {}).get(timer.run)
    return execution.status is LiveStatus.AMBIGUOUS or run is None or run.finish is None
