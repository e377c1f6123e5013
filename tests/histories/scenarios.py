"""What is recorded: a spread of graphs under unkind schedules, and what only happens when it is brought about.

Each scenario is driven here to know its facts; recording.py then drives them once more, as they come from rows.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from services.execution.engine import (
    ChildEnded,
    Claimed,
    Continued,
    Decided,
    Decision,
    Fact,
    Finish,
    Machine,
    Output,
    Plan,
    Reported,
    Retry,
    RunLost,
    Started,
    State,
    StopRequested,
    Ticked,
    Topology,
)
from services.execution.engine.ends import SLICE
from services.execution.engine.machine import BOUNDS
from services.execution.engine.plan import Effect, NodeKind, Reason
from services.execution.engine.routing import MOST_NESTED
from services.execution.engine.timers import SWEEP_FROM
from services.execution.loading import started
from tests.unit.engine.graphs import Graph, Wire, items_of
from tests.unit.engine.simulation import Faults, PlanBuilder, Simulation

SEED = 7
"""Of every execution here, and of the simulation's."""

UNKIND = Faults(duplicate=0.2, rerun=0.2, split=0.5, reload=0.1, lose=0.1)

EVERY_EFFECT = [Effect.PURE, Effect.IDEMPOTENT, Effect.ONCE]

Pairs = Iterator[tuple[str, Any]]


@dataclass(frozen=True)
class Scenario:
    """An execution: what it was started with, and the facts and time of each turn until its end."""

    plan: Plan
    inputs: bytes
    history: Sequence[tuple[Sequence[Fact], int]]


class Script:
    """Facts brought about one by one."""

    def __init__(self, builder: PlanBuilder) -> None:
        self.plan = builder.plan()
        self.machine = Machine(Topology(self.plan), State(SEED))
        self.now = 1_000
        self.history: list[tuple[Sequence[Fact], int]] = []
        self.take(Started({}))

    def take(self, *facts: Fact, after_ms: int = 1) -> None:
        """A turn, and those that it leaves work over for."""
        more = self.turn(*facts, after_ms=after_ms)
        while more:
            more = self.turn(Continued(), after_ms=0)

    def turn(self, *facts: Fact, after_ms: int = 1) -> bool:
        """A turn. True if it leaves work over."""
        self.now += after_ms
        self.history.append((facts, self.now))
        return self.machine.apply(facts, self.now).more

    def wait(self) -> None:
        """Until the next timer."""
        due = self.machine.wake_ms or 0
        self.take(Ticked(), after_ms=max(0, due - self.now))

    def run(self, number: int, run: int, *values: tuple[str, Any], attempt: int = 1, failed: bool = False) -> Reported:
        """A whole run: the k-th value on a pin has index k."""
        counts: dict[str, int] = {}
        outputs = []
        for pin, value in values:
            outputs.append(Output(pin, counts.get(pin, 0), json.dumps(value).encode()))
            counts[pin] = counts.get(pin, 0) + 1
        error, reason = ("it failed", Reason.BLOCK_ERROR) if failed else ("", Reason.NONE)
        finish = Finish(failed, len(outputs), error, reason)
        return Reported(number, attempt, run, tuple(outputs), finish, self.now)

    def done(self) -> Scenario:
        return Scenario(self.plan, b"{}", self.history)


def simulated(
    builder: PlanBuilder, faults: Faults | None = None, seed: int = 1, inputs: dict[str, Any] | None = None
) -> Scenario:
    """An execution under a schedule drawn from a seed."""
    simulation = Simulation(builder, seed, faults)
    outcome = simulation.run(inputs)
    given = json.dumps(inputs or {}).encode()
    (first, now, _), *others = outcome.history
    if first != (started(given),):
        raise ValueError("the inputs are not what the execution was started with")
    return Scenario(simulation.topology.plan, given, [(first, now), *((facts, at) for facts, at, _ in others)])


def fan(graph: Graph, wire: Wire, least: int) -> Wire:
    """Fans a wire out into so many items at least; gives the wire of the items."""
    sizes = {salt: sum(len(items_of(salt, value)) for value in wire.values.values()) for salt in range(100)}
    graph.fan_out(wire, next(salt for salt, size in sizes.items() if size >= least))
    return graph.wires[-2]


