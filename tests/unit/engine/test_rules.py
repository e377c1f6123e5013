"""GUARANTEES.md, as far as the engine keeps it: one or several tests for each rule, which fail without it."""

import json
from typing import Any

import msgspec
import pytest

from services.execution.engine import (
    Claimed,
    Continued,
    Decided,
    Decision,
    Effects,
    Fact,
    Finish,
    Machine,
    Output,
    Reported,
    RunLost,
    Started,
    State,
    StopRequested,
    Ticked,
    Topology,
)
from services.execution.engine.effects import EventKind, ExecutionStatus, NodeStatus
from services.execution.engine.plan import Effect, Reason, Retry
from services.execution.engine.state import LiveStatus
from tests.unit.engine.simulation import PlanBuilder

FAN_OUT, NEXT = 1, 2
"""Numbers of the node under test and of the first one after it."""


class Bench:
    """A node under test, "work", whose pin "item" gives many values to "next"; facts are put in by hand."""

    def __init__(self, effect: Effect, **options: Any) -> None:
        builder = PlanBuilder()
        builder.node("work", lambda inputs, attempt: iter(()), many=("item",), effect=effect, **options)
        builder.node("next", lambda inputs, attempt: iter(()))
        builder.link("work.item", "next.value")
        self.topology = Topology(builder.plan())
        self.machine = Machine(self.topology, State(seed=1))
        self.now = 1_000
        self.all: list[Effects] = []
        self.apply(Started({}))

    def apply(self, *facts: Fact) -> Effects:
        self.now += 1
        self.all.append(self.machine.apply(facts, self.now))
        return self.all[-1]

    def pass_time(self) -> Effects:
        """Until the next timer fires."""
        self.now = max(self.now, self.machine.wake_ms or 0)
        return self.apply(Ticked())

    @property
    def routed(self) -> list[Any]:
        """The values that have come to the next node, in their order."""
        queued = [execution for effects in self.all for execution in effects.queued]
        return [json.loads(each.values[0] or b"") for each in queued if each.node == 1]

    @property
    def outcomes(self) -> list[tuple[NodeStatus, Reason]]:
        return [(o.status, o.reason) for effects in self.all for o in effects.outcomes if o.number == FAN_OUT]

    def told(self, kind: EventKind) -> int:
        return sum(event.kind is kind for effects in self.all for event in effects.events if event.number <= FAN_OUT)


def items(*values: Any, start: int = 0) -> tuple[Output, ...]:
    return tuple(Output("item", start + at, json.dumps(value).encode()) for at, value in enumerate(values))


def said(run: int, *outputs: Output, attempt: int = 1) -> Reported:
    return Reported(FAN_OUT, attempt, run, outputs, None, 1_000)


def ended(run: int, count: int, *outputs: Output, attempt: int = 1) -> Reported:
    return Reported(FAN_OUT, attempt, run, outputs, Finish(False, count), 1_000)


def failed(run: int, count: int, *outputs: Output, attempt: int = 1) -> Reported:
    return Reported(FAN_OUT, attempt, run, outputs, Finish(True, count, "broken", Reason.BLOCK_ERROR), 1_000)


# Rule 1: attempts never mix


def test_rule_1_outputs_of_a_pure_block_are_routed_at_once() -> None:
    bench = Bench(Effect.PURE)

    bench.apply(said(5, *items("a", "b")))

    assert bench.routed == ["a", "b"]


def test_rule_1_of_a_pure_block_the_first_value_for_a_place_wins_whatever_run_it_is_of() -> None:
    bench = Bench(Effect.PURE)

    bench.apply(said(5, *items("a")))
    bench.apply(said(6, *items("a", "b")))
    bench.apply(ended(5, 3, *items("b", "c", start=1)))

    assert bench.routed == ["a", "b", "c"]
    assert bench.outcomes == [(NodeStatus.COMPLETED, Reason.NONE)]


def test_rule_1_runs_of_a_pure_block_that_differ_fail_it_as_nondeterministic() -> None:
    bench = Bench(Effect.PURE)

    bench.apply(said(5, *items("a")))
    bench.apply(said(6, *items("other")))

    assert bench.routed == ["a"]
    assert bench.outcomes == [(NodeStatus.FAILED, Reason.NONDETERMINISTIC)]


