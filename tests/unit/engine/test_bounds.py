"""What must stay bounded: steps for each node execution, timers, the depth of calls; and what ends in place of hanging.

Nothing is timed: calls of functions are counted, which is the same on every machine.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from services.execution.engine import (
    Continued,
    Effects,
    Fact,
    Finish,
    Machine,
    Output,
    Reported,
    Started,
    State,
    Ticked,
    Topology,
)
from services.execution.engine.effects import ExecutionStatus
from services.execution.engine.lineage import AgreementIndex
from services.execution.engine.plan import Effect, Retry
from services.execution.engine.state import TimerKind
from services.execution.engine.timers import SWEEP_FROM
from tests.unit.engine.simulation import Faults, PlanBuilder, Simulation

Pairs = Iterator[tuple[str, Any]]


def nothing(inputs: dict[str, Any], attempt: int) -> Pairs:
    return iter(())


def calls_of(work: Callable[[], object]) -> int:
    """How many functions, built-in ones too, were called."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def assert_level(work: Callable[[int], Callable[[], object]], small: int = 200) -> None:
    """Four times as much takes about four times as many steps."""
    few, many = calls_of(work(small)), calls_of(work(4 * small))
    assert many < 5.5 * few, f"{few} calls for {small}, {many} for {4 * small}"


class Driven:
    """A machine that is fed by hand: node executions are found by the name of their node, oldest first."""

    def __init__(self, builder: PlanBuilder) -> None:
        self.topology = Topology(builder.plan())
        self.machine = Machine(self.topology, State(seed=1))
        self.waiting: dict[str, list[int]] = {}
        self.now = 1_000
        self.apply(Started({}))

    def apply(self, *facts: Fact) -> Effects:
        """One turn with these facts, and those that it asks for."""
        self.now += 1
        effects = self.turn(*facts)
        if effects.more:
            self.go_on()
        return effects

    def turn(self, *facts: Fact) -> Effects:
        """One turn."""
        effects = self.machine.apply(facts, self.now)
        for execution in effects.queued:
            self.waiting.setdefault(self.topology.plan.nodes[execution.node].id, []).append(execution.number)
        return effects

    def go_on(self) -> list[Effects]:
        """The turns that finish what the last one left over."""
        turns = [self.turn(Continued())]
        while turns[-1].more:
            turns.append(self.turn(Continued()))
        return turns

    def end(self, node: str, *outputs: tuple[str, int, bytes], streamed: bool = False) -> Effects:
        """The oldest execution of the node ends with these outputs; streamed, it first tells that it runs."""
        number = self.waiting[node].pop(0)
        if streamed:
            self.apply(Reported(number, 1, number, (), None, self.now))
        given = tuple(Output(*output) for output in outputs)
        return self.apply(Reported(number, 1, number, given, Finish(False, len(given)), self.now))


def items(count: int) -> list[tuple[str, int, bytes]]:
    return [("item", index, b"%d" % index) for index in range(count)]


# Steps


def held_open(count: int) -> Callable[[], object]:
    """Inner fan-outs, each held open by a set that waits for a slow value, while a loop goes round elsewhere."""
    builder = PlanBuilder()
    for name, many in (("outer", ("item",)), ("inner", ("item",)), ("slow", ()), ("join", ()), ("loop", ())):
        builder.node(name, nothing, many=many)
    builder.collect("rows", of="inner")
    builder.link("outer.item", "inner.value")
    builder.link("inner.item", "join.a")
    builder.link("slow.value", "join.b")
    builder.link("join.value", "rows.item")
    builder.link("loop.value", "loop.value")
    builder.node("begin", nothing)
    builder.link("begin.value", "loop.value")
    driven = Driven(builder)
    driven.end("begin", ("value", 0, b"0"))
    driven.end("outer", *items(count))
    for _ in range(count):
        driven.end("inner", *items(1))
    assert len(driven.machine.state.scopes) == count

    def work() -> None:
        for _ in range(count):
            driven.end("loop", ("value", 0, b"0"))

    return work


