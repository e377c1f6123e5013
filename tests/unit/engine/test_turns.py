"""GUARANTEES, rule 10: what one turn tells and does is bounded, however much one fact or one moment brings."""

import msgspec
import pytest

from services.execution.engine import (
    Claimed,
    Continued,
    Decided,
    Decision,
    Effects,
    Finish,
    Machine,
    Output,
    Reported,
    RunLost,
    State,
    StopRequested,
    Ticked,
)
from services.execution.engine.effects import EventKind, ExecutionStatus, NodeStatus
from services.execution.engine.ends import SLICE
from services.execution.engine.machine import BOUNDS
from services.execution.engine.plan import Effect, Reason, Retry
from tests.unit.engine.simulation import PlanBuilder
from tests.unit.engine.test_bounds import Driven, items, nothing

MANY = 2 * BOUNDS.events
ONE_STEP = 10
"""Events of the last value that a turn passes on: a turn is full only after it."""


def fan_out_to(sink: str, effect: Effect = Effect.IDEMPOTENT, go_on: bool = False) -> Driven:
    """A node with many values, each of them for a task, a result or a collect."""
    builder = PlanBuilder()
    builder.node("fan", nothing, many=("item",), effect=effect, go_on=go_on)
    if sink == "task":
        builder.node("next", nothing)
        builder.link("fan.item", "next.value")
    elif sink == "result":
        builder.output("next")
        builder.link("fan.item", "next.value")
    else:
        builder.collect("next", of="fan")
        builder.link("fan.item", "next.item")
    return Driven(builder)


def outputs(count: int) -> tuple[Output, ...]:
    return tuple(Output(*item) for item in items(count))


def ended(count: int, *given: Output, failed: bool = False) -> Reported:
    error = ("broken", Reason.BLOCK_ERROR) if failed else ("", Reason.NONE)
    return Reported(1, 1, 5, given, Finish(failed, count, *error), 1_000)


def told(turns: list[Effects]) -> list[int]:
    """Indices of the values that the node under test was told to have yielded."""
    events = [event for turn in turns for event in turn.events if event.number == 1]
    return [event.index for event in events if event.kind is EventKind.NODE_OUTPUT and not event.provisional]


def outcomes(turns: list[Effects]) -> list[tuple[NodeStatus, Reason]]:
    """Those of the node under test."""
    return [(outcome.status, outcome.reason) for turn in turns for outcome in turn.outcomes if outcome.number == 1]


def assert_bounded(turns: list[Effects]) -> None:
    for turn in turns:
        assert len(turn.events) <= BOUNDS.events + ONE_STEP
        assert len(turn.outcomes) + len(turn.outputs) + len(turn.queued) <= BOUNDS.events


# One run with very many values


@pytest.mark.parametrize("sink", ["task", "result", "collect"])
@pytest.mark.parametrize("effect", [Effect.PURE, Effect.IDEMPOTENT])
def test_a_run_with_very_many_values_is_passed_on_in_bounded_turns(sink: str, effect: Effect) -> None:
    driven = fan_out_to(sink, effect)

    turns = [driven.turn(ended(MANY, *outputs(MANY))), *driven.go_on()]

    assert len(turns) > 2
    assert_bounded(turns)
    assert told(turns) == list(range(MANY))
    assert outcomes(turns) == [(NodeStatus.COMPLETED, Reason.NONE)]
    if sink == "task":
        values = [execution.values for turn in turns for execution in turn.queued]
        assert values == [(output.value,) for output in outputs(MANY)]
    else:
        assert driven.machine.state.status == ExecutionStatus.COMPLETED


def test_values_that_came_before_the_end_are_passed_on_in_bounded_turns_too() -> None:
    driven = fan_out_to("result")
    given = outputs(MANY)
    for at in range(0, MANY, 500):
        driven.turn(Reported(1, 1, 5, given[at : at + 500], None, 1_000))

    turns = [driven.turn(ended(MANY)), *driven.go_on()]

    assert_bounded(turns)
    assert told(turns) == list(range(MANY))
    assert sum(len(turn.outputs) for turn in turns) == MANY