def test_rule_1_runs_of_a_pure_block_that_yield_more_or_less_fail_it_as_nondeterministic() -> None:
    bench = Bench(Effect.PURE)

    bench.apply(said(5, *items("a", "b", "c")))
    bench.apply(ended(6, 1, *items("a")))

    assert bench.outcomes == [(NodeStatus.FAILED, Reason.NONDETERMINISTIC)]


@pytest.mark.parametrize("effect", [Effect.IDEMPOTENT, Effect.ONCE])
def test_rule_1_outputs_of_other_blocks_are_routed_when_their_run_has_ended(effect: Effect) -> None:
    bench = Bench(effect)
    bench.apply(Claimed(FAN_OUT, 1, 5))

    bench.apply(said(5, *items("a", "b")))
    assert bench.routed == []
    assert bench.told(EventKind.NODE_OUTPUT) == 2

    bench.apply(ended(5, 2))
    assert bench.routed == ["a", "b"]


def test_rule_1_the_first_complete_run_wins_whole() -> None:
    bench = Bench(Effect.IDEMPOTENT)

    bench.apply(said(5, *items("a5", "b5")))
    bench.apply(said(6, *items("a6", "b6")))
    bench.apply(ended(6, 3, *items("c6", start=2)))
    bench.apply(ended(5, 2))

    assert bench.routed == ["a6", "b6", "c6"]
    assert bench.outcomes == [(NodeStatus.COMPLETED, Reason.NONE)]


def test_rule_1_outputs_of_a_replaced_attempt_are_never_routed() -> None:
    bench = Bench(Effect.IDEMPOTENT, retry=Retry(max_attempts=2))

    bench.apply(failed(5, 1, *items("first attempt")))
    bench.pass_time()
    bench.apply(said(5, *items("late")), ended(5, 1, *items("late")))
    bench.apply(ended(6, 1, *items("second attempt"), attempt=2))

    assert bench.routed == ["second attempt"]
    assert bench.outcomes == [(NodeStatus.COMPLETED, Reason.NONE)]


def test_rule_1_items_of_the_attempt_that_becomes_the_outcome_are_routed_before_its_error() -> None:
    builder = PlanBuilder()
    builder.node("work", lambda inputs, attempt: iter(()), many=("item",), effect=Effect.IDEMPOTENT)
    builder.node("next", lambda inputs, attempt: iter(()))
    builder.link("work.item", "next.value")
    builder.link("work.error", "next.value")
    machine = Machine(Topology(builder.plan()), State(seed=1))
    machine.apply([Started({})], 1)

    effects = machine.apply([failed(5, 2, *items("a", "b"))], 2)

    assert [execution.values[0] for execution in effects.queued] == [b'"a"', b'"b"', b'"broken"']


# Rule 2: an end never overtakes its outputs


@pytest.mark.parametrize("effect", [Effect.PURE, Effect.IDEMPOTENT])
def test_rule_2_an_end_waits_for_the_outputs_that_it_counts(effect: Effect) -> None:
    bench = Bench(effect)

    bench.apply(ended(5, 2))
    bench.apply(said(5, *items("b", start=1)))
    assert bench.outcomes == []

    bench.apply(said(5, *items("a")))
    assert sorted(bench.routed) == ["a", "b"]
    assert bench.outcomes == [(NodeStatus.COMPLETED, Reason.NONE)]


def test_rule_2_an_output_that_comes_twice_counts_once() -> None:
    bench = Bench(Effect.IDEMPOTENT)

    bench.apply(said(5, *items("a")), said(5, *items("a")), ended(5, 2))
    assert bench.outcomes == []

    bench.apply(said(5, *items("b", start=1)))
    assert bench.routed == ["a", "b"]


def test_rule_2_a_run_whose_outputs_never_come_is_void_after_a_deadline() -> None:
    bench = Bench(Effect.IDEMPOTENT, retry=Retry(max_attempts=2))

    bench.apply(ended(5, 2, *items("a")))
    bench.pass_time()
    bench.pass_time()
    bench.apply(said(5, *items("b", start=1)))
    assert bench.routed == []

    bench.apply(ended(6, 1, *items("again"), attempt=2))
    assert bench.routed == ["again"]


def test_rule_2_a_void_run_does_not_end_another_that_goes_on() -> None:
    bench = Bench(Effect.IDEMPOTENT)

    bench.apply(ended(5, 2, *items("a")))
    bench.apply(said(6))
    bench.pass_time()
    assert bench.outcomes == []

    bench.apply(ended(6, 1, *items("b")))
    assert bench.routed == ["b"]