def idle(inputs: dict[str, Any], attempt: int) -> Pairs:
    """A block of nodes whose runs are made up by a script."""
    return iter(())


# Graphs under a schedule


def chain() -> Scenario:
    builder = PlanBuilder()
    builder.input("text")
    before = "text.result"
    for number in range(4):
        name = builder.node(f"step{number}", lambda inputs, attempt: iter([("text", inputs["text"] + "!")]))
        builder.link(before, f"{name}.text", static=before.endswith("result"))
        before = f"{name}.text"
    builder.output("out")
    builder.link(before, "out.value")
    return simulated(builder, inputs={"text": "grüße", "unused": [1, {"a": None}]})


def nested_fan_outs() -> Scenario:
    graph = Graph(PlanBuilder(), EVERY_EFFECT)
    graph.source(4)
    graph.change(fan(graph, graph.wires[-1], 3), 5)
    graph.change(fan(graph, graph.wires[-1], 6), 2)
    changed = graph.wires[-1]
    for depth in (2, 1, 0):
        graph.collect([changed], depth)
    return simulated(graph.finish().builder, UNKIND, seed=2)


def joins() -> Scenario:
    graph = Graph(PlanBuilder(), EVERY_EFFECT)
    graph.source(4)
    source = graph.wires[-1]
    item = fan(graph, source, 4)
    key = graph.wires[-1]
    graph.change(item, 1)
    graph.join(graph.wires[-1], [key, item], 9)
    graph.join(graph.wires[-1], [source, item], 8, static=frozenset({1, 2}))
    graph.join(fan(graph, graph.wires[-1], 5), [key], 3, static=frozenset({1}))
    graph.collect([graph.wires[-1], key, item], 1)
    return simulated(graph.finish().builder, UNKIND, seed=3)


def loops() -> Scenario:
    graph = Graph(PlanBuilder(), [Effect.PURE, Effect.IDEMPOTENT])
    graph.source(4)
    graph.source(6)
    graph.loop(graph.wires[0], 7, graph.wires[1])
    item = fan(graph, graph.wires[-1], 3)
    graph.loop(item, 2)
    graph.accumulate(item, 5)
    graph.crawl(item, 4)
    return simulated(graph.finish().builder, UNKIND, seed=4)


def failures() -> Scenario:
    graph = Graph(PlanBuilder(), EVERY_EFFECT)
    graph.source(4)
    item = fan(graph, graph.wires[-1], 4)
    graph.try_again(item, 2)
    graph.fail_some(graph.wires[-1], 5, linked=True)
    graph.fail_some(item, 6, linked=False)
    kept = graph.wires[-1]
    graph.keep_some(item, 1)
    graph.collect([graph.wires[-1], kept], 1)
    return simulated(graph.finish().builder, UNKIND, seed=5)


def a_failure_that_counts() -> Scenario:
    graph = Graph(PlanBuilder(), EVERY_EFFECT)
    graph.source(4)
    item = fan(graph, graph.wires[-1], 4)
    for salt in range(4):
        graph.end_all(item, salt)
    if not graph.fails:
        raise ValueError("none of its nodes fails")
    return simulated(graph.finish().builder, UNKIND, seed=6)


def stopped() -> Scenario:
    graph = Graph(PlanBuilder(), [Effect.ONCE, Effect.IDEMPOTENT])
    graph.source(4)
    item = fan(graph, graph.wires[-1], 4)
    graph.change(item, 1)
    graph.change(item, 2)
    graph.collect([graph.wires[-1]], 1)
    return simulated(graph.finish().builder, Faults(split=0.5, stop_at=9), seed=7)


def at_its_limit_of_node_executions() -> Scenario:
    graph = Graph(PlanBuilder(), EVERY_EFFECT)
    graph.source(4)
    graph.change(fan(graph, graph.wires[-1], 3), 1)
    return simulated(graph.finish().limited(5), UNKIND, seed=8)


