"""Charges: each is booked once, whoever sends it and however often, and balances are never wrong by a unit."""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from blockyard.dev.postgres import PostgresServer
from prometheus_client import REGISTRY

from services.account.charge_weeks import WEEK, week_of
from services.account.errors import LedgerChanged
from services.account.repository.verification import verify
from services.common.ids import first_id, new_id
from tests.integration.account.ledgers import KEPT, House, Replica, amounts, charge, house


@pytest.fixture(scope="module")
def opened(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[House]:
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(house(postgres)))
    finally:
        runner.run(stack.aclose())


@pytest.fixture(scope="module")
def replica(runner: asyncio.Runner, opened: House) -> Replica:
    return runner.run(opened.replica())


@pytest.fixture(scope="module")
def other(runner: asyncio.Runner, opened: House) -> Replica:
    return runner.run(opened.replica())


async def test_charges_are_taken_off_the_balance_and_counted_as_spent(replica: Replica) -> None:
    user, execution = await replica.new_user(credits=100), new_id()
    await replica.ledger.settle("one", [charge(user, execution, number, amount=7) for number in (1, 2, 3)])
    credits = await replica.has(user)
    assert (credits.balance, credits.spent) == (79, 21)
    assert await replica.charged([execution]) == 3
    assert await replica.discrepancies() == []


async def test_charges_that_are_sent_again_change_nothing(replica: Replica, other: Replica) -> None:
    user, execution = await replica.new_user(credits=100), new_id()
    charges = [charge(user, execution, number, amount=5) for number in range(1, 5)]
    await replica.ledger.settle("one", charges)
    await replica.ledger.settle("one", charges)
    await other.ledger.settle("two", list(reversed(charges)) + charges)
    assert (await replica.has(user)).balance == 80
    assert await replica.charged([execution]) == 4
    assert await replica.discrepancies() == []


async def test_it_is_counted_by_node_execution_what_was_booked_and_what_was_repeated(replica: Replica) -> None:
    def counted() -> list[float]:
        names = [("blockyard_ledger_charges_total", {"outcome": outcome}) for outcome in ("booked", "repeated")]
        names.append(("blockyard_ledger_credits_charged_total", {}))
        return [REGISTRY.get_sample_value(name, labels) or 0.0 for name, labels in names]

    user, execution = await replica.new_user(credits=100), new_id()
    await replica.ledger.settle("one", [charge(user, execution, 1, 2, amount=5)])
    before = counted()
    await replica.ledger.settle("one", [charge(user, execution, 1, 2, 3, amount=5), charge(user, execution, 3)])
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 3, 5]


async def test_of_charges_that_are_partly_new_the_new_ones_are_booked(replica: Replica) -> None:
    user, execution = await replica.new_user(credits=100), new_id()
    await replica.ledger.settle("one", [charge(user, execution, 2, amount=10)])
    await replica.ledger.settle("one", [charge(user, execution, number, amount=10) for number in (1, 2, 3)])
    assert (await replica.has(user)).balance == 70
    assert await replica.discrepancies() == []


async def test_a_node_execution_that_comes_again_with_another_amount_or_user_leaves_the_first_and_books_the_rest(
    replica: Replica,
) -> None:
    user, somebody, execution = await replica.new_user(credits=100), await replica.new_user(credits=100), new_id()
    await replica.ledger.settle("one", [charge(user, execution, 1, amount=10)])
    await replica.ledger.settle(
        "one",
        [
            charge(user, execution, 1, amount=11),
            charge(somebody, execution, 1, amount=10),
            charge(user, execution, 1, 2, amount=3),
        ],
    )
    assert (await replica.has(user)).balance == 87
    assert (await replica.has(somebody)).balance == 100
    assert await replica.discrepancies() == []


async def test_node_executions_far_apart_that_come_in_other_groups_are_each_booked_once(
    replica: Replica, other: Replica
) -> None:
    user, execution = await replica.new_user(credits=100_000), new_id()
    numbers = [0, 1, 7, 8, 254, 255, 256, 257, 511, 512, 70_000, 2**40, 2**63 - 1]
    random_order = random.Random(7)
    for sender in (replica, other) * 5:
        some = random_order.sample(numbers, 9)
        await sender.ledger.settle("one", [charge(user, execution, *some[:4]), charge(user, execution, *some[4:])])
    await replica.ledger.settle("one", [charge(user, execution, *numbers)])
    assert (await replica.has(user)).spent == len(numbers)
    assert await replica.charged([execution]) == len(numbers)
    assert await replica.discrepancies() == []


