"""Properties of the engine on generated graphs, under schedules as unkind as the world outside: any order, duplicates,
several runs of one attempt, split and lost reports, reloads from snapshots, stops at any moment."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.execution.engine import Claimed, Continued, Effects, Event, Fact, Machine, Reported, State, Topology
from services.execution.engine.effects import EventKind, ExecutionStatus, NodeStatus
from services.execution.engine.plan import NodeKind
from services.execution.engine.turn import Bounds
from tests.unit.engine.graphs import Graph, graphs
from tests.unit.engine.simulation import Faults, Outcome, Simulation, replay

UNKIND = Faults(duplicate=0.2, rerun=0.2, split=0.5, reload=0.1, lose=0.1)
SEEDS = st.integers(0, 2**32)
NARROW = st.builds(
    Bounds,
    events=st.integers(1, 20),
    bytes=st.integers(1, 200),
    recorded=st.integers(1, 200),
    at_once=st.integers(1, 4),
)
"""Turns that are full at once."""

ENDS = {
    NodeStatus.COMPLETED: EventKind.NODE_COMPLETED,
    NodeStatus.FAILED: EventKind.NODE_FAILED,
    NodeStatus.CANCELLED: EventKind.NODE_CANCELLED,
    NodeStatus.AMBIGUOUS: EventKind.NODE_AMBIGUOUS,
}
EXECUTION_ENDS = {
    ExecutionStatus.COMPLETED: EventKind.EXECUTION_COMPLETED,
    ExecutionStatus.FAILED: EventKind.EXECUTION_FAILED,
    ExecutionStatus.CANCELLED: EventKind.EXECUTION_CANCELLED,
}

often = settings(max_examples=100, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])


def check_books(topology: Topology, outcome: Outcome) -> None:
    """Whatever became of the execution: all that began has one outcome and was told in order, and nothing is left."""
    state = outcome.machine.state
    assert set(outcome.node_outcomes) == set(range(1, state.numbers + 1))
    assert outcome.queued <= set(outcome.node_outcomes)
    assert len(outcome.told) == state.events
    left = (
        state.live,
        state.sets,
        state.latches,
        state.scopes,
        state.timers,
        state.fan_outs,
        state.closed,
        state.passing,
        state.later,
    )
    assert [len(each) for each in left] == [0] * len(left)
    assert (state.busy, state.sets_recorded) == (0, 0)
    assert not state.more
    assert len(outcome.incomplete) == len(set(outcome.incomplete)), "a set was recorded twice"
    check_events(outcome)


def check_events(outcome: Outcome) -> None:
    """The execution's story begins and ends where it should; so does that of each node execution."""
    kinds = [event.kind for event in outcome.told]
    assert kinds[0] is EventKind.EXECUTION_STARTED
    assert kinds[-1] is EXECUTION_ENDS[ExecutionStatus(outcome.status)]
    assert not set(kinds[1:-1]) & {EventKind.EXECUTION_STARTED, *EXECUTION_ENDS.values()}
    stories: dict[int, list[Event]] = defaultdict(list)
    for event in outcome.told:
        stories[event.number].append(event)
    for number, status in outcome.node_outcomes.items():
        story = stories[number]
        if number in outcome.queued:
            assert story[0].kind is EventKind.NODE_QUEUED
        assert story[-1].kind is ENDS[NodeStatus(status)]
        ends = [event for event in story if event.kind in ENDS.values() and event.kind is not EventKind.NODE_AMBIGUOUS]
        assert len(ends) == (status != NodeStatus.AMBIGUOUS)
        attempts = [event.attempt for event in story]
        assert attempts == sorted(attempts)
        final = Counter((event.pin, event.index) for event in finals(story))
        assert max(final.values(), default=1) == 1, "an output was told twice"


def finals(story: list[Event]) -> Iterator[Event]:
    return (event for event in story if event.kind is EventKind.NODE_OUTPUT and not event.provisional)