def empty_fan_outs() -> Scenario:
    builder = PlanBuilder()
    builder.node("fan", lambda inputs, attempt: iter(()), many=("item",))
    builder.node("each", lambda inputs, attempt: iter([("value", 1)]))
    builder.collect("gathered", of="fan")
    builder.output("out")
    builder.link("fan.item", "each.value")
    builder.link("each.value", "gathered.item")
    builder.link("gathered.items", "out.value")
    return simulated(builder)


def parts_of_values() -> Scenario:
    """Dynamic pins on both sides, those of the engine's own nodes too."""

    def rows(inputs: dict[str, Any], attempt: int) -> Pairs:
        for name in ("Ulm", "Brest"):
            yield "row", {"city": name, "at": [1, 2]}
            yield "row_#_city", name
            yield "row_#_at_$_1", 2

    builder = PlanBuilder()
    builder.input("given", value={"list": [{"a": 1}, {"a": 2}]})
    builder.node("rows", rows, many=("row",))
    builder.node("build", lambda inputs, attempt: iter([("value", {"list": [inputs["list_$_0"]], "all": inputs})]))
    builder.collect("gathered", of="rows")
    for name in ("out", "second", "whole"):
        builder.output(name)
    builder.link("given.result_#_list_$_1_#_a", "build.dict_#_a", static=True)
    builder.link("rows.row_#_city", "build.list_$_0")
    builder.link("rows.row_#_at_$_1", "build.object_@_second")
    builder.link("build.value", "gathered.item")
    builder.link("gathered.items", "whole.value")
    builder.link("gathered.items_$_1_#_list_$_0", "second.value")
    builder.link("given.result_#_missing", "out.value", static=True)
    return simulated(builder, UNKIND, seed=9)


def left_incomplete() -> Scenario:
    """Sets that were never full, of items and of what a loop carries."""
    builder = PlanBuilder()
    builder.node("fan", lambda inputs, attempt: iter([("item", 1), ("item", 2)]), many=("item",))
    builder.node("never", idle)
    builder.node("pair", idle)
    builder.output("out")
    builder.link("fan.item", "pair.a")
    builder.link("never.value", "pair.b")
    builder.link("pair.value", "out.value")
    return simulated(builder, UNKIND, seed=10)


def pairs_round_a_cycle() -> Scenario:
    """Values of several items meet inside a cycle: what comes of them is nobody's, and is gathered with the whole."""

    def switch(inputs: dict[str, Any], attempt: int) -> Pairs:
        value = inputs["value"]
        yield ("done" if value > 4 else "left" if value % 2 else "right"), value

    builder = PlanBuilder()
    builder.node("fan", lambda inputs, attempt: iter(("item", item) for item in (1, 2, 3, 4, 2)), many=("item",))
    builder.node("switch", switch)
    builder.node("pair", lambda inputs, attempt: iter([("value", inputs["left"] + inputs["right"])]))
    builder.collect("gathered", of="fan")
    builder.output("out")
    builder.link("fan.item", "switch.value")
    builder.link("switch.left", "pair.left")
    builder.link("switch.right", "pair.right")
    builder.link("pair.value", "switch.value")
    builder.link("switch.done", "gathered.item")
    builder.link("gathered.items", "out.value")
    return simulated(builder, UNKIND, seed=11)


def fan_outs_round_a_cycle() -> Scenario:
    """A loop for each item of a fan-out, which fans out and collects in every round."""

    def again(inputs: dict[str, Any], attempt: int) -> Pairs:
        left = len(inputs["items"]) - 1
        yield ("again" if left else "done"), left

    builder = PlanBuilder()
    builder.node("outer", lambda inputs, attempt: iter(("item", item) for item in (2, 3)), many=("item",))
    builder.node("inner", lambda inputs, attempt: iter(("item", 2) for _ in range(inputs["count"])), many=("item",))
    builder.node("each", lambda inputs, attempt: iter([("value", inputs["value"])]))
    builder.collect("round", of="inner")
    builder.node("again", again)
    builder.collect("gathered", of="outer")
    builder.output("out")
    builder.link("outer.item", "inner.count")
    builder.link("inner.item", "each.value")
    builder.link("each.value", "round.item")
    builder.link("round.items", "again.items")
    builder.link("again.again", "inner.count")
    builder.link("again.done", "gathered.item")
    builder.link("gathered.items", "out.value")
    return simulated(builder, UNKIND, seed=12)