async def test_two_amounts_for_one_node_execution_in_one_call_book_the_first(replica: Replica) -> None:
    user, execution = await replica.new_user(credits=100), new_id()
    await replica.ledger.settle("one", [charge(user, execution, 1, amount=10), charge(user, execution, 1, amount=20)])
    assert (await replica.has(user)).balance == 90
    assert await replica.discrepancies() == []


async def test_a_balance_goes_below_zero_by_exactly_what_ran_when_it_ran_out(replica: Replica) -> None:
    user, execution = await replica.new_user(credits=10), new_id()
    await replica.ledger.settle("one", [charge(user, execution, number, amount=4) for number in (1, 2, 3)])
    assert (await replica.has(user)).balance == -2


async def test_somebody_who_never_had_credits_owes_what_they_are_charged(replica: Replica) -> None:
    user = f"unknown-{new_id()}"
    await replica.ledger.settle("one", [charge(user, new_id(), amount=3)])
    credits = await replica.has(user)
    assert (credits.balance, credits.spent) == (-3, 3)
    assert await replica.discrepancies() == []


async def test_a_transfer_is_made_for_each_execution_of_a_call_and_its_balances_follow_each_other(
    replica: Replica,
) -> None:
    user, executions = await replica.new_user(credits=1000), [new_id() for _ in range(5)]
    charges = [charge(user, execution, number, amount=number) for execution in executions for number in (1, 2, 3)]
    random.Random(4).shuffle(charges)
    await replica.ledger.settle("one", charges)
    await replica.ledger.settle("one", [charge(user, executions[0], 9, amount=100)])
    newest_first = await replica.credits.page(user, None, 100)
    assert [row.charges for row in newest_first] == [1, 3, 3, 3, 3, 3, 0]
    balance = 0
    for row in reversed(newest_first):
        balance += row.amount
        assert row.balance == balance
    assert balance == 1000 - 5 * 6 - 100


async def test_what_was_booked_comes_off_the_senders_hold_once(replica: Replica) -> None:
    user, execution = await replica.new_user(credits=100), new_id()
    assert await replica.hold("one", user, 20) == 20
    charges = [charge(user, execution, number, amount=5) for number in (1, 2)]
    assert amounts(await replica.ledger.settle("one", charges)) == {user: 10}
    assert amounts(await replica.ledger.settle("one", charges)) == {user: 10}
    [hold] = await replica.ledger.settle("one", [charge(user, execution, 3, amount=50)])
    assert (hold.amount, hold.balance) == (0, 40)


async def test_what_somebody_else_sends_leaves_a_hold_as_it_is(replica: Replica) -> None:
    user = await replica.new_user(credits=100)
    assert await replica.hold("one", user, 20) == 20
    assert amounts(await replica.ledger.settle("two", [charge(user, new_id(), amount=5)])) == {user: 0}
    assert (await replica.has(user)).held == 20


async def test_an_execution_from_before_the_service_was_there_is_charged(replica: Replica) -> None:
    user = await replica.new_user(credits=100)
    old = UUID(int=first_id(datetime.now(UTC) - timedelta(days=200)).int | 0x7 << 76 | 0x2 << 62)
    await replica.ledger.settle("one", [charge(user, old, amount=5)])
    await replica.ledger.settle("one", [charge(user, old, amount=5)])
    assert (await replica.has(user)).balance == 95
    assert await replica.discrepancies() == []


async def test_an_execution_id_that_is_no_time_is_not_booked_and_harms_no_other(replica: Replica) -> None:
    user = await replica.new_user(credits=100)
    outside = [UUID(int=0), UUID(int=2**128 - 1)]
    await replica.ledger.settle("one", [*(charge(user, one, amount=5) for one in outside), charge(user, new_id())])
    assert (await replica.has(user)).balance == 99
    assert await replica.discrepancies() == []


@pytest.mark.parametrize("age", [timedelta(days=500), timedelta(days=-90), timedelta(days=20_000)])
async def test_a_charge_that_can_no_longer_be_told_from_a_booked_one_is_not_booked(
    replica: Replica, age: timedelta
) -> None:
    user = await replica.new_user(credits=100)
    outside, inside = first_id(datetime.now(UTC) - age), new_id()
    holds = await replica.ledger.settle("one", [charge(user, outside, amount=5), charge(user, inside, amount=3)])
    assert amounts(holds) == {user: 0}
    assert (await replica.has(user)).balance == 97
    assert await replica.discrepancies() == []