def leftover_sets(count: int) -> Callable[[], object]:
    """Inner fan-outs that close one after another, each leaving sets that can never be full."""
    builder = PlanBuilder()
    for name, many in (("outer", ("item",)), ("inner", ("item",)), ("filter", ()), ("join", ())):
        builder.node(name, nothing, many=many)
    builder.collect("rows", of="inner")
    builder.link("outer.item", "inner.value")
    builder.link("inner.item", "join.a")
    builder.link("inner.item", "filter.value")
    builder.link("filter.value", "join.b")
    builder.link("join.value", "rows.item")
    driven = Driven(builder)
    driven.end("outer", *items(count))

    def work() -> None:
        for _ in range(count):
            driven.end("inner", *items(2))
            driven.end("filter")
            driven.end("filter")
        assert driven.machine.ended

    return work


def static_values(count: int) -> Callable[[], object]:
    """A static value that comes again and again, while sets wait for another pin."""
    builder = PlanBuilder()
    for name, many in (("fan", ("item",)), ("often", ("item",)), ("slow", ()), ("join", ())):
        builder.node(name, nothing, many=many)
    builder.node("store", nothing)
    builder.link("often.item", "store.value")
    builder.link("fan.item", "join.a")
    builder.link("slow.value", "join.b")
    builder.link("store.value", "join.c", static=True)
    driven = Driven(builder)
    driven.end("fan", *items(count))
    driven.end("often", *items(count))

    def work() -> None:
        for _ in range(count):
            driven.end("store", ("value", 0, b"1"))

    return work


def joined_branches(count: int) -> Callable[[], object]:
    """Two branches of one fan-out that come in opposite orders: all sets wait at once."""
    builder = PlanBuilder()
    for name, many in (("fan", ("item",)), ("left", ()), ("right", ()), ("join", ())):
        builder.node(name, nothing, many=many)
    builder.collect("all", of="fan")
    builder.link("fan.item", "left.value")
    builder.link("fan.item", "right.value")
    builder.link("left.value", "join.a")
    builder.link("right.value", "join.b")
    builder.link("join.value", "all.item")
    driven = Driven(builder)
    driven.end("fan", *items(count))

    def work() -> None:
        for _ in range(count):
            driven.end("left", ("value", 0, b"1"))
        driven.waiting["right"].reverse()
        for _ in range(count):
            driven.end("right", ("value", 0, b"1"))
        for _ in range(count):
            driven.end("join", ("value", 0, b"1"))
        assert driven.machine.ended

    return work


def joined_fan_outs(count: int) -> Callable[[], object]:
    """Two fan-outs that know nothing of each other, joined with a branch of the second that comes the other way round:
    some of the sets that wait are of both, some of one, and the oldest of them is hardly ever the one."""
    builder = PlanBuilder()
    for name, many in (("one", ("item",)), ("two", ("item",)), ("left", ()), ("right", ()), ("join", ())):
        builder.node(name, nothing, many=many)
    builder.collect("all", of="two")
    builder.link("one.item", "join.a")
    builder.link("two.item", "left.value")
    builder.link("two.item", "right.value")
    builder.link("left.value", "join.b")
    builder.link("right.value", "join.c")
    builder.link("join.value", "all.item")
    driven = Driven(builder)
    driven.end("one", *items(count))
    driven.end("two", *items(count))
    driven.waiting["right"].reverse()

    def work() -> None:
        for _ in range(count):
            driven.end("left", ("value", 0, b"1"))
            driven.end("right", ("value", 0, b"1"))
        for _ in range(count):
            driven.end("join", ("value", 0, b"1"))
        assert driven.machine.ended

    return work


def all_closing_at_once(count: int) -> Callable[[], object]:
    """Very many collects that the end of one slow node lets close."""
    work_before = held_open(count)
    driven: Driven = work_before.__closure__[1].cell_contents  # type: ignore[index] # a closure over (count, driven)
    return lambda: driven.end("slow")


def wide_plan(count: int) -> Callable[[], object]:
    """A plan of very many nodes in a row, read."""
    builder = PlanBuilder()
    builder.node("node0", nothing)
    for at in range(1, count):
        builder.node(f"node{at}", nothing)
        builder.link(f"node{at - 1}.value", f"node{at}.value")
    plan = builder.plan()
    return lambda: Topology(plan)


@pytest.mark.parametrize(
    "work",
    [held_open, leftover_sets, static_values, joined_branches, joined_fan_outs, all_closing_at_once, wide_plan],
)
def test_the_steps_for_a_node_execution_do_not_grow_with_what_waits(
    work: Callable[[int], Callable[[], object]],
) -> None:
    assert_level(work)


# Timers