def collects_in_a_circle() -> Scenario:
    """Each is held open by a set that only the other one could fill: the innermost closes first."""
    builder = PlanBuilder()
    for name, other in (("a", "b"), ("b", "a")):
        builder.node(f"fan_{name}", lambda inputs, attempt: iter([("item", 1), ("item", 2)]), many=("item",))
        builder.node(f"join_{name}", lambda inputs, attempt: iter([("value", [inputs["item"], inputs["others"]])]))
        builder.collect(f"gathered_{name}", of=f"fan_{name}")
        builder.output(name)
        builder.link(f"fan_{name}.item", f"join_{name}.item")
        builder.link(f"gathered_{other}.items", f"join_{name}.others")
        builder.link(f"join_{name}.value", f"gathered_{name}.item")
        builder.link(f"gathered_{name}.items", f"{name}.value")
    return simulated(builder, UNKIND, seed=13)


def joins_of_fan_outs() -> Scenario:
    """Of two fan-outs that know nothing of each other values meet as they come, two of three pins or all of them."""
    builder = PlanBuilder()
    for name, count in (("one", 3), ("two", 4)):
        builder.node(
            name,
            lambda inputs, attempt: iter(("item", at) for at in range(inputs["count"])),
            many=("item",),
            count=count,
        )
    builder.node("last", lambda inputs, attempt: iter([("value", 0)]))
    builder.node("pair", lambda inputs, attempt: iter([("value", [inputs["a"], inputs["b"]])]))
    builder.node("three", lambda inputs, attempt: iter([("value", [inputs["a"], inputs["b"]])]))
    builder.collect("gathered", of="one")
    for name in ("pairs", "threes"):
        builder.output(name)
    for sink in ("pair", "three"):
        builder.link("one.item", f"{sink}.a")
        builder.link("two.item", f"{sink}.b")
    builder.link("last.value", "three.c")
    builder.link("pair.value", "gathered.item")
    builder.link("two.item", "gathered.item")
    builder.link("one.item", "gathered.item")
    builder.link("gathered.items", "pairs.value")
    builder.link("three.value", "threes.value")
    return simulated(builder, UNKIND, seed=14)


# Brought about


def more_than_a_turn_passes_on() -> Scenario:
    builder = PlanBuilder()
    builder.node("fan", idle, many=("item",), effect=Effect.IDEMPOTENT)
    builder.collect("gathered", of="fan")
    builder.output("out")
    builder.link("fan.item", "gathered.item")
    builder.link("gathered.count", "out.value")
    script = Script(builder)
    script.take(script.run(1, 1, *(("item", number % 10) for number in range(BOUNDS.at_once + 100))))
    return script.done()


def stopped_in_slices() -> Scenario:
    builder = PlanBuilder()
    builder.node("fan", idle, many=("item",), effect=Effect.IDEMPOTENT)
    builder.node("each", idle)
    builder.link("fan.item", "each.value")
    script = Script(builder)
    script.take(script.run(1, 1, *(("item", number % 10) for number in range(SLICE + 100))))
    script.take(StopRequested(1, "enough"))
    return script.done()


def sets_left_in_slices() -> Scenario:
    """More sets that were never full than one turn records at the end."""
    builder = PlanBuilder()
    builder.node("fan", idle, many=("item",), effect=Effect.IDEMPOTENT)
    builder.node("never", idle)
    builder.node("pair", idle)
    builder.link("fan.item", "pair.a")
    builder.link("never.value", "pair.b")
    script = Script(builder)
    script.take(script.run(1, 1, *(("item", number % 10) for number in range(SLICE + 100))))
    script.take(script.run(2, 2))
    return script.done()