def check_collects(topology: Topology, outcome: Outcome) -> None:
    """Each collect ran exactly once for each outermost execution of what it names, the whole execution being one."""
    nodes = topology.plan.nodes
    of_node = {number: index for index, node in enumerate(nodes) for number in _numbers(outcome, node.id)}
    outermost: Counter[int] = Counter()
    for number, ended in outcome.records.items():
        if not any(of_node[ancestor] == ended.node for ancestor, _ in ended.lineage if ancestor != number):
            outermost[ended.node] += 1
    for node in nodes:
        if node.kind is NodeKind.COLLECT:
            times = outermost[node.of] if node.of >= 0 else 1
            assert len(_numbers(outcome, node.id)) == times, node.id


def _numbers(outcome: Outcome, node: str) -> list[int]:
    return [number for number, name in outcome.ended.items() if name == node]


def settled(machine: Machine, fact: Fact) -> bool:
    """True for a fact about a node execution or an attempt that is over."""
    if not isinstance(fact, Reported | Claimed):
        return False
    execution = machine.state.live.get(fact.number)
    return execution is None or execution.attempt != fact.attempt


@often
@given(graph=graphs(), seed=SEEDS)
def test_any_schedule_gives_the_results_that_lineage_says(graph: Graph, seed: int) -> None:
    for faults in (Faults(shuffle=False), Faults(), UNKIND):
        outcome = Simulation(graph.builder, seed, faults).run()

        assert outcome.message == ""
        assert outcome.status == ExecutionStatus.COMPLETED
        assert outcome.results == graph.expected


@often
@given(graph=graphs(), seed=SEEDS)
def test_every_node_execution_has_one_outcome_and_every_collect_closes_once(graph: Graph, seed: int) -> None:
    simulation = Simulation(graph.builder, seed, UNKIND)
    outcome = simulation.run()

    check_books(simulation.topology, outcome)
    check_collects(simulation.topology, outcome)


@often
@given(graph=graphs(fatal=True), seed=SEEDS)
def test_a_failure_that_counts_ends_the_execution_whatever_the_schedule(graph: Graph, seed: int) -> None:
    for faults in (Faults(), UNKIND):
        simulation = Simulation(graph.builder, seed, faults)
        outcome = simulation.run()

        assert outcome.status == (ExecutionStatus.FAILED if graph.fails else ExecutionStatus.COMPLETED)
        assert ("fatal" in outcome.message) == graph.fails
        check_books(simulation.topology, outcome)


@often
@given(graph=graphs(fatal=True), seed=SEEDS)
def test_replaying_the_facts_gives_the_same_state_bit_for_bit(graph: Graph, seed: int) -> None:
    simulation = Simulation(graph.builder, seed, UNKIND)
    outcome = simulation.run()

    state = replay(simulation.topology, outcome.history)  # compares the checksum of each turn

    assert msgspec.msgpack.encode(state) == msgspec.msgpack.encode(outcome.machine.state)


@often
@given(graph=graphs(), seed=SEEDS)
def test_a_snapshot_and_the_facts_after_it_give_what_a_full_replay_gives(graph: Graph, seed: int) -> None:
    """At every turn: the machine that goes on from a snapshot and the one that never stopped stay the same."""
    simulation = Simulation(graph.builder, seed, replace(UNKIND, reload=0))
    outcome = simulation.run()
    whole = Machine(simulation.topology, State(seed=7))

    for facts, now, checksum in outcome.history:
        resumed = Machine(simulation.topology, msgspec.msgpack.decode(msgspec.msgpack.encode(whole.state), type=State))
        assert whole.apply(facts, now).checksum() == checksum
        assert resumed.apply(facts, now).checksum() == checksum
        assert msgspec.msgpack.encode(resumed.state) == msgspec.msgpack.encode(whole.state)


@often
@given(graph=graphs(), seed=SEEDS)
def test_nothing_that_can_go_on_is_left_after_a_turn(graph: Graph, seed: int) -> None:
    """A machine made from the state alone, which looks at every open collect, finds none that should have closed."""
    simulation = Simulation(graph.builder, seed, replace(UNKIND, reload=0))
    outcome = simulation.run()
    machine = Machine(simulation.topology, State(seed=7))

    for facts, now, _ in outcome.history:
        machine.apply(facts, now)
        resumed = Machine(
            simulation.topology, msgspec.msgpack.decode(msgspec.msgpack.encode(machine.state), type=State)
        )
        assert resumed.apply([Continued()], now) == Effects()