def test_large_values_fill_a_turn_by_their_bytes() -> None:
    driven = fan_out_to("result")
    value = b'"' + b"x" * 100_000 + b'"'

    turns = [driven.turn(ended(50, *(Output("item", at, value) for at in range(50)))), *driven.go_on()]

    # The value that fills the turn is told three times: of its node, as a result, and of the node that made it one.
    most = BOUNDS.bytes + 3 * len(value)
    assert max(sum(len(event.value) for event in turn.events) for turn in turns) <= most
    assert told(turns) == list(range(50))


def test_many_ends_in_one_turn_share_its_room() -> None:
    builder = PlanBuilder()
    for at in range(40):
        builder.node(f"fan{at}", nothing, many=("item",))
        builder.node(f"next{at}", nothing)
        builder.link(f"fan{at}.item", f"next{at}.value")
    driven = Driven(builder)
    given = outputs(BOUNDS.at_once)

    first = driven.turn(*(Reported(number, 1, 5, given, Finish(False, len(given)), 1) for number in range(1, 41)))

    turns = [first, *driven.go_on()]
    assert max(len(turn.events) for turn in turns) <= BOUNDS.events + 2 * BOUNDS.at_once
    assert sum(len(turn.queued) for turn in turns) == 40 * BOUNDS.at_once


@pytest.mark.parametrize("given", [(), (Output("value", 0, b"1"),)], ids=["nothing", "a value"])
def test_many_ends_of_runs_with_a_large_input_share_the_room_of_a_turn(given: tuple[Output, ...]) -> None:
    """Each outcome repeats the inputs of its run: of a static value that all of them had, there are as many."""
    builder = PlanBuilder()
    for name, many in (("text", ()), ("fan", ("item",)), ("each", ())):
        builder.node(name, nothing, many=many)
    builder.link("text.value", "each.text", static=True)
    builder.link("fan.item", "each.item")
    driven = Driven(builder)
    size, count = 200 << 10, 100
    driven.end("text", ("value", 0, b"1" * size))
    driven.end("fan", *items(count))
    ends = [Reported(number, 1, 1, given, Finish(False, len(given))) for number in driven.waiting["each"]]

    turns = [driven.turn(*ends), *driven.go_on()]

    recorded = [sum(len(value or b"") for each in turn.outcomes for value in each.values) for turn in turns]
    assert max(recorded) < BOUNDS.recorded + 2 * size
    assert sum(len(turn.outcomes) for turn in turns) == count
    assert driven.machine.state.status is ExecutionStatus.COMPLETED


def test_many_ends_of_runs_with_a_large_constant_share_the_room_of_a_turn() -> None:
    """It is stored with each outcome as what came over links is."""
    builder = PlanBuilder()
    builder.node("fan", nothing, many=("item",))
    builder.node("each", nothing, text="x" * (200 << 10))
    builder.link("fan.item", "each.item")
    driven = Driven(builder)
    driven.end("fan", *items(100))
    ends = [Reported(number, 1, 1, (), Finish(False, 0)) for number in driven.waiting["each"]]

    turns = [driven.turn(*ends), *driven.go_on()]

    assert max(stored(driven, turn) for turn in turns) < BOUNDS.recorded + (400 << 10)
    assert sum(len(turn.outcomes) for turn in turns) == 100
    assert driven.machine.state.status is ExecutionStatus.COMPLETED


def stored(driven: Driven, turn: Effects) -> int:
    """Bytes of all inputs in the rows of a turn."""
    rows = (*turn.outcomes, *turn.incomplete)
    return sum(len(driven.topology.inputs(each.node, each.values)) for each in rows)