def what_waits_for_a_turn() -> Scenario:
    """Ends that are stored with so large inputs that one turn does not take them all, and what comes behind them."""
    items = 300
    builder = PlanBuilder()
    builder.node("fan", idle, many=("item",), effect=Effect.IDEMPOTENT)
    builder.node("each", idle, text="x" * (64 << 10), go_on=True)
    for name in ("silent", "lost", "unclaimed"):
        builder.node(name, idle, effect=Effect.ONCE, go_on=True)
    builder.link("fan.item", "each.value")
    script = Script(builder)
    script.take(script.run(1, 1, *(("item", number % 10) for number in range(items))))
    script.take(Claimed(2, 1, 102), Claimed(3, 1, 103), RunLost(2, 1, "its runner is silent"))
    *ends, last = [script.run(number, number, ("value", 1)) for number in range(5, 5 + items)]
    failed = Finish(True, 1, "it failed", Reason.BLOCK_ERROR, 1_500, b"tokens: 7")
    decided = (
        Decided(1, 2, Decision.COMPLETE, (Output("receipt", 0, b'"by hand"'),)),
        Decided(2, 3, Decision.FAIL, message="it was never paid"),
    )
    lost = RunLost(3, 1, "its runner is silent")
    stop = StopRequested(3, "no credits are left", failed=True)
    script.turn(*ends, msgspec.structs.replace(last, finish=failed), lost, *decided, stop)
    # Comes after the stop, though that waits still.
    script.take(Claimed(4, 1, 104))
    return script.done()


def other_graphs_and_people() -> Scenario:
    graph = Graph(PlanBuilder(), EVERY_EFFECT)
    graph.source(4)
    graph.fan_out(graph.wires[-1], 4)
    items = graph.wires[-2]
    graph.run_graph(items, 5, retried=True)
    graph.run_graph_of_many(items, 6)
    graph.ask(items, 7)
    return simulated(graph.finish().builder, UNKIND)


def a_graph_whose_end_waits_for_a_turn() -> Scenario:
    items = 300
    builder = PlanBuilder()
    builder.node("fan", idle, many=("item",), effect=Effect.IDEMPOTENT)
    builder.awaited("graph", NodeKind.CHILD, idle)
    builder.node("each", idle, text="x" * (64 << 10), go_on=True)
    builder.link("fan.item", "each.value")
    script = Script(builder)
    script.take(script.run(1, 1, *(("item", number % 10) for number in range(items))))
    ends = [script.run(number, number, ("value", 1)) for number in range(3, 3 + items)]
    results = (Output("count", 0, b"3"), Output("name", 0, b'"a"'), Output("name", 1, b'"b"'))
    child = ChildEnded(1, 2, 1, results, True, "its graph failed", b'{"child_execution_id":"5"}')
    script.take(*ends, child)
    return script.done()


def a_collect_that_waits_for_itself() -> Scenario:
    """That of the whole execution has closed when what it gave comes back as an item."""
    builder = PlanBuilder()
    builder.node("source", idle)
    builder.collect("gathered")
    builder.node("after", idle)
    builder.link("source.value", "gathered.item")
    builder.link("gathered.items", "after.items")
    builder.link("after.value", "gathered.item")
    script = Script(builder)
    script.take(script.run(1, 1, ("value", 1)))
    script.take(script.run(3, 3, ("value", 2)))
    return script.done()


def fan_outs_too_deep() -> Scenario:
    builder = PlanBuilder()
    builder.node("crawl", idle, many=("page",), effect=Effect.IDEMPOTENT)
    builder.link("crawl.page", "crawl.page")
    builder.node("seed", idle, effect=Effect.IDEMPOTENT)
    builder.link("seed.page", "crawl.page")
    script = Script(builder)
    script.take(script.run(1, 1, ("page", 0)))
    for first in range(2, MOST_NESTED + 3, 100):
        script.take(*(script.run(number, number, ("page", 0)) for number in range(first, first + 100)))
        if script.machine.ended:
            break
    return script.done()