@often
@given(graph=graphs(fatal=True), seed=SEEDS, bounds=NARROW)
def test_however_little_a_turn_does_the_results_are_the_same(graph: Graph, seed: int, bounds: Bounds) -> None:
    for faults in (Faults(), UNKIND):
        simulation = Simulation(graph.builder, seed, faults, bounds)
        outcome = simulation.run()

        assert outcome.status == (ExecutionStatus.FAILED if graph.fails else ExecutionStatus.COMPLETED)
        assert graph.fails or outcome.results == graph.expected
        check_books(simulation.topology, outcome)
        if not graph.fails:
            check_collects(simulation.topology, outcome)


@often
@given(graph=graphs(fatal=True), seed=SEEDS, bounds=NARROW, at=st.integers(0, 60))
def test_what_a_turn_leaves_over_is_in_the_state(graph: Graph, seed: int, bounds: Bounds, at: int) -> None:
    """At every turn, a stop among them: who goes on from a snapshot does what the one that never stopped does."""
    simulation = Simulation(graph.builder, seed, replace(UNKIND, reload=0, stop_at=at), bounds)
    outcome = simulation.run()
    check_books(simulation.topology, outcome)
    whole = Machine(simulation.topology, State(seed=7), bounds)

    for facts, now, checksum in outcome.history:
        stored = msgspec.msgpack.decode(msgspec.msgpack.encode(whole.state), type=State)
        resumed = Machine(simulation.topology, stored, bounds)
        assert whole.apply(facts, now).checksum() == checksum
        assert resumed.apply(facts, now).checksum() == checksum
        assert msgspec.msgpack.encode(resumed.state) == msgspec.msgpack.encode(whole.state)


@often
@given(graph=graphs(), seed=SEEDS, at=st.integers(0, 60))
def test_a_stop_at_any_moment_leaves_nothing_unaccounted_for(graph: Graph, seed: int, at: int) -> None:
    simulation = Simulation(graph.builder, seed, replace(UNKIND, stop_at=at))
    outcome = simulation.run()

    assert outcome.status in (ExecutionStatus.CANCELLED, ExecutionStatus.COMPLETED)
    check_books(simulation.topology, outcome)
    state = replay(simulation.topology, outcome.history)
    assert msgspec.msgpack.encode(state) == msgspec.msgpack.encode(outcome.machine.state)


@often
@given(graph=graphs(), seed=SEEDS, limit=st.integers(1, 60))
def test_the_limit_of_node_executions_ends_the_execution(graph: Graph, seed: int, limit: int) -> None:
    needed = len(Simulation(graph.builder).run().node_outcomes)
    limited = graph.limited(limit)
    simulation = Simulation(limited, seed, UNKIND)

    outcome = simulation.run()

    check_books(simulation.topology, outcome)
    assert len(outcome.node_outcomes) == min(needed, limit)
    if needed > limit:
        assert outcome.status == ExecutionStatus.FAILED
        assert outcome.message.startswith(f"limit reached: {limit} node executions")
    else:
        assert outcome.results == graph.expected


@often
@given(graph=graphs(), seed=SEEDS)
def test_facts_of_the_past_change_nothing(graph: Graph, seed: int) -> None:
    """Every fact again after every turn: a late duplicate is refused, and applied it has no effect."""
    simulation = Simulation(graph.builder, seed, replace(UNKIND, duplicate=0, reload=0))
    outcome = simulation.run()
    machine = Machine(simulation.topology, State(seed=7))

    for facts, now, checksum in outcome.history:
        assert machine.apply(facts, now).checksum() == checksum
        before = msgspec.msgpack.encode(machine.state)
        effects = machine.apply([fact for fact in facts if settled(machine, fact)], now)
        assert effects == Effects()
        machine.state.turn -= 1
        assert msgspec.msgpack.encode(machine.state) == before