@pytest.mark.parametrize("effect", list(Effect))
@pytest.mark.parametrize("failing", [False, True])
def test_rule_2_a_part_of_a_run_with_nothing_in_it_says_only_that_it_goes_on(effect: Effect, failing: bool) -> None:
    """Messages are cut by their size: the first may bring a run's name and none of its values."""
    end = failed if failing else ended
    whole, parted = Bench(effect, go_on=True), Bench(effect, go_on=True)
    for bench in (whole, parted):
        bench.apply(Claimed(FAN_OUT, 1, 5))

    parted.apply(said(5))
    again = parted.apply(said(5))
    parted.apply(end(5, 2, *items("a", "b")))
    whole.apply(end(5, 2, *items("a", "b")))

    assert again == Effects()
    assert parted.outcomes == whole.outcomes
    assert parted.routed == whole.routed == ["a", "b"]
    assert parted.told(EventKind.NODE_STARTED) == 1
    assert story(parted) == story(whole)


@pytest.mark.parametrize("effect", list(Effect))
def test_rule_2_an_empty_part_between_others_takes_nothing_from_them(effect: Effect) -> None:
    bench = Bench(effect)
    bench.apply(Claimed(FAN_OUT, 1, 5))

    bench.apply(said(5), said(5, *items("a")), said(5))
    bench.apply(ended(5, 2), said(5))
    assert bench.outcomes == []

    bench.apply(said(5, *items("b", start=1)), said(5))
    assert bench.routed == ["a", "b"]
    assert bench.outcomes == [(NodeStatus.COMPLETED, Reason.NONE)]


def story(bench: Bench) -> list[tuple[EventKind, bytes]]:
    """What was told of the node under test, but for its start."""
    events = [event for effects in bench.all for event in effects.events if event.number == FAN_OUT]
    return [(event.kind, event.value) for event in events if event.kind is not EventKind.NODE_STARTED]


def test_rule_2_outputs_after_the_end_are_refused_before_they_become_facts() -> None:
    bench = Bench(Effect.IDEMPOTENT)
    bench.apply(ended(5, 1, *items("a")))

    late = said(5, *items("late", start=1))

    assert not bench.machine.wants(late)
    effects = bench.apply(late)
    assert not effects.events
    assert bench.routed == ["a"]


# Rule 3: once means claimed


def test_rule_3_an_unclaimed_run_of_a_once_block_is_not_listened_to() -> None:
    bench = Bench(Effect.ONCE)

    report = ended(5, 1, *items("a"))

    assert not bench.machine.wants(report)
    bench.apply(report)
    assert bench.outcomes == []


def test_rule_3_only_the_first_claim_is_granted() -> None:
    bench = Bench(Effect.ONCE)

    bench.apply(Claimed(FAN_OUT, 1, 5), Claimed(FAN_OUT, 1, 6))

    assert bench.machine.state.live[FAN_OUT].claimed_run == 5
    assert not bench.machine.wants(ended(6, 0))
    assert bench.machine.wants(ended(5, 0))


def test_rule_3_a_claim_for_an_attempt_that_waits_or_is_over_is_refused() -> None:
    bench = Bench(Effect.ONCE, retry=Retry(max_attempts=2))
    bench.apply(RunLost(FAN_OUT, 1, "never taken"))

    bench.apply(Claimed(FAN_OUT, 1, 5))

    live = bench.machine.state.live[FAN_OUT]
    assert (live.status, live.claimed_run, bench.machine.state.busy) == (LiveStatus.RETRYING, 0, 0)
    bench.pass_time()
    bench.apply(Claimed(FAN_OUT, 1, 5))
    assert live.claimed_run == 0


def test_rule_3_an_unclaimed_run_that_is_lost_is_a_failure_like_others() -> None:
    bench = Bench(Effect.ONCE)

    bench.apply(RunLost(FAN_OUT, 1, "no runner has the block", Reason.BLOCK_UNAVAILABLE))

    assert bench.outcomes == [(NodeStatus.FAILED, Reason.BLOCK_UNAVAILABLE)]