def decisions() -> Scenario:
    """Nodes that must not run twice: claimed and silent, then decided, heard of after all, or stopped."""
    builder = PlanBuilder()
    for number in range(7):
        builder.node(f"pay{number}", idle, effect=Effect.ONCE, go_on=True, retry=Retry(max_attempts=2))
        builder.output(f"out{number}")
        builder.link(f"pay{number}.receipt", f"out{number}.value")
    script = Script(builder)
    script.take(*(Claimed(number, 1, 100 + number) for number in range(1, 7)), Claimed(1, 1, 999))
    script.take(Reported(2, 1, 102, (Output("receipt", 0, b'"early"'),)))
    for number in range(1, 7):
        script.take(RunLost(number, 1, "its runner is silent"))
    script.take(RunLost(7, 1, "its task was lost", Reason.BLOCK_UNAVAILABLE))
    script.take(Decided(1, 1, Decision.COMPLETE, (Output("receipt", 0, b'"by hand"'),)))
    script.take(Decided(2, 2, Decision.FAIL, message="it was never paid"))
    script.take(Decided(3, 3, Decision.RETRY), Decided(4, 3, Decision.RETRY))
    script.take(Claimed(3, 2, 203), script.run(3, 203, ("receipt", "second"), attempt=2))
    script.take(script.run(4, 104, ("receipt", "late")))
    script.take(Reported(5, 1, 105))
    script.take(script.run(5, 105, failed=True))
    script.wait()
    script.take(script.run(5, 105, ("receipt", "stale")), Claimed(5, 2, 205))
    script.take(StopRequested(5, "stopped while one may have run"))
    return script.done()


def timers() -> Scenario:
    """A run far past its timeout, an end whose outputs never come, pauses, and the execution's own time."""
    builder = PlanBuilder(max_duration_ms=3_600_000)
    retry = Retry(max_attempts=3, initial_ms=1_000, max_ms=1_500, multiplier=2.0)
    for name, effect in (("slow", Effect.PURE), ("cut", Effect.IDEMPOTENT), ("once", Effect.ONCE)):
        builder.node(name, idle, effect=effect, retry=retry, go_on=True)
    script = Script(builder)
    script.take(Reported(1, 1, 11), Reported(2, 1, 21), Claimed(3, 1, 31))
    script.take(Reported(2, 1, 21, (Output("value", 0, b"1"),), Finish(False, 2)))
    script.wait()
    script.take(Reported(1, 1, 12), after_ms=100_000)
    # The end of "cut" is void, so it pauses; then the backstops of the others, a pause, and the end of time.
    while not script.machine.ended:
        script.wait()
    return script.done()


def very_many_timers() -> Scenario:
    """So many runs begin that their timers are swept; those of the ones that have ended go."""
    count = SWEEP_FROM
    builder = PlanBuilder()
    builder.node("fan", idle, many=("item",), effect=Effect.IDEMPOTENT)
    builder.node("each", idle)
    builder.link("fan.item", "each.value")
    script = Script(builder)
    script.take(script.run(1, 1, *(("item", number % 10) for number in range(count))))
    script.take(Reported(2, 1, 2))
    script.take(*(Reported(number, 1, number) for number in range(3, 13)))
    script.take(*(script.run(number, number) for number in range(3, 13)))
    script.take(*(Reported(number, 1, number) for number in range(13, 2 + count)))
    while not script.machine.ended:
        script.wait()
    return script.done()


def another_run_gives_something_else() -> Scenario:
    builder = PlanBuilder()
    for name in ("value", "count"):
        builder.node(name, idle, effect=Effect.PURE, go_on=True)
        builder.output(f"{name}_out")
        builder.link(f"{name}.value", f"{name}_out.value")
    script = Script(builder)
    script.take(Reported(1, 1, 11, (Output("value", 0, b"1"),)), Reported(2, 1, 21, (Output("value", 0, b"1"),)))
    script.take(Reported(1, 1, 12, (Output("value", 0, b"2"),)), script.run(2, 22))
    return script.done()


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    each.__name__: each
    for each in (
        chain,
        nested_fan_outs,
        joins,
        loops,
        failures,
        a_failure_that_counts,
        stopped,
        at_its_limit_of_node_executions,
        empty_fan_outs,
        parts_of_values,
        left_incomplete,
        pairs_round_a_cycle,
        fan_outs_round_a_cycle,
        collects_in_a_circle,
        joins_of_fan_outs,
        more_than_a_turn_passes_on,
        stopped_in_slices,
        sets_left_in_slices,
        what_waits_for_a_turn,
        other_graphs_and_people,
        a_graph_whose_end_waits_for_a_turn,
        a_collect_that_waits_for_itself,
        fan_outs_too_deep,
        decisions,
        timers,
        very_many_timers,
        another_run_gives_something_else,
    )
}
