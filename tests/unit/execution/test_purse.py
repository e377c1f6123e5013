"""What may be sent against the credits that are held, and when more is asked for."""

import asyncio
from dataclasses import dataclass

import pytest
from blockyard.account.v1.ledger_service_pb2 import CreditDemand, CreditHold

from services.execution.errors import InsufficientCredits
from services.execution.purse import IDLE_SECONDS, MOST_DEMANDS, TRY_AGAIN_SECONDS, Purse

VALID = 30.0


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def purse_with(held: int, balance: int | None = None) -> tuple[Purse, Clock]:
    """One that was given so much for anna."""
    clock = Clock()
    purse = Purse(100, clock)
    assert not purse.may_send("anna")
    answer(purse, clock, held, held if balance is None else balance)
    return purse, clock


def answer(purse: Purse, clock: Clock, held: int, balance: int) -> list[str]:
    demands = purse.demands()
    holds = [CreditHold(user_id=demand.user_id, amount=held, balance=balance) for demand in demands]
    return purse.answered(clock.now, VALID, demands, holds)


def amounts(demands: list[CreditDemand]) -> dict[str, int]:
    return {demand.user_id: demand.amount for demand in demands}


def test_nothing_is_sent_before_anything_is_held() -> None:
    purse = Purse(100, Clock())

    assert not purse.may_send("anna")
    assert amounts(purse.demands()) == {"anna": 100}


def test_many_users_are_asked_for_in_turn_and_no_question_is_longer_than_the_account_service_takes() -> None:
    clock = Clock()
    purse = Purse(100, clock)
    users = [f"user-{number}" for number in range(2 * MOST_DEMANDS + 1)]
    for user_id in users:
        assert not purse.may_send(user_id)

    asked: list[str] = []
    sizes: list[tuple[int, bool]] = []
    purse.wanting.clear()
    while demands := purse.demands():
        sizes.append((len(demands), purse.wanting.is_set()))
        purse.wanting.clear()
        asked += [demand.user_id for demand in demands]
        holds = [CreditHold(user_id=demand.user_id, amount=0) for demand in demands]
        purse.answered(clock.now, VALID, demands, holds)

    assert asked == users
    assert sizes == [(MOST_DEMANDS, True), (MOST_DEMANDS, True), (1, False)]


def test_what_is_in_flight_counts_as_spent_by_what_its_block_cost_last() -> None:
    purse, _ = purse_with(10)
    purse.costs("dear", 8)

    first = purse.reserve("anna", "dear")
    second_may_go = purse.may_send("anna")
    purse.reserve("anna", "unknown")
    purse.reserve("anna", "unknown")
    third_may_go = purse.may_send("anna")
    purse.release("anna", first)

    assert (first, second_may_go, third_may_go) == (8, True, False)
    assert purse.may_send("anna")


def test_what_was_recorded_and_is_not_booked_counts_as_spent() -> None:
    purse, _ = purse_with(10)

    purse.owes("anna", 10)
    while_it_is_owed = purse.may_send("anna")
    purse.settled([CreditHold(user_id="anna", amount=0, balance=0)])
    purse.forget("anna", 10)

    assert not while_it_is_owed
    assert not purse.may_send("anna")


def test_a_hold_that_was_not_renewed_is_worth_nothing() -> None:
    purse, clock = purse_with(100)

    clock.now += VALID - 0.1
    before = purse.may_send("anna")
    clock.now += 0.2

    assert before
    assert not purse.may_send("anna")


def test_a_hold_is_renewed_at_half_of_its_time() -> None:
    purse, clock = purse_with(100)

    clock.now += VALID / 2 - 0.1
    purse.may_send("anna")
    before = purse.demands()
    clock.now += 0.2
    purse.may_send("anna")

    assert before == []
    assert amounts(purse.demands()) == {"anna": 100}


def test_more_is_asked_for_when_more_is_spent() -> None:
    purse, clock = purse_with(100)
    for _ in range(90):
        purse.reserve("anna", "block")
    clock.now += 0.1

    assert amounts(purse.demands()) == {"anna": 180}


def test_who_was_given_less_than_was_asked_for_is_not_asked_for_all_the_time() -> None:
    purse, clock = purse_with(5)
    for _ in range(5):
        purse.reserve("anna", "block")

    at_once = (purse.may_send("anna"), purse.demands())
    clock.now += TRY_AGAIN_SECONDS

    assert at_once == (False, [])
    assert amounts(purse.demands()) == {"anna": 100}


def test_an_idle_user_gives_back_what_is_held_and_is_forgotten() -> None:
    purse, clock = purse_with(100)
    clock.now += IDLE_SECONDS + 0.1

    given_back = purse.demands()
    purse.answered(clock.now, VALID, given_back, [CreditHold(user_id="anna", amount=0, balance=100)])
    nothing_more = purse.demands()

    assert amounts(given_back) == {"anna": 0}
    assert nothing_more == []


def test_who_has_nothing_left_is_told() -> None:
    clock = Clock()
    purse = Purse(100, clock)
    purse.may_send("anna")
    purse.may_send("bert")
    purse.owes("bert", 50)
    demands = purse.demands()
    holds = [CreditHold(user_id=one.user_id, amount=0, balance=0 if one.user_id == "anna" else 50) for one in demands]

    assert purse.answered(clock.now, VALID, demands, holds) == ["anna", "bert"]


async def test_a_start_with_credits_that_are_held_asks_nobody() -> None:
    purse, _ = purse_with(100)

    await purse.check_start("anna")

    assert not purse.wanting.is_set() or purse.demands() == []


async def test_a_start_waits_for_the_answer_and_is_refused_without_credits() -> None:
    clock = Clock()
    purse = Purse(100, clock)
    asking = asyncio.create_task(purse.check_start("anna"))
    await purse.wanting.wait()

    answer(purse, clock, 0, 0)

    with pytest.raises(InsufficientCredits):
        await asking


async def test_a_start_is_accepted_while_others_hold_what_is_left() -> None:
    clock = Clock()
    purse = Purse(100, clock)
    asking = asyncio.create_task(purse.check_start("anna"))
    await purse.wanting.wait()

    answer(purse, clock, 0, 40)

    await asking
