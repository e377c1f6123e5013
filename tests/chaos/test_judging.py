"""Every way in which a promise can be broken is found; an execution for which all holds gives no finding."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from blockyard.events import Event, EventKind
from blockyard.records import ExecutionStatus, Results

from tests.chaos.credits import Credits
from tests.chaos.deliveries import number_in
from tests.chaos.faults import Crash
from tests.chaos.histories import Child, History, Row
from tests.chaos.judging import (
    Wrong,
    judge,
    judge_children,
    judge_crashes,
    judge_credits,
    judge_deliveries,
    judge_ends,
    judge_execution,
    judge_schedules,
)
from tests.chaos.schedules import Firing, Schedules
from tests.chaos.shapes import Expected, Load, Shape
from tests.chaos.traffic import Followed


def event(sequence: int, kind: EventKind, node_execution: int = 0) -> Event:
    return Event("e", sequence, kind, None, node_execution, "", 1, "", 0, None, False, "", "", None, "")


EVENTS = (
    event(1, EventKind.EXECUTION_STARTED),
    event(2, EventKind.NODE_COMPLETED, 1),
    event(3, EventKind.NODE_COMPLETED, 2),
    event(4, EventKind.EXECUTION_COMPLETED),
)


def expect_one(_: object) -> Expected:
    return Expected({"out": [1]})


def build_nothing() -> None:
    raise AssertionError("nothing is built here")


SHAPE = Shape("plain", build_nothing, lambda random: {}, expect_one)  # type: ignore[arg-type] # is never called
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROW = Row(ExecutionStatus.COMPLETED, "", 2, 4, (1, 2), accepted=NOON, end=NOON + timedelta(seconds=2))
WELL = History(Load(1, SHAPE, {}), "e", ROW, EVENTS, {"out": [1]}, Followed((1, 2, 3, 4)))


def wrongs(history: History) -> list[Wrong]:
    return [finding.wrong for finding in judge_execution(history)]


def test_an_execution_that_is_as_it_should_be_gives_no_finding() -> None:
    assert judge([WELL], {}, {"e-1": 1}, {}) == []


def test_an_accepted_execution_without_a_row_is_lost() -> None:
    assert wrongs(replace(WELL, row=None)) == [Wrong.LOST]


def test_an_execution_that_has_not_ended_is_stuck() -> None:
    assert wrongs(replace(WELL, row=replace(ROW, status=ExecutionStatus.RUNNING))) == [Wrong.STUCK]


def test_another_status_or_another_value_is_a_wrong_output() -> None:
    assert wrongs(replace(WELL, row=replace(ROW, status=ExecutionStatus.FAILED))) == [Wrong.WRONG_OUTPUT]
    assert wrongs(replace(WELL, results={"out": [2]})) == [Wrong.WRONG_OUTPUT]
    assert wrongs(replace(WELL, results={"out": [1, 1]})) == [Wrong.WRONG_OUTPUT]


def test_a_node_execution_without_an_outcome_is_lost() -> None:
    assert Wrong.LOST in wrongs(replace(WELL, row=replace(ROW, node_executions=3)))


def test_a_node_execution_with_two_outcomes_is_doubled() -> None:
    assert Wrong.DOUBLED in wrongs(replace(WELL, row=replace(ROW, numbers=(1, 2, 2))))
    twice = (*EVENTS[:2], event(3, EventKind.NODE_FAILED, 1), EVENTS[3])
    assert Wrong.DOUBLED in wrongs(replace(WELL, events=twice))


def test_missing_repeated_and_late_events_are_gaps() -> None:
    assert Wrong.GAP in wrongs(replace(WELL, events=(EVENTS[0], EVENTS[1], EVENTS[3])))
    assert Wrong.GAP in wrongs(replace(WELL, events=(EVENTS[0], EVENTS[0], *EVENTS[1:])))
    assert Wrong.GAP in wrongs(replace(WELL, events=EVENTS[:3], row=replace(ROW, last_event=3)))


def test_a_subscriber_that_missed_an_event_or_the_end_is_a_gap() -> None:
    assert wrongs(replace(WELL, followed=Followed((1, 2, 4)))) == [Wrong.GAP]
    assert wrongs(replace(WELL, followed=Followed((1, 2), "still waits"))) == [Wrong.GAP]


def test_a_block_that_must_not_be_repeated_runs_again_only_by_decision() -> None:
    assert [finding.wrong for finding in judge([WELL], {}, {"e-1": 2}, {})] == [Wrong.DOUBLED]
    assert judge([WELL], {}, {"e-1": 2}, {"e-1": 1}) == []


def test_one_start_that_made_two_executions_is_doubled() -> None:
    assert [finding.wrong for finding in judge([WELL], {1: ["e", "f"]}, {}, {})] == [Wrong.DOUBLED]


def test_a_fault_meets_the_executions_that_are_accepted_and_have_not_ended() -> None:
    assert [WELL.alive_at(NOON + timedelta(seconds=second)) for second in (-1, 1, 3)] == [False, True, False]
    assert replace(WELL, row=replace(ROW, end=None)).alive_at(NOON + timedelta(days=1))


def test_children_that_run_on_or_are_there_twice_are_found() -> None:
    well = [Child("a", ("e", 1, 1), True), Child("b", ("e", 1, 2), True), Child("c", ("f", 1, 1), True)]
    assert judge_children(well) == []
    running = judge_children([Child("a", ("e", 1, 1), False)])
    assert [(finding.wrong, finding.execution_id) for finding in running] == [(Wrong.STUCK, "a")]
    doubled = judge_children([*well, Child("d", ("e", 1, 2), True)])
    assert [(finding.wrong, finding.execution_id) for finding in doubled] == [(Wrong.DOUBLED, "e")]


@pytest.mark.parametrize(
    ("named", "started", "count"),
    [
        ({1: {"a"}, 2: {"b"}}, {"a": 1, "b": 2}, 0),
        ({1: {"a"}, 2: set()}, {"a": 1}, 1),
        ({1: {"a"}, 2: {"b", "c"}}, {"a": 1, "b": 2, "c": 2}, 1),
        ({1: {"a"}, 2: {"b"}}, {"a": 1, "b": 2, "c": 2}, 2),
        ({1: {"a"}, 2: {"a"}}, {"a": 1}, 2),
        ({1: {"a"}, 2: {"b"}}, {"a": 1, "b": 2, "c": 0}, 1),
    ],
)
def test_each_delivery_starts_the_one_execution_that_was_named(
    named: dict[int, set[str]], started: dict[str, int], count: int
) -> None:
    assert len(judge_deliveries(2, named, started)) == count


@pytest.mark.parametrize(
    ("results", "number"),
    [
        ({"payload": [{"number": 7}]}, 7),
        ({}, 0),
        ({"payload": []}, 0),
        ({"payload": [{"number": 7}, {"number": 7}]}, 0),
        ({"payload": [None]}, 0),
        ({"payload": [{"other": 7}]}, 0),
        ({"payload": [{"number": "7"}]}, 0),
    ],
)
def test_results_that_are_none_of_one_delivery_have_no_number(results: Results, number: int) -> None:
    assert number_in(results) == number


def test_what_the_clock_or_a_webhook_has_started_is_to_complete() -> None:
    assert judge_ends("by the clock", {"a": ExecutionStatus.COMPLETED}) == []
    stuck, failed = judge_ends("by the clock", {"a": ExecutionStatus.WAITING, "b": ExecutionStatus.FAILED})
    assert (stuck.wrong, stuck.execution_id) == (Wrong.STUCK, "a")
    assert (failed.wrong, failed.execution_id) == (Wrong.WRONG_OUTPUT, "b")


def test_a_member_that_ended_by_itself_is_found() -> None:
    assert judge_crashes([]) == []
    found = judge_crashes([Crash("execution-1", 3.2, 1, "a line"), Crash("subscriber-nats", 4.0, 1, "")])
    assert [finding.wrong for finding in found] == [Wrong.CRASHED]
    assert "execution-1" in found[0].what


def test_each_due_time_starts_one_execution() -> None:
    one, two, late = (NOON + timedelta(minutes=minutes) for minutes in (0, 1, 2))
    until = late + timedelta(seconds=30)  # the last may be held by its jitter
    schedules = Schedules("", None, {"s": one}, until)  # type: ignore[arg-type] # nobody is asked
    first, second = Firing("s", one, 2, "a"), Firing("s", two, 2, "b")

    def count(firings: list[Firing], executions: list[str]) -> int:
        return len(judge_schedules(schedules, firings, executions))

    assert count([first, second], ["a", "b"]) == 0
    assert count([first, second, Firing("s", late, 2, "c")], ["a", "b", "c"]) == 0
    assert count([first], ["a"]) == 1
    assert count([first, replace(second, status=4, execution_id=None)], ["a"]) == 1
    assert count([first, second], ["a", "b", "c"]) == 1
    assert count([first, second], ["a"]) == 1
    assert count([first, replace(second, execution_id="a")], ["a"]) == 1


CREDITS = Credits(
    given=100,
    outcomes={("e", 1): 3, ("e", 2): 0, ("f", 1): 5},
    charged={("e", 1), ("f", 1)},
    spent={"e": 3, "f": 5},
    balance=92,
    sum_of_entries=0,
    discrepancies=[],
)


def test_outcomes_that_were_charged_once_and_sums_that_fit_give_no_finding() -> None:
    assert judge_credits(CREDITS) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"charged": {("e", 1)}},
        {"charged": {("e", 1), ("e", 2), ("f", 1)}},
        {"charged": {("e", 1), ("f", 1), ("g", 1)}},
        {"spent": {"e": 3}},
        {"spent": {"e": 6, "f": 5}},
        {"spent": {"e": 4, "f": 4}},
        {"spent": {"e": 3, "f": 5, "g": 1}},
        {"balance": 91},
        {"balance": 93},
        {"given": 101},
        {"sum_of_entries": -1},
        {"discrepancies": ["a balance is not the sum of its entries"]},
    ],
)
def test_a_charge_or_a_balance_that_is_wrong_by_one_is_found(wrong: dict[str, Any]) -> None:
    findings = judge_credits(replace(CREDITS, **wrong))
    assert {finding.wrong for finding in findings} == {Wrong.MISCHARGED}