def test_a_long_loop_of_streamed_nodes_leaves_few_timers() -> None:
    builder = PlanBuilder()
    builder.node("begin", nothing)
    builder.node("loop", nothing)
    builder.link("begin.value", "loop.value")
    builder.link("loop.value", "loop.value")
    driven = Driven(builder)
    driven.end("begin", ("value", 0, b"0"))

    for _ in range(2_000):
        driven.end("loop", ("value", 0, b"0"), streamed=True)

    assert len(driven.machine.state.timers) == 1


def test_short_nodes_beside_a_long_one_leave_few_timers() -> None:
    builder = PlanBuilder()
    builder.node("fan", nothing, many=("item",))
    builder.node("long", nothing)
    builder.node("short", nothing)
    builder.link("fan.item", "short.value")
    driven = Driven(builder)
    driven.apply(Reported(2, 1, 1, (), None, 1))
    driven.end("fan", *items(2_000))

    for _ in range(2_000):
        driven.end("short", streamed=True)

    assert len(driven.machine.state.timers) <= SWEEP_FROM + 2 * 2
    assert driven.machine.wake_ms == driven.machine.state.live[2].backstop_ms


def test_an_end_that_is_repeated_sets_one_timer() -> None:
    driven = one_node()

    for _ in range(10):
        driven.apply(Reported(1, 1, 5, (), Finish(False, 3), 1))

    assert [timer.kind for timer in driven.machine.state.timers].count(TimerKind.OUTPUTS) == 1


def one_node() -> Driven:
    builder = PlanBuilder()
    builder.node("work", nothing, effect=Effect.IDEMPOTENT, retry=Retry(max_attempts=3))
    return Driven(builder)


def test_the_backstop_judges_the_latest_run_alone() -> None:
    driven = one_node()
    driven.apply(Reported(1, 1, 5, (), None, 1))
    first = driven.machine.state.live[1].backstop_ms
    driven.now += 10_000
    driven.apply(Reported(1, 1, 6, (), None, 1))

    driven.now = first
    assert not driven.apply(Ticked()).events

    assert driven.machine.wake_ms == driven.machine.state.live[1].backstop_ms
    driven.now = driven.machine.wake_ms or 0
    driven.apply(Ticked())
    assert driven.machine.state.live[1].attempt == 1
    assert driven.machine.state.status == ExecutionStatus.WAITING


def test_two_runs_that_speak_in_turn_put_the_backstop_off_once() -> None:
    driven = one_node()
    driven.apply(Reported(1, 1, 5, (), None, 1), Reported(1, 1, 6, (), None, 1))
    backstop_ms = driven.machine.state.live[1].backstop_ms

    for _ in range(50):
        for run in (5, 6):
            driven.apply(Reported(1, 1, run, (), None, 1))

    assert driven.machine.state.live[1].backstop_ms == backstop_ms
    assert driven.machine.state.live[1].latest_run == 6
    assert [timer.run for timer in driven.machine.state.timers if timer.kind is TimerKind.BACKSTOP][-1:] == [6]
    assert len(driven.machine.state.timers) <= 3


# Depth


def test_outputs_in_a_long_row_are_no_recursion() -> None:
    builder = PlanBuilder()
    builder.node("begin", nothing)
    before = "begin.value"
    for at in range(1_500):
        builder.link(before, f"{builder.output(f'out{at}')}.value")
        before = f"out{at}.output"
    driven = Driven(builder)

    driven.end("begin", ("value", 0, b"7"))

    assert driven.machine.state.status == ExecutionStatus.COMPLETED
    assert driven.machine.state.numbers == 1_501


def test_an_output_on_a_cycle_with_itself_comes_to_the_limit() -> None:
    builder = PlanBuilder(max_node_executions=500)
    builder.node("begin", nothing)
    builder.output("out")
    builder.link("begin.value", "out.value")
    builder.link("out.output", "out.value")
    driven = Driven(builder)

    driven.end("begin", ("value", 0, b"7"))

    assert driven.machine.state.message.startswith("limit reached: 500 node executions")


def test_fan_outs_inside_one_another_without_end_come_to_a_limit() -> None:
    builder = PlanBuilder()
    builder.node("begin", nothing)
    builder.node("fetch", nothing, many=("item",))
    builder.link("begin.value", "fetch.value")
    builder.link("fetch.item", "fetch.value")
    driven = Driven(builder)
    driven.end("begin", ("value", 0, b"0"))

    while not driven.machine.ended:
        driven.end("fetch", *items(1))

    assert driven.machine.state.message == (
        "limit reached: 1000 fan-outs inside one another, the next was of node fetch"
    )