async def test_weeks_past_retention_are_dropped_and_what_they_came_to_stays(
    runner: asyncio.Runner, postgres: PostgresServer
) -> None:
    async with house(postgres) as opened:
        replica = await opened.replica()
        await replica.ledger.make_weeks()
        user, now = await replica.new_user(credits=100), datetime.now(UTC)
        old = first_id(week_of(now) - 8 * WEEK)
        await replica.ledger.settle("one", [charge(user, old, amount=5)])
        await replica.ledger.settle("one", [charge(user, new_id(), amount=3)])
        later = await opened.replica(kept=type(KEPT)(days=30))
        assert await later.ledger.drop_past_weeks() == 1
        assert week_of(now) - 8 * WEEK not in await later.weeks.weeks()
        assert await later.ledger.drop_past_weeks() == 0
        assert (await replica.has(user)).balance == 92
        assert (await replica.credits.spending(user, None, None, 10))[1] == 8
        assert await verify(later.pool, first_id(week_of(now - timedelta(days=31)))) == []


async def test_replicas_that_send_the_same_charges_of_many_users_at_once_book_each_once_and_never_deadlock(
    replica: Replica, other: Replica
) -> None:
    random_order = random.Random(20)
    users = [await replica.new_user(credits=10_000) for _ in range(12)]
    executions = [(user, new_id()) for user in users for _ in range(3)]
    charges = [charge(user, execution, number, amount=number) for user, execution in executions for number in range(6)]
    charges = [one for one in charges if one.amount]

    async def send(sender: Replica, holder: str) -> None:
        for _ in range(6):
            some = random_order.sample(charges, len(charges) * 2 // 3)
            await asyncio.gather(
                sender.ledger.settle(holder, some), sender.ledger.hold(holder, dict.fromkeys(reversed(users), 100))
            )

    await asyncio.gather(*(send(sender, f"{holder}") for holder, sender in enumerate([replica, other] * 2)))
    await replica.ledger.settle("last", charges)
    assert [(await replica.has(user)).balance for user in users] == [10_000 - 3 * 15] * 12
    assert await replica.charged(execution for _, execution in executions) == len(charges)
    assert await replica.discrepancies() == []


async def test_replicas_that_charge_an_execution_to_two_users_at_once_book_each_node_execution_once(
    replica: Replica, other: Replica
) -> None:
    users = [await replica.new_user(credits=1_000) for _ in range(2)]
    executions = [new_id() for _ in range(20)]

    async def send(sender: Replica, user: str) -> None:
        left = [charge(user, execution, *range(10)) for execution in executions]
        while left:
            with suppress(LedgerChanged):
                await sender.ledger.settle("one", left)
                left = []

    await asyncio.gather(send(replica, users[0]), send(other, users[1]))
    assert sum([(await replica.has(user)).spent for user in users]) == 200
    assert await replica.charged(executions) == 200
    assert await replica.discrepancies() == []


async def test_a_ledger_that_was_restored_under_a_running_service_is_found_out_and_used(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as opened:
        replica = await opened.replica()
        user = f"unknown-{new_id()}"
        await replica.ledger.settle("one", [charge(user, new_id(), amount=3)])
        # As it was before the first charge.
        for week in await replica.weeks.weeks():
            await replica.weeks.drop(week)
        for table in ("balances", "transfers", "entries", "spending"):
            await replica.pool.execute(f"DELETE FROM {table}")
        with pytest.raises(LedgerChanged):
            await replica.ledger.settle("one", [charge(user, new_id(), amount=3)])
        await replica.ledger.settle("one", [charge(user, new_id(), amount=4)])
        assert (await replica.has(user)).spent == 4
        for week in await replica.weeks.weeks():
            await replica.weeks.drop(week)
        with pytest.raises(LedgerChanged):
            await replica.ledger.settle("one", [charge(user, new_id(), amount=3)])
        await replica.ledger.settle("one", [charge(user, new_id(), amount=5)])
        assert (await replica.has(user)).spent == 9


@pytest.mark.parametrize("executions", [10, 10_000])
async def test_ten_thousand_charges_are_booked_at_once(replica: Replica, executions: int) -> None:
    users = [await replica.new_user(credits=1_000_000) for _ in range(10)]
    ids = [new_id() for _ in range(executions)]
    charges = [charge(users[n % 10], ids[n % executions], n, amount=3, block_id=f"b{n % 7}") for n in range(10_000)]
    began = time.perf_counter()
    await replica.ledger.settle("one", charges)
    seconds = time.perf_counter() - began
    print(f"{executions} executions: {seconds * 1e6 / len(charges):.1f} us a charge")
    began = time.perf_counter()
    await replica.ledger.settle("one", charges)
    print(f"{executions} executions, repeated: {(time.perf_counter() - began) * 1e6 / len(charges):.1f} us a charge")
    assert sum([(await replica.has(user)).spent for user in users]) == 30_000
    assert await replica.discrepancies() == []