def test_rule_3_claimed_and_silent_is_ambiguous_and_never_repeated_by_itself() -> None:
    bench = Bench(Effect.ONCE, retry=Retry(max_attempts=5))
    bench.apply(Claimed(FAN_OUT, 1, 5))

    effects = bench.apply(RunLost(FAN_OUT, 1, "silent"))

    assert bench.machine.state.live[FAN_OUT].status is LiveStatus.AMBIGUOUS
    assert bench.machine.state.status == ExecutionStatus.WAITING
    assert [event.kind for event in effects.events] == [EventKind.NODE_AMBIGUOUS, EventKind.EXECUTION_WAITING]
    assert not effects.queued
    assert bench.outcomes == []


def test_rule_3_the_engines_backstop_makes_a_claimed_run_ambiguous_too() -> None:
    bench = Bench(Effect.ONCE)
    bench.apply(Claimed(FAN_OUT, 1, 5))

    bench.pass_time()

    assert bench.machine.state.live[FAN_OUT].status is LiveStatus.AMBIGUOUS


def test_rule_3_ambiguous_is_alive_a_collect_stays_open() -> None:
    builder = PlanBuilder()
    builder.node("fan", lambda inputs, attempt: iter(()), many=("item",))
    builder.node("pay", lambda inputs, attempt: iter(()), effect=Effect.ONCE)
    builder.collect("all")
    builder.link("fan.item", "pay.value")
    builder.link("pay.value", "all.item")
    machine = Machine(Topology(builder.plan()), State(seed=1))
    machine.apply([Started({}), ended(5, 1, *items(1))], 1)
    machine.apply([Claimed(NEXT, 1, 6), RunLost(NEXT, 1, "silent")], 2)

    assert machine.state.scopes
    assert not machine.ended

    machine.apply([Decided(1, NEXT, Decision.COMPLETE, (Output("value", 0, b"2"),))], 3)
    assert machine.state.status == ExecutionStatus.COMPLETED


def test_rule_3_an_ambiguous_run_that_is_heard_of_again_goes_on_and_is_watched() -> None:
    bench = Bench(Effect.ONCE)
    bench.apply(Claimed(FAN_OUT, 1, 5))
    bench.pass_time()

    bench.apply(said(5, *items("a")))
    assert bench.machine.state.status == ExecutionStatus.RUNNING
    bench.pass_time()
    assert bench.machine.state.live[FAN_OUT].status is LiveStatus.AMBIGUOUS

    bench.apply(ended(5, 1))
    assert bench.routed == ["a"]
    assert bench.outcomes == [(NodeStatus.COMPLETED, Reason.NONE)]


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [
        (Decision.COMPLETE, (NodeStatus.COMPLETED, Reason.NONE)),
        (Decision.FAIL, (NodeStatus.FAILED, Reason.DECIDED)),
    ],
)
def test_rule_3_a_person_decides_what_is_ambiguous(decision: Decision, outcome: tuple[NodeStatus, Reason]) -> None:
    bench = Bench(Effect.ONCE)
    bench.apply(Claimed(FAN_OUT, 1, 5), RunLost(FAN_OUT, 1, "silent"))

    bench.apply(Decided(1, FAN_OUT, decision, message="seen in the bank's books"))

    assert bench.outcomes == [outcome]


def test_rule_3_a_decision_to_retry_makes_a_new_attempt_that_must_be_claimed() -> None:
    bench = Bench(Effect.ONCE)
    bench.apply(Claimed(FAN_OUT, 1, 5), RunLost(FAN_OUT, 1, "silent"))

    bench.apply(Decided(1, FAN_OUT, Decision.RETRY))

    assert not bench.machine.wants(ended(5, 0))
    assert not bench.machine.wants(ended(6, 0, attempt=2))
    bench.apply(Claimed(FAN_OUT, 2, 6), ended(6, 0, attempt=2))
    assert bench.outcomes == [(NodeStatus.COMPLETED, Reason.NONE)]


# Rule 12: order decides


@pytest.mark.parametrize("together", [True, False])
def test_rule_12_a_stop_after_the_end_changes_nothing(together: bool) -> None:
    bench = Bench(Effect.IDEMPOTENT)

    end, stop = ended(5, 0), StopRequested(1)
    if together:
        bench.apply(end, stop)
    else:
        bench.apply(end)
        assert not bench.apply(stop).events

    assert bench.machine.state.status == ExecutionStatus.COMPLETED
    assert bench.outcomes == [(NodeStatus.COMPLETED, Reason.NONE)]


