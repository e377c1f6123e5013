"""The rules of the ledger without a database: who may hold how much, what a charge writes, and ids in order."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.account.bookkeeping import (
    SPAN,
    Balance,
    Charge,
    Span,
    SpanKey,
    TopUp,
    TransferIds,
    TransferKind,
    book_charges,
    book_top_up,
    spans_of,
)
from services.account.charge_weeks import AHEAD, WEEK, KeptWeeks, week_at, week_number, week_of
from services.account.holding import granted
from services.common.ids import first_id

NOW = datetime(2026, 3, 4, 5, 6, 7, 123_456, UTC)
credits = st.integers(min_value=0, max_value=10_000)


@given(wanted=credits, held=credits, balance=st.integers(-10_000, 10_000), others=credits, undivided=st.integers(1, 50))
def test_holds_never_come_to_more_than_the_balance_nor_to_more_than_is_wanted(
    wanted: int, held: int, balance: int, others: int, undivided: int
) -> None:
    amount = granted(wanted=wanted, held=held, balance=balance, others=others, undivided=undivided)
    assert 0 <= amount <= wanted
    assert amount <= max(balance - others, 0)


@given(wanted=credits, held=credits, balance=credits, undivided=st.integers(1, 50))
def test_no_more_than_half_of_what_is_free_is_given_at_once_unless_it_is_not_worth_dividing(
    wanted: int, held: int, balance: int, undivided: int
) -> None:
    amount = granted(wanted=wanted, held=held, balance=balance, others=0, undivided=undivided)
    free = max(balance - min(held, balance), 0)
    assert amount - held <= max(free // 2, undivided)


@given(wanted=credits, balance=credits, others=credits, undivided=st.integers(1, 50))
def test_who_asks_again_and_again_gets_what_is_wanted_as_far_as_there_is_any(
    wanted: int, balance: int, others: int, undivided: int
) -> None:
    amount = 0
    for _ in range(16):
        amount = granted(wanted=wanted, held=amount, balance=balance, others=others, undivided=undivided)
    assert amount == min(wanted, max(balance - others, 0))


@given(held=credits, wanted=credits, balance=credits)
def test_to_want_less_always_succeeds(held: int, wanted: int, balance: int) -> None:
    if wanted <= min(held, balance):
        assert granted(wanted=wanted, held=held, balance=balance, others=0, undivided=20) == wanted


@given(st.integers(0, 2**64 - 1), st.integers(0, 999_999))
def test_ids_of_transfers_are_uuids_of_version_seven_in_order(random: int, microsecond: int) -> None:
    moment = NOW.replace(microsecond=microsecond)
    earlier, later = TransferIds(moment, random), TransferIds(moment + timedelta(microseconds=1), 0)
    drawn = [next(earlier) for _ in range(3)]
    assert drawn == sorted(drawn) < [next(later)]
    assert {(each.version, each.variant) for each in drawn} == {(7, "specified in RFC 4122")}
    assert week_at(week_number(drawn[0])) == week_of(moment)


@pytest.mark.parametrize(
    ("amount", "kind", "low", "told"),
    [
        (5, TransferKind.TOP_UP, 0, False),
        (-5, TransferKind.ADJUSTMENT, 0, False),
        (-5, TransferKind.ADJUSTMENT, 6, True),
    ],
)
def test_what_is_given_is_a_top_up_and_what_is_taken_away_an_adjustment(
    amount: int, kind: TransferKind, low: int, told: bool
) -> None:
    booking = book_top_up(Balance("anna", 10, low_balance=low), UUID(int=1), TopUp("anna", amount, "why", "root"))
    [transfer] = booking.transfers
    assert (transfer.kind, transfer.balance, transfer.request_id) == (kind, 10 + amount, None)
    assert bool(booking.low) is told


charges = st.lists(
    st.builds(
        Charge,
        execution_id=st.integers(1, 4).map(lambda number: UUID(int=number)),
        node_executions=st.lists(st.integers(0, 1000), min_size=1, max_size=8),
        user_id=st.sampled_from(["anna", "bert"]),
        graph_id=st.just("graph"),
        block_id=st.sampled_from(["x", "y"]),
        amount=st.integers(1, 100),
        second=st.integers(0, 20_000),
    ),
    max_size=30,
)


marked = st.dictionaries(
    st.tuples(st.integers(1, 4).map(lambda number: UUID(int=number)), st.integers(0, 3)),
    st.builds(Span, st.integers(1, 2**SPAN - 1), st.integers(1, 100)),
)


@given(charges, marked)
def test_each_node_execution_is_booked_once_and_balances_transfers_spending_and_marks_say_the_same(
    some: list[Charge], charged: dict[SpanKey, Span]
) -> None:
    done = {
        (execution_id, number * SPAN + place)
        for (execution_id, number), span in charged.items()
        for place in range(SPAN)
        if span.marks >> place & 1
    }
    new: dict[tuple[UUID, int], Charge] = {}
    for charge in some:
        for number in charge.node_executions:
            if (charge.execution_id, number) not in done:
                new.setdefault((charge.execution_id, number), charge)
    balances = {user: Balance(user, 500, 7, low_balance=100) for user in ("anna", "bert")}

    booking = book_charges(balances, charged, some, TransferIds(NOW, 1))

    assert {after.user_id for after in booking.balances} == {charge.user_id for charge in new.values()}
    for after in booking.balances:
        spent = sum(charge.amount for charge in new.values() if charge.user_id == after.user_id)
        assert (after.balance, after.spent) == (500 - spent, 7 + spent)
        moved = [transfer for transfer in booking.transfers if transfer.user_id == after.user_id]
        assert moved == sorted(moved, key=lambda transfer: transfer.transfer_id)
        assert moved[-1].balance == after.balance
        assert sum(each.amount for each in booking.spending if each.user_id == after.user_id) == spent
        assert (after in booking.low) is (after.balance < 100)
    assert sum(transfer.charges for transfer in booking.transfers) == len(new)
    assert sum(each.charges for each in booking.spending) == len(new)
    booked = {key: span.marks & ~charged.get(key, Span()).marks for key, span in booking.charged.items()}
    assert new.keys() == {
        (execution_id, number * SPAN + place)
        for (execution_id, number), marks in booked.items()
        for place in range(SPAN)
        if marks >> place & 1
    }
    for key, span in booking.charged.items():
        before = charged.get(key, Span())
        assert (span.marks | before.marks, span.version) == (span.marks, before.version + 1)
    assert spans_of(some) >= booking.charged.keys()


def test_a_user_is_told_once_until_the_balance_was_above_the_bound_again() -> None:
    balance, told = Balance("anna", 50, low_balance=30), []
    for amount in (-10, -15, -5, 25, -25, -1):
        booking = book_top_up(balance, UUID(int=1), TopUp("anna", amount))
        [balance] = booking.balances
        told.append(bool(booking.low))
    assert told == [False, True, False, False, True, False]


def test_a_user_who_has_set_no_bound_is_told_nothing() -> None:
    assert not book_top_up(Balance("anna", 0), UUID(int=1), TopUp("anna", -10)).low


@given(st.datetimes(datetime(2024, 2, 1), datetime(2100, 1, 1)), st.integers(14, 2000))
def test_a_week_that_may_go_is_one_of_which_nobody_takes_charges(moment: datetime, days: int) -> None:
    now, kept = moment.replace(tzinfo=UTC), KeptWeeks(days)
    for number in range(days // 7 + 8):
        week = week_of(now) + AHEAD - number * WEEK
        taken = week_number(first_id(week)) in kept.taken(now)
        assert not (taken and kept.is_past(week, now + timedelta(hours=23)))
        assert kept.is_past(week, now) is (week < kept.first(now))
    assert {week_number(first_id(week)) for week in kept.needed(now)} <= set(kept.taken(now))


def test_weeks_follow_each_other_by_execution_id() -> None:
    assert week_at(week_number(first_id(NOW))) == week_of(NOW)
    assert week_at(week_number(UUID(int=first_id(week_of(NOW)).int - 1))) == week_of(NOW) - WEEK