@pytest.mark.parametrize("effect", [Effect.PURE, Effect.IDEMPOTENT])
def test_what_a_run_streams_fills_turns_by_its_bytes(effect: Effect) -> None:
    """However much of it comes at once, in one report or in several; and however often it is told."""
    builder = PlanBuilder()
    builder.node("fan", nothing, many=("item",), effect=effect)
    for name in ("one", "two", "three"):
        builder.output(name)
        builder.link("fan.item", f"{name}.value")
    driven = Driven(builder)
    size, count = 100 << 10, 60
    values = tuple(Output("item", index, b"%d" % index * (size // 2)) for index in range(count))
    reports = [Reported(1, 1, 5, values[at : at + 20], None, 1_000) for at in (0, 20, 40)]

    turns = [driven.turn(*reports, Reported(1, 1, 5, (), Finish(False, count), 1_000)), *driven.go_on()]

    in_bytes = [sum(len(event.value) for event in turn.events) for turn in turns]
    assert max(in_bytes) < BOUNDS.bytes + 8 * 2 * size
    assert told(turns) == list(range(count))
    assert driven.machine.state.status is ExecutionStatus.COMPLETED


def test_a_stop_comes_after_the_end_of_a_run_that_waits_for_a_turn() -> None:
    """What must not run twice has ended, and was heard of before the stop: it is not left AMBIGUOUS."""
    builder = PlanBuilder()
    builder.node("fan", nothing, many=("item",), effect=Effect.PURE)
    builder.node("pay", nothing, effect=Effect.ONCE)
    builder.output("out")
    builder.link("fan.item", "out.value")
    driven = Driven(builder)
    driven.turn(Claimed(2, 1, 7))
    values = tuple(Output("item", index, b"1" * (100 << 10)) for index in range(60))
    told_before = (Reported(1, 1, 5, values, None, 1_000), Reported(2, 1, 7, (), Finish(False, 0), 1_000))

    turns = [driven.turn(*told_before, StopRequested(1)), *driven.go_on()]

    statuses = {outcome.number: outcome.status for turn in turns for outcome in turn.outcomes if outcome.number < 3}
    assert statuses == {1: NodeStatus.CANCELLED, 2: NodeStatus.COMPLETED}
    assert driven.machine.state.status is ExecutionStatus.CANCELLED


def stop_that_waits() -> Driven:
    """A stop that waits for what was said before it, while a node that must not run twice has not begun."""
    builder = PlanBuilder()
    builder.node("fan", nothing, many=("item",), effect=Effect.PURE)
    builder.node("pay", nothing, effect=Effect.ONCE)
    builder.output("out")
    builder.link("fan.item", "out.value")
    driven = Driven(builder)
    values = tuple(Output("item", index, b"1" * (100 << 10)) for index in range(60))
    driven.turn(Reported(1, 1, 5, values, None, 1_000), StopRequested(1))
    assert StopRequested(1) in driven.machine.state.later
    return driven


def test_nothing_is_claimed_after_a_stop_that_waits_for_a_turn() -> None:
    driven = stop_that_waits()

    turns = [driven.turn(Claimed(2, 1, 7))]
    assert not driven.machine.state.live[2].claimed_run
    turns += driven.go_on()

    assert (2, NodeStatus.CANCELLED) in [(each.number, each.status) for turn in turns for each in turn.outcomes]
    assert driven.machine.state.status is ExecutionStatus.CANCELLED


@pytest.mark.parametrize(("attempt", "claimed"), [(1, 0), (2, 7)])
def test_an_attempt_is_not_claimed_after_its_loss_that_waits_for_a_turn(attempt: int, claimed: int) -> None:
    """The loss of another attempt says nothing about this one."""
    builder = PlanBuilder()
    builder.node("fan", nothing, many=("item",), effect=Effect.PURE)
    builder.node("pay", nothing, effect=Effect.ONCE, retry=Retry(max_attempts=2))
    builder.output("out")
    builder.link("fan.item", "out.value")
    driven = Driven(builder)
    values = tuple(Output("item", index, b"1" * (100 << 10)) for index in range(60))
    if attempt == 2:
        driven.turn(RunLost(2, 1, "its task was lost"))
        driven.now += 24 * 3_600
        driven.turn(Ticked())
    driven.turn(Reported(1, 1, 5, values, None, 1_000), RunLost(2, 1, "its task was lost"))
    assert driven.machine.state.live[2].attempt == attempt

    driven.turn(Claimed(2, attempt, 7))

    assert driven.machine.state.later
    assert driven.machine.state.live[2].claimed_run == claimed


def test_a_run_is_not_lost_while_what_it_has_said_waits_for_a_turn() -> None:
    driven = fan_out_to("result", Effect.PURE)
    values = tuple(Output("item", index, b"1" * (100 << 10)) for index in range(60))

    driven.turn(Reported(1, 1, 5, values[:40]), Reported(1, 1, 5, values[40:], Finish(False, len(values)), 1_000))
    assert driven.machine.state.later
    driven.turn(RunLost(1, 1, "its runner is silent"))
    driven.go_on()

    assert driven.machine.state.status is ExecutionStatus.COMPLETED


def test_a_run_of_a_usual_size_is_passed_on_in_one_turn() -> None:
    driven = fan_out_to("task")

    effects = driven.turn(ended(BOUNDS.at_once, *outputs(BOUNDS.at_once)))

    assert not effects.more
    assert len(effects.queued) == BOUNDS.at_once


# While it is being passed on


def begun(effect: Effect = Effect.IDEMPOTENT, failed: bool = False) -> tuple[Driven, list[Effects]]:
    """A run that has ended with so many values that the first turns have passed some of them on."""
    driven = fan_out_to("task", effect, go_on=failed)
    if effect is Effect.ONCE:
        driven.turn(Claimed(1, 1, 5))
    turns = [driven.turn(ended(MANY, *outputs(MANY), failed=failed)), driven.turn(Continued())]
    assert turns[-1].more
    return driven, turns


def test_nothing_more_is_wanted_of_a_run_whose_values_are_being_passed_on() -> None:
    driven, turns = begun()

    assert not driven.machine.wants(ended(MANY, *outputs(MANY)))
    assert [turn.dropped for turn in turns] == [[1], []]
    late = (RunLost(1, 1, "silent"), Decided(1, 1, Decision.FAIL), Claimed(1, 1, 6), Ticked())
    turns += [driven.turn(*late, ended(1, *outputs(1))), *driven.go_on()]

    assert told(turns) == list(range(MANY))
    assert outcomes(turns) == [(NodeStatus.COMPLETED, Reason.NONE)]


def test_a_machine_that_is_loaded_in_between_goes_on_by_itself() -> None:
    driven, turns = begun()
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(driven.machine.state), type=State)
    driven.machine = Machine(driven.topology, stored)

    wake_ms = driven.machine.wake_ms
    assert wake_ms is not None
    assert wake_ms <= driven.now
    turns += [driven.turn(Ticked()), *driven.go_on()]

    assert told(turns) == list(range(MANY))
    assert driven.machine.wake_ms != wake_ms


def test_timers_of_a_run_whose_values_are_being_passed_on_mean_nothing_any_more() -> None:
    """Its backstop, and the wait for outputs of another run: after an outage both are overdue."""
    driven = fan_out_to("task")
    driven.turn(Reported(1, 1, 6, (), Finish(False, 3), 1_000))
    given = outputs(MANY)
    for at in range(0, MANY, 5_000):
        driven.turn(Reported(1, 1, 5, given[at : at + 5_000], None, 1_000))

    driven.now += 24 * 3_600_000
    turns = [driven.turn(ended(MANY), Ticked()), *driven.go_on()]

    assert told(turns) == list(range(MANY))
    assert outcomes(turns) == [(NodeStatus.COMPLETED, Reason.NONE)]


def test_a_stop_in_the_turn_of_the_end_comes_after_it() -> None:
    driven = fan_out_to("task")

    turns = [driven.turn(ended(MANY, *outputs(MANY)), StopRequested(1)), *driven.go_on()]

    assert told(turns) == list(range(MANY))
    assert outcomes(turns) == [(NodeStatus.COMPLETED, Reason.NONE)]
    assert driven.machine.state.numbers == 1


def test_a_stop_after_the_last_value_finds_the_execution_completed() -> None:
    driven = fan_out_to("result")
    driven.turn(ended(MANY, *outputs(MANY)))
    what_one_turn_takes = BOUNDS.events // 5
    while len(driven.machine.state.passing[1].outputs) > what_one_turn_takes:
        driven.turn(Continued())

    driven.turn(StopRequested(1))

    assert driven.machine.state.status == ExecutionStatus.COMPLETED


@pytest.mark.parametrize("effect", [Effect.IDEMPOTENT, Effect.ONCE])
def test_a_stop_finds_the_run_ended_and_lets_nothing_further_begin(effect: Effect) -> None:
    driven, turns = begun(effect)
    before = driven.machine.state.numbers

    turns += [driven.turn(StopRequested(1)), *driven.go_on()]

    assert_bounded(turns)
    assert told(turns) == list(range(MANY))
    assert outcomes(turns) == [(NodeStatus.COMPLETED, Reason.NONE)]
    assert driven.machine.state.status == ExecutionStatus.CANCELLED
    begun_before_the_stop_of_its_turn = BOUNDS.events // 2 + 1
    assert driven.machine.state.numbers <= before + begun_before_the_stop_of_its_turn


def test_after_a_stop_values_meet_no_others() -> None:
    builder = PlanBuilder()
    builder.node("fan", nothing, many=("item",))
    builder.node("slow", nothing)
    builder.node("join", nothing)
    builder.link("fan.item", "join.a")
    builder.link("slow.value", "join.b")
    driven = Driven(builder)
    driven.turn(ended(MANY, *outputs(MANY)), StopRequested(1))

    turns = driven.go_on()

    assert told(turns) == list(range(MANY))
    assert turns[-1].incomplete == []


def test_values_of_a_run_that_failed_are_passed_on_before_its_failure() -> None:
    driven, turns = begun(failed=True)

    turns += driven.go_on()

    assert told(turns) == list(range(MANY))
    assert outcomes(turns) == [(NodeStatus.FAILED, Reason.BLOCK_ERROR)]
    assert sum(len(turn.queued) for turn in turns) == MANY
    assert turns[-1].events[-1].kind is EventKind.NODE_FAILED


def test_a_person_may_say_what_a_run_with_very_many_values_came_to() -> None:
    driven = fan_out_to("task", Effect.ONCE)
    driven.turn(Claimed(1, 1, 5), RunLost(1, 1, "silent"))
    assert driven.machine.state.status == ExecutionStatus.WAITING

    first = driven.turn(Decided(1, 1, Decision.COMPLETE, outputs(MANY)))
    assert driven.machine.state.busy == 1
    turns = [first, *driven.go_on()]

    assert_bounded(turns)
    assert told(turns) == list(range(MANY))
    assert driven.machine.state.status == ExecutionStatus.RUNNING


# Moments that bring much


def test_very_many_retries_that_are_due_at_once_begin_in_bounded_turns() -> None:
    builder = PlanBuilder()
    builder.node("fan", nothing, many=("item",))
    builder.node("work", nothing, retry=Retry(max_attempts=2, initial_ms=1, max_ms=1))
    builder.link("fan.item", "work.value")
    driven = Driven(builder)
    driven.end("fan", *items(MANY))
    broken = Finish(True, 0, "broken", Reason.BLOCK_ERROR)
    driven.apply(*(Reported(number, 1, 5, (), broken, 1) for number in driven.waiting["work"]))

    driven.now += 1_000
    turns = [driven.turn(Ticked()) for _ in range(3)]

    assert_bounded(turns)
    assert sum(len(turn.queued) for turn in turns) == MANY
    assert driven.machine.wake_ms is not None
    assert driven.machine.wake_ms > driven.now


def collects_waiting(count: int) -> tuple[Driven, int]:
    """Inner fan-outs whose collects are held open by one slow node alone; and that node's number."""
    builder = PlanBuilder()
    for name, many in (("outer", ("item",)), ("inner", ("item",)), ("slow", ()), ("join", ())):
        builder.node(name, nothing, many=many)
    builder.collect("rows", of="inner")
    builder.link("outer.item", "inner.value")
    builder.link("inner.item", "join.a")
    builder.link("slow.value", "join.b")
    builder.link("join.value", "rows.item")
    driven = Driven(builder)
    driven.end("outer", *items(count))
    for _ in range(count):
        driven.end("inner", *items(1))
    assert len(driven.machine.state.scopes) == count
    return driven, driven.waiting["slow"][0]


@pytest.mark.parametrize("reload", [False, True])
def test_very_many_collects_that_can_close_at_once_do_so_in_bounded_turns(reload: bool) -> None:
    driven, slow = collects_waiting(BOUNDS.events // 2)
    turns = [driven.turn(Reported(slow, 1, 5, (), Finish(False, 0), 1))]
    assert turns[0].more
    if reload:
        stored = msgspec.msgpack.decode(msgspec.msgpack.encode(driven.machine.state), type=State)
        driven.machine = Machine(driven.topology, stored)
        assert driven.machine.wake_ms == 1
    turns += driven.go_on()

    assert_bounded(turns)
    assert driven.machine.state.status == ExecutionStatus.COMPLETED


def test_a_stop_amid_very_many_closings_ends_the_execution_and_leaves_nothing_over() -> None:
    driven, slow = collects_waiting(BOUNDS.events)
    assert driven.turn(Reported(slow, 1, 5, (), Finish(False, 0), 1)).more

    turns = [driven.turn(StopRequested(1)), *driven.go_on()]

    assert len(turns[0].events) > BOUNDS.events
    assert driven.machine.state.status == ExecutionStatus.CANCELLED
    assert not driven.machine.state.more


# At the end


def sets_left(count: int, value: bytes = b"1") -> tuple[Driven, list[Effects]]:
    """An execution that has nothing more to do, with so many sets that will never be full; and its first turn then."""
    builder = PlanBuilder()
    for name, many in (("fan", ("item",)), ("other", ()), ("join", ())):
        builder.node(name, nothing, many=many)
    builder.link("fan.item", "join.a")
    builder.link("other.value", "join.b")
    driven = Driven(builder)
    driven.end("fan", *(("item", index, value) for index in range(count)))
    return driven, [driven.turn(Reported(driven.waiting["other"][0], 1, 5, (), Finish(False, 0), 1_000))]


def left(turns: list[Effects]) -> list[int]:
    """The items of sets that were recorded as never full."""
    return [each.lineage[0][1] for turn in turns for each in turn.incomplete]


@pytest.mark.parametrize("reload", [False, True])
def test_all_sets_that_were_never_full_are_recorded_in_bounded_turns_and_then_the_end(reload: bool) -> None:
    count = 100 * SLICE
    driven, turns = sets_left(count)

    while turns[-1].more:
        if reload and len(turns) % 20 == 0:
            stored_state = msgspec.msgpack.decode(msgspec.msgpack.encode(driven.machine.state), type=State)
            driven.machine = Machine(driven.topology, stored_state)
            assert driven.machine.wake_ms == 1
        turns.append(driven.turn(Continued()))

    assert left(turns) == list(range(count))
    assert max(len(turn.incomplete) for turn in turns) == SLICE
    assert [event.kind for turn in turns[1:] for event in turn.events] == [EventKind.EXECUTION_COMPLETED]
    assert turns[-1].events


def test_large_sets_that_were_never_full_fill_turns_by_their_bytes() -> None:
    size = 200 << 10
    driven, turns = sets_left(200, b"1" * size)

    turns += driven.go_on()

    assert max(stored(driven, turn) for turn in turns) < BOUNDS.recorded + 2 * size
    assert left(turns) == list(range(200))


def test_nothing_becomes_of_an_execution_but_its_end_while_its_sets_are_recorded() -> None:
    driven, turns = sets_left(4 * SLICE)
    driven.now += 365 * 24 * 3_600_000
    late = (StopRequested(1), Ticked(), RunLost(1, 1, "silent"), Claimed(2, 1, 6), Decided(1, 1, Decision.FAIL))

    while turns[-1].more:
        assert not driven.machine.ended
        assert driven.machine.state.status is ExecutionStatus.RUNNING
        assert driven.machine.state.ending is ExecutionStatus.COMPLETED
        assert len(driven.machine.state.sets) == 4 * SLICE, "they can be seen until they are read from rows"
        assert not driven.machine.wants(ended(1, *outputs(1)))
        turns.append(driven.turn(*late, ended(1, *outputs(1))))

    assert left(turns) == list(range(4 * SLICE))
    assert driven.machine.state.status is ExecutionStatus.COMPLETED
    assert driven.machine.state.sets == {}
