"""Holds: replicas may dispatch against them, and together never hold more than there is."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from blockyard.dev.postgres import PostgresServer

from services.account.ledger import HoldRules
from services.common.ids import new_id
from tests.integration.account.ledgers import House, Replica, charge, house
from tests.waiting import until


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


async def test_what_is_wanted_is_held_and_shown_and_stays_in_the_balance(replica: Replica) -> None:
    user = await replica.new_user(credits=1000)
    assert await replica.hold("one", user, 300) == 300
    credits = await replica.has(user)
    assert (credits.balance, credits.held) == (1000, 300)


async def test_somebody_without_credits_gets_no_hold(replica: Replica) -> None:
    for user in (await replica.new_user(), f"unknown-{new_id()}"):
        [hold] = await replica.ledger.hold("one", {user: 10})
        assert (hold.amount, hold.balance) == (0, 0)


async def test_a_replica_that_wants_everything_leaves_half_to_the_next(replica: Replica, other: Replica) -> None:
    user = await replica.new_user(credits=1000)
    assert await replica.hold("one", user, 5000) == 500
    assert await other.hold("two", user, 5000) == 250


async def test_a_replica_that_asks_again_gets_all_that_nobody_else_wants(replica: Replica) -> None:
    user = await replica.new_user(credits=1000)
    held = 0
    for _ in range(12):
        held = await replica.hold("one", user, 1000)
    assert held == 1000


async def test_a_small_balance_is_not_divided(replica: Replica, other: Replica) -> None:
    user = await replica.new_user(credits=20)
    assert await replica.hold("one", user, 100) == 20
    assert await other.hold("two", user, 100) == 0


async def test_what_is_given_back_is_free_for_others(replica: Replica, other: Replica) -> None:
    user = await replica.new_user(credits=20)
    assert await replica.hold("one", user, 20) == 20
    assert await replica.hold("one", user, 5) == 5
    assert await other.hold("two", user, 20) == 15
    assert await replica.hold("one", user, 0) == 0
    assert await other.hold("two", user, 20) == 20


async def test_a_hold_that_is_not_renewed_counts_no_more(opened: House, replica: Replica) -> None:
    user, brief = await replica.new_user(credits=20), await opened.replica(rules=HoldRules(seconds=0.05, undivided=20))
    assert await brief.hold("one", user, 20) == 20

    async def all_is_free() -> bool:
        return await replica.hold("two", user, 20) == 20

    await until(all_is_free, "the hold of a silent replica comes free")
    assert (await replica.has(user)).held == 20
    # The first one comes back late, and is told that it holds nothing.
    assert await replica.hold("one", user, 20) == 0


async def test_holds_that_ended_long_ago_are_deleted_and_others_stay(replica: Replica) -> None:
    user = await replica.new_user(credits=100)
    await replica.hold("one", user, 10)
    await replica.hold("two", user, 10)
    await replica.pool.execute(
        "UPDATE holds SET expires_at = now() - interval '2 hours' WHERE user_id = $1 AND holder = 'one'", user
    )
    assert await replica.repository.drop_expired_holds(1000) >= 1
    rows = await replica.pool.fetch("SELECT holder FROM holds WHERE user_id = $1", user)
    assert [row["holder"] for row in rows] == ["two"]


async def test_a_balance_that_was_lowered_lowers_the_hold_at_its_renewal(replica: Replica) -> None:
    user = await replica.new_user(credits=100)
    assert await replica.hold("one", user, 50) == 50
    await replica.give(user, -90)
    assert await replica.hold("one", user, 50) == 10


async def test_many_users_are_answered_in_the_order_they_were_named(replica: Replica) -> None:
    users = [await replica.new_user(credits=10 * number) for number in range(1, 6)]
    demands = dict.fromkeys(reversed(users), 1000)
    holds = await replica.ledger.hold("one", demands)
    assert [hold.user_id for hold in holds] == list(demands)
    assert [hold.balance for hold in holds] == [50, 40, 30, 20, 10]


async def test_replicas_that_ask_at_once_never_hold_more_than_there_is(replica: Replica, other: Replica) -> None:
    user = await replica.new_user(credits=100)

    async def ask(number: int) -> int:
        asker = (replica, other)[number % 2]
        held = 0
        for _ in range(8):
            held = await asker.hold(f"holder-{number}", user, 70)
        return held

    held = await asyncio.gather(*map(ask, range(6)))
    assert sum(held) == (await replica.has(user)).held == 100


async def test_a_hold_and_the_charges_of_others_together_never_exceed_the_balance(
    replica: Replica, other: Replica
) -> None:
    user = await replica.new_user(credits=200)

    async def spend(holder: str, asker: Replica) -> int:
        spent = 0
        for number in range(1, 40):
            if await asker.hold(holder, user, 10) < 10:
                continue
            await asker.ledger.settle(holder, [charge(user, new_id(), number, amount=10)])
            spent += 10
        return spent

    spent = await asyncio.gather(*(spend(f"{number}", (replica, other)[number % 2]) for number in range(4)))
    credits = await replica.has(user)
    assert sum(spent) == credits.spent <= 200
    assert credits.balance == 200 - credits.spent
    assert await replica.discrepancies() == []
