"""What the execution service relies on of the ledger: the account service keeps it, and so does the one in memory that
its tests work with."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from blockyard.account.v1.account_service_pb2 import GetUserRequest, TopUpCreditsRequest
from blockyard.account.v1.ledger_service_pb2 import (
    Charge,
    CreditDemand,
    CreditHold,
    HoldCreditsRequest,
    HoldCreditsResponse,
    SettleChargesRequest,
)
from blockyard.account.v1.ledger_service_pb2_grpc import LedgerServiceStub
from blockyard.dev.postgres import PostgresServer

from services.common.ids import new_id
from tests import signing
from tests.integration.account.service import Service, account_service
from tests.integration.execution.ledger import MemoryLedger, serving


@dataclass(eq=False)
class Ledger:
    """A ledger behind gRPC, and how to give somebody credits in it."""

    channel: grpc.aio.Channel
    give: Callable[[str, int], Awaitable[None]]

    async def new_user(self, credits: int) -> str:
        user = f"user-{new_id()}"
        await self.give(user, credits)
        return user

    async def ask(self, holder: str, **amounts: int) -> HoldCreditsResponse:
        demands = [CreditDemand(user_id=user, amount=amount) for user, amount in amounts.items()]
        request = HoldCreditsRequest(holder=holder, demands=demands)
        answer: HoldCreditsResponse = await self._stub().HoldCredits(request, metadata=_metadata(), timeout=20)
        return answer

    async def hold(self, holder: str, user: str, amount: int) -> tuple[int, int]:
        """What is held now, and the balance."""
        [hold] = (await self.ask(holder, **{user: amount})).holds
        return hold.amount, hold.balance

    async def settle(self, holder: str, *charges: Charge) -> list[CreditHold]:
        request = SettleChargesRequest(holder=holder, charges=charges)
        return list((await self._stub().SettleCharges(request, metadata=_metadata(), timeout=20)).holds)

    def _stub(self) -> Any:  # Any: the generated stub's type depends on the kind of channel
        return LedgerServiceStub(self.channel)


def _metadata() -> tuple[tuple[str, str], ...]:
    """A token of its own for each call: one lasts for a minute, and these tests may take longer."""
    return (("authorization", f"Bearer {signing.service_token('execution')}"),)


@pytest.fixture(scope="module", params=["account service", "in memory"])
def ledger(request: pytest.FixtureRequest, runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[Ledger]:
    stack = AsyncExitStack()
    opening = _in_memory(stack) if request.param == "in memory" else _of_the_service(stack, postgres)
    try:
        yield runner.run(opening)
    finally:
        runner.run(stack.aclose())


async def _of_the_service(stack: AsyncExitStack, postgres: PostgresServer) -> Ledger:
    service: Service = await stack.enter_async_context(account_service(postgres))

    async def give(user: str, amount: int) -> None:
        await service.user(user).call("GetUser", GetUserRequest())
        await service.admin().call("TopUpCredits", TopUpCreditsRequest(user_id=user, amount=amount))

    return Ledger(service.channel, give)


async def _in_memory(stack: AsyncExitStack) -> Ledger:
    memory = MemoryLedger()
    channel = grpc.aio.insecure_channel(await stack.enter_async_context(serving(memory)))

    async def give(user: str, amount: int) -> None:
        memory.balances[user] = memory.balances.get(user, 0) + amount

    return Ledger(await stack.enter_async_context(channel), give)


def charge(user: str, amount: int, execution_id: bytes = b"", number: int = 1) -> Charge:
    made = Charge(user_id=user, amount=amount, execution_id=execution_id or new_id().bytes, node_execution=number)
    made.block_id = "block"
    made.time.GetCurrentTime()
    return made


async def test_demands_are_answered_one_by_one_in_their_order(ledger: Ledger) -> None:
    users = [await ledger.new_user(number) for number in (10, 20, 15)]
    answer = await ledger.ask("one", **dict.fromkeys(reversed(users), 10))
    assert [(hold.user_id, hold.balance) for hold in answer.holds] == list(
        zip(reversed(users), (15, 20, 10), strict=True)
    )
    assert answer.valid.ToNanoseconds() > 0


async def test_what_is_wanted_in_all_is_held_not_added_to_what_is_held(ledger: Ledger) -> None:
    user = await ledger.new_user(100)
    assert await ledger.hold("one", user, 10) == (10, 100)
    assert await ledger.hold("one", user, 12) == (12, 100)
    assert await ledger.hold("one", user, 5) == (5, 100)


async def test_holds_together_never_exceed_the_balance(ledger: Ledger) -> None:
    user = await ledger.new_user(100)
    held = [0, 0, 0]
    for _ in range(10):
        for number in range(3):
            held[number], _ = await ledger.hold(f"{number}", user, 80)
    assert sum(held) == 100


async def test_what_is_given_back_goes_to_others(ledger: Ledger) -> None:
    user = await ledger.new_user(10)
    assert await ledger.hold("one", user, 10) == (10, 10)
    assert await ledger.hold("two", user, 10) == (0, 10)
    assert await ledger.hold("one", user, 0) == (0, 10)
    assert await ledger.hold("two", user, 10) == (10, 10)


async def test_a_charge_that_is_told_twice_counts_once_and_lowers_the_hold_once(ledger: Ledger) -> None:
    user = await ledger.new_user(100)
    await ledger.hold("one", user, 20)
    one = charge(user, 7)
    for _ in range(2):
        [hold] = await ledger.settle("one", one)
        assert (hold.user_id, hold.amount, hold.balance) == (user, 13, 93)


async def test_charges_of_several_node_executions_count_once_for_each_however_they_are_put_together(
    ledger: Ledger,
) -> None:
    user, execution = await ledger.new_user(100), new_id().bytes
    for numbers in ([1, 2, 3], [4, 2], [1, 2, 3, 4, 5], [5, 5]):
        one = charge(user, 7, execution, number=numbers[0])
        one.further_node_executions.extend(numbers[1:])
        await ledger.settle("one", one)
    [hold] = await ledger.settle("one", charge(user, 7, execution, number=3))
    assert hold.balance == 100 - 5 * 7


async def test_each_user_who_was_charged_is_answered_for(ledger: Ledger) -> None:
    users = {await ledger.new_user(10) for _ in range(3)}
    holds = await ledger.settle("one", *(charge(user, 1, number=number) for user in users for number in (1, 2)))
    assert {hold.user_id for hold in holds} == users
    assert [(hold.amount, hold.balance) for hold in holds] == [(0, 8)] * 3


async def test_more_than_the_balance_can_be_charged(ledger: Ledger) -> None:
    user = await ledger.new_user(5)
    [hold] = await ledger.settle("one", charge(user, 8))
    assert (hold.amount, hold.balance) == (0, -3)
    assert await ledger.hold("one", user, 1) == (0, -3)