def test_orders_of_sets_that_have_left_do_not_pile_up() -> None:
    index: AgreementIndex[int] = AgreementIndex({1: 0})
    index.add(0, ((1, 0),), 0)

    for order in range(1, 5_000):
        index.add(order, (), order)
        index.remove(order)

    assert len(index._orders) < 200
    assert len(index) == 1
    assert index.oldest(((1, 1),)) is None
    assert index.oldest(((1, 0),)) == 0


# What ends in place of hanging, or of closing too early


def test_a_collect_that_waits_for_what_it_gives_ends_the_execution_with_a_reason() -> None:
    builder = PlanBuilder()
    builder.node("fan", lambda inputs, attempt: iter([("item", 1), ("item", 2)]), many=("item",))
    builder.node("join", lambda inputs, attempt: iter([("value", inputs["a"])]))
    builder.collect("all", of="fan")
    builder.link("fan.item", "join.a")
    builder.link("all.items", "join.b")
    builder.link("join.value", "all.item")

    outcome = Simulation(builder).run()

    assert outcome.status == ExecutionStatus.FAILED
    assert outcome.message == (
        "node all waits for what it gives itself: a Collect must not lie on a cycle of its items"
    )


def test_a_collect_waits_for_another_that_opens_when_a_slow_item_from_outside_comes() -> None:
    """The first collect's fan-out is over, but a value of none of its items is on its way to it."""
    for seed in range(40):
        builder = PlanBuilder()
        builder.node("first", nothing, many=("item",))
        builder.node("second", lambda inputs, attempt: iter([("item", 1)]), many=("item",))
        for name in ("slow", "slower", "slowest"):
            builder.node(name, lambda inputs, attempt: iter([("value", 0)]))
        builder.node("join", lambda inputs, attempt: iter([("value", inputs["a"])]))
        builder.collect("one", of="first")
        builder.collect("two", of="second")
        builder.output("out")
        builder.link("slow.value", "slower.value")
        builder.link("slower.value", "slowest.value")
        builder.link("first.item", "one.item")
        builder.link("slowest.value", "one.item")
        builder.link("one.items", "keep.value")
        builder.node("keep", lambda inputs, attempt: iter([("value", inputs["value"])] if inputs["value"] else []))
        builder.link("keep.value", "join.b")
        builder.link("second.item", "join.a")
        builder.link("join.value", "two.item")
        builder.link("two.items", "out.value")

        outcome = Simulation(builder, seed, Faults(duplicate=0.2, rerun=0.2, split=0.5, reload=0.2)).run()

        assert outcome.results == {"out": [[1]]}


@pytest.mark.parametrize("reload", [False, True])
def test_a_collect_closes_as_soon_as_the_value_that_its_items_wait_for_cannot_come(reload: bool) -> None:
    builder = PlanBuilder()
    for name, many in (("fan", ("item",)), ("slow", ()), ("join", ()), ("elsewhere", ())):
        builder.node(name, nothing, many=many)
    builder.collect("all", of="fan")
    builder.link("fan.item", "join.a")
    builder.link("slow.value", "join.b")
    builder.link("join.value", "all.item")
    driven = Driven(builder)
    driven.end("fan", *items(2))
    assert driven.machine.state.scopes
    if reload:
        stored = msgspec.msgpack.encode(driven.machine.state)
        driven.machine = Machine(driven.topology, msgspec.msgpack.decode(stored, type=State))

    driven.end("slow")

    assert not driven.machine.state.scopes
    assert not driven.machine.ended


def test_values_of_other_items_do_not_hold_a_collect_open() -> None:
    """A static value that was made for some items only: the others wait in vain, and nothing holds the collect open."""
    builder = PlanBuilder()
    for name, many in (("fan", ("item",)), ("store", ()), ("join", ()), ("elsewhere", ())):
        builder.node(name, nothing, many=many)
    builder.collect("all", of="fan")
    builder.link("fan.item", "store.value")
    builder.link("fan.item", "join.a")
    builder.link("store.value", "join.b", static=True)
    builder.link("join.value", "all.item")
    driven = Driven(builder)
    driven.end("fan", *items(2))
    driven.end("store", ("value", 0, b"1"))
    driven.end("store")

    driven.end("join", ("value", 0, b"1"))

    assert not driven.machine.state.scopes
    assert list(driven.waiting["elsewhere"]) == list(driven.machine.state.live)
