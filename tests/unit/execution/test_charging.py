"""What a run costs, as its runner said with its outcome; and which charges are to be told."""

from typing import cast

import asyncpg
import pytest
from blockyard.block.costs import LARGEST_AMOUNT

from services.execution.charging import AT_ONCE, HOUR, MOST_PENDING, Charger, Due, cost_of, together
from services.execution.purse import Purse
from services.execution.repository.charges import ChargeRepository


@pytest.mark.parametrize(
    ("stats", "cost"),
    [
        (b"", 0),
        (b'{"tokens": 7}', 0),
        (b'{"cost": 7, "tokens": {"in": 3}}', 7),
        (b'{"cost": 0}', 0),
        (b'{"cost": %d}' % LARGEST_AMOUNT, LARGEST_AMOUNT),
    ],
)
def test_the_cost_of_a_run_is_what_its_runner_said(stats: bytes, cost: int) -> None:
    assert cost_of(stats) == cost


@pytest.mark.parametrize("said", ["-3", "1e30", "1" + "0" * 30, '"seven"', "null", "[1]", "0.5", "{"])
def test_a_runner_that_says_nonsense_charges_nothing_and_breaks_nothing(said: str) -> None:
    assert cost_of(b'{"cost": ' + said.encode() + b"}") == 0


def test_stats_that_are_nested_too_deeply_charge_nothing_and_break_nothing() -> None:
    assert cost_of(b'{"a":' * 100_000 + b'"cost"') == 0


def test_charges_of_a_block_in_an_execution_that_cost_as_much_are_told_as_one() -> None:
    charges = [
        Due(execution, "anna", "graph", block, amount, second, number)
        for number, (execution, block, amount, second) in enumerate(
            [
                (b"e", "x", 3, HOUR - 1),
                (b"e", "y", 3, HOUR - 1),
                (b"e", "x", 3, 1),
                (b"f", "x", 3, 1),
                (b"e", "x", 4, 1),
                (b"e", "x", 3, HOUR),
                (b"e", "x", 3, 2),
            ]
        )
    ]
    told = [
        (charge.execution_id, charge.block_id, charge.amount, [charge.node_execution, *charge.further_node_executions])
        for charge in together(charges)
    ]
    assert told == [
        (b"e", "x", 3, [0, 2, 6]),
        (b"e", "y", 3, [1]),
        (b"f", "x", 3, [3]),
        (b"e", "x", 4, [4]),
        (b"e", "x", 3, [5]),
    ]


@pytest.fixture
def charger() -> Charger:
    """One of partition 1, whose last turn is 10, with all before it charged. No rows are asked for."""
    charger = Charger(Purse(100, lambda: 0.0), ChargeRepository(cast("asyncpg.Pool", None)))
    charger.expect(1, 10)
    charger.open(1, 10)
    return charger


def dues(*amounts: int) -> list[Due]:
    return [Due(b"e", "anna", "graph", "x", amount, 1, number) for number, amount in enumerate(amounts)]


def owed(charger: Charger) -> int:
    """What counts as spent for charges that are not booked."""
    return -charger.purse.free("anna")


def test_the_mark_follows_what_is_booked_and_turns_that_cost_nothing(charger: Charger) -> None:
    charger.note(1, 11, [])
    assert charger.charged() == {1: 11}
    charger.note(1, 12, dues(3))
    charger.note(1, 13, [])
    charger.note(1, 14, dues(4, 5))
    charger.note(1, 15, [])
    assert (charger.charged(), charger.pending, owed(charger)) == ({1: 11}, 3, 12)

    first = charger.next()[:1]
    charger.booked(first)
    assert (charger.charged(), charger.pending, owed(charger)) == ({1: 12}, 2, 9)
    charger.booked(charger.next())
    assert (charger.charged(), charger.pending, owed(charger)) == ({1: 15}, 0, 0)


def test_what_is_noted_while_others_are_told_is_told_next(charger: Charger) -> None:
    charger.note(1, 11, dues(3))
    told = charger.next()
    charger.note(1, 12, dues(4))
    charger.booked(told)
    assert charger.charged() == {1: 11}
    assert [noted.feed_sequence for noted in charger.next()] == [12]


def test_before_the_marks_are_known_nothing_is_marked_and_all_is_left_to_rows(charger: Charger) -> None:
    charger.expect(2, 5)
    charger.note(2, 6, dues(3))
    assert (charger.charged(), charger.pending) == ({1: 10}, 0)
    charger.open(2, 5)
    assert (charger.charged(), charger.behind()) == ({1: 10, 2: 5}, [2])


def test_in_doubt_what_was_noted_is_left_to_rows_also_when_it_is_being_told(charger: Charger) -> None:
    charger.note(1, 11, dues(3))
    told = charger.next()
    charger.doubt(1, 12)
    charger.booked(told)
    assert (charger.charged(), charger.behind(), charger.next(), owed(charger)) == ({1: 10}, [1], [], 0)
    charger.note(1, 13, dues(3))
    assert charger.pending == 0


def test_of_a_partition_that_was_given_up_nothing_is_told_or_marked(charger: Charger) -> None:
    charger.expect(2, 5)
    charger.open(2, 5)
    charger.note(1, 11, dues(3))
    charger.note(2, 6, dues(4))
    told = charger.next()
    charger.close(1)
    charger.note(1, 12, dues(3))
    assert [noted.partition for noted in charger.next()] == [2]
    charger.booked(told)
    assert (charger.charged(), charger.pending, owed(charger)) == ({2: 6}, 0, 0)
    charger.close_all()
    assert charger.charged() == {}


@pytest.mark.parametrize(("size", "times"), [(AT_ONCE, MOST_PENDING // AT_ONCE), (AT_ONCE + 1, 0)])
def test_what_has_no_room_is_left_to_rows(charger: Charger, size: int, times: int) -> None:
    for number in range(times):
        charger.note(1, 11 + number, dues(*[1] * size))
    assert (charger.pending, charger.behind()) == (times * size, [])
    charger.note(1, 100, dues(*[1] * size))
    assert (charger.pending, charger.behind(), charger.charged(), owed(charger)) == (0, [1], {1: 10}, 0)


def test_a_call_has_no_more_charges_than_it_may(charger: Charger) -> None:
    for number in range(3):
        charger.note(1, 11 + number, dues(*[1] * (AT_ONCE // 2)))
    assert [noted.feed_sequence for noted in charger.next()] == [11, 12]