@pytest.mark.parametrize("together", [True, False])
def test_rule_12_an_end_after_a_stop_is_dropped(together: bool) -> None:
    bench = Bench(Effect.IDEMPOTENT)

    end, stop = ended(5, 1, *items("a")), StopRequested(1)
    if together:
        bench.apply(stop, end)
    else:
        bench.apply(stop)
        assert not bench.machine.wants(end)
        assert not bench.apply(end).events

    assert bench.machine.state.status == ExecutionStatus.CANCELLED
    assert bench.outcomes == [(NodeStatus.CANCELLED, Reason.NONE)]
    assert bench.routed == []


def test_rule_12_a_claimed_once_node_at_a_stop_becomes_ambiguous() -> None:
    bench = Bench(Effect.ONCE)
    bench.apply(Claimed(FAN_OUT, 1, 5))

    effects = bench.apply(StopRequested(1))

    assert bench.outcomes == [(NodeStatus.AMBIGUOUS, Reason.NONE)]
    assert effects.dropped == [FAN_OUT]


def test_rule_12_a_once_node_whose_claimed_run_has_failed_is_not_ambiguous_at_a_stop() -> None:
    bench = Bench(Effect.ONCE, retry=Retry(max_attempts=2))
    bench.apply(Claimed(FAN_OUT, 1, 5), failed(5, 0))

    bench.apply(StopRequested(1))

    assert bench.outcomes == [(NodeStatus.CANCELLED, Reason.NONE)]


def test_rule_12_a_stop_of_very_many_is_wound_up_in_slices_and_takes_no_more_facts() -> None:
    bench = Bench(Effect.IDEMPOTENT)
    bench.apply(ended(5, 2_500, *items(*range(2_500))))

    stopped = bench.apply(StopRequested(1))
    assert stopped.more
    assert not bench.machine.wants(Reported(NEXT, 1, 9, (), Finish(False, 0), 1))
    while bench.all[-1].more:
        last = max(bench.machine.state.live)
        bench.apply(RunLost(last, 1, "silent"), Reported(last, 1, 9, (), Finish(False, 0), 1), Continued())

    outcomes = [outcome for effects in bench.all for outcome in effects.outcomes]
    assert len({outcome.number for outcome in outcomes}) == len(outcomes) == 2_501
    assert {outcome.status for outcome in outcomes[1:]} == {NodeStatus.CANCELLED}
    assert bench.machine.state.status == ExecutionStatus.CANCELLED


# Rule 14: a checksum of the effects


def test_rule_14_the_checksum_says_when_effects_differ() -> None:
    def checksum(*facts: Fact, seed: int = 1) -> int:
        bench = Bench(Effect.IDEMPOTENT, retry=Retry(max_attempts=2))
        bench.machine.state.seed = seed
        return bench.apply(*facts).checksum()

    usual = checksum(ended(5, 1, *items("a")))

    assert usual == checksum(ended(5, 1, *items("a")))
    assert usual == checksum(ended(6, 1, *items("a"))), "the run id is no effect"
    assert usual != checksum(ended(5, 1, *items("b")))
    assert usual != checksum(ended(5, 1, Output("key", 0, b'"a"')))
    assert usual != checksum(failed(5, 1, *items("a")))
    spent = Finish(False, 1, stats=b"tokens: 7")
    assert usual != checksum(Reported(FAN_OUT, 1, 5, items("a"), spent, 1_000)), "outcomes are recorded, not told"
    assert checksum(failed(5, 0)) != checksum(failed(5, 0), seed=2), "the time of the next attempt is an effect"


def test_rule_14_the_checksum_covers_sets_that_were_never_full() -> None:
    def checksum(value: bytes) -> int:
        builder = PlanBuilder()
        builder.node("work", lambda inputs, attempt: iter(()), effect=Effect.IDEMPOTENT)
        builder.node("join", lambda inputs, attempt: iter(()))
        builder.link("work.item", "join.a")
        builder.link("work.never", "join.b")
        machine = Machine(Topology(builder.plan()), State(seed=1))
        machine.apply([Started({}), said(5, Output("item", 0, value))], 1)
        effects = machine.apply([Reported(1, 1, 5, (), Finish(False, 1), 1)], 2)
        assert len(effects.incomplete) == 1
        told = [msgspec.structs.replace(event, value=b"") for event in effects.events]
        return msgspec.structs.replace(effects, events=told).checksum()

    assert checksum(b"1") != checksum(b"2")
