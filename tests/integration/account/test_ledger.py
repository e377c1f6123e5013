"""The ledger as a whole: whatever comes, in whatever order and however often, all of its sums tell the same."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from blockyard.dev.postgres import PostgresServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.account.bookkeeping import Charge
from services.common.ids import new_id
from tests.integration.account.ledgers import House, Replica, charge, house


@pytest.fixture(scope="module")
def opened(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[House]:
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(house(postgres)))
    finally:
        runner.run(stack.aclose())


@pytest.fixture(scope="module")
def replicas(runner: asyncio.Runner, opened: House) -> list[Replica]:
    return [runner.run(opened.replica()) for _ in range(2)]


@dataclass(frozen=True, slots=True)
class TopUpStep:
    user: int
    amount: int
    request: int


@dataclass(frozen=True, slots=True)
class HoldStep:
    user: int
    holder: int
    amount: int


@dataclass(frozen=True, slots=True)
class SettleStep:
    holder: int
    charges: list[tuple[int, int]]
    """Execution and number of each."""


Step = TopUpStep | HoldStep | SettleStep
USERS, EXECUTIONS, HOLDERS = 3, 5, 3

steps = st.lists(
    st.one_of(
        st.builds(
            TopUpStep,
            st.integers(0, USERS - 1),
            st.integers(-50, 300).filter(bool),
            st.integers(0, 4),
        ),
        st.builds(HoldStep, st.integers(0, USERS - 1), st.integers(0, HOLDERS - 1), st.integers(0, 200)),
        st.builds(
            SettleStep,
            st.integers(0, HOLDERS - 1),
            st.lists(st.tuples(st.integers(0, EXECUTIONS - 1), st.integers(1, 12)), min_size=1, max_size=15),
        ),
    ),
    min_size=1,
    max_size=25,
)


@dataclass(eq=False)
class Trial:
    """One sequence of steps on users of its own, and what the model says of them."""

    replicas: list[Replica]
    at_once: bool
    users: list[str] = field(default_factory=list)
    executions: list[UUID] = field(default_factory=lambda: [new_id() for _ in range(EXECUTIONS)])
    prefix: str = field(default_factory=lambda: str(new_id()))
    given: dict[int, tuple[int, int]] = field(default_factory=dict)
    """User and amount by request."""
    charged: dict[tuple[int, int], int] = field(default_factory=dict)

    async def run(self, steps: list[Step]) -> None:
        """Carries the steps out, each with its repetitions, and looks at every sum."""
        self.users = [await self.replicas[0].new_user() for _ in range(USERS)]
        if self.at_once:
            await asyncio.gather(*(self.carry_out(number, step) for number, step in enumerate(steps)))
        else:
            for number, step in enumerate(steps):
                await self.carry_out(number, step)
                if isinstance(step, HoldStep):
                    await self.look_at_hold(step)
        for number, user in enumerate(self.users):
            got = sum(amount for to, amount in self.given.values() if to == number)
            spent = sum(amount for (execution, _), amount in self.charged.items() if execution % USERS == number)
            credits = await self.replicas[0].has(user)
            assert (credits.balance, credits.spent) == (got - spent, spent)
        assert await self.replicas[0].discrepancies() == []

    async def carry_out(self, number: int, step: Step) -> None:
        """Does it on one replica, then again on the other one where that must change nothing."""
        first, second = self.replicas[number % 2], self.replicas[(number + 1) % 2]
        match step:
            case TopUpStep(user, amount, request):
                # A request id stands for one top-up: the first that uses it says which.
                user, amount = self.given.setdefault(request, (user, amount))
                for replica in (first, second):
                    await replica.give(self.users[user], amount, f"{self.prefix}-{request}")
            case HoldStep(user, holder, amount):
                await first.hold(f"holder-{holder}", self.users[user], amount)
            case SettleStep(holder, keys):
                charges = [self.charge(*key) for key in keys]
                for replica in (first, second):
                    await replica.ledger.settle(f"holder-{holder}", charges)

    def charge(self, execution: int, number: int) -> Charge:
        amount = self.charged.setdefault((execution, number), number * 3)
        return charge(self.users[execution % USERS], self.executions[execution], number, amount=amount)

    async def look_at_hold(self, step: HoldStep) -> None:
        """A hold that was just asked for leaves to others what they hold, and is no more than was wanted."""
        user = self.users[step.user]
        held = await self.replicas[0].hold(f"holder-{step.holder}", user, step.amount)
        credits = await self.replicas[0].has(user)
        assert held <= min(step.amount, max(credits.balance - (credits.held - held), 0))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_any_sequence_with_repetitions_leaves_balances_that_are_exact(
    runner: asyncio.Runner, replicas: list[Replica], steps: list[Step]
) -> None:
    runner.run(Trial(replicas, at_once=False).run(steps))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_steps_that_come_all_at_once_leave_balances_that_are_exact(
    runner: asyncio.Runner, replicas: list[Replica], steps: list[Step]
) -> None:
    runner.run(Trial(replicas, at_once=True).run(steps))


async def test_credits_are_issued_to_users_and_earned_from_them(replicas: list[Replica]) -> None:
    user, [replica, _] = await replicas[0].new_user(credits=100), replicas
    await replica.give(user, -10)
    await replica.ledger.settle("one", [charge(user, new_id(), amount=3)])
    rows = await replica.pool.fetch(
        """
        SELECT t.kind, e.account, e.amount FROM entries e JOIN transfers t USING (transfer_id)
        WHERE t.user_id = $1 ORDER BY t.transfer_id, e.account DESC
        """,
        user,
    )
    own = f"user:{user}"
    assert [tuple(row) for row in rows] == [
        (1, own, 100),
        (1, "issued", -100),
        (3, own, -10),
        (3, "issued", 10),
        (2, own, -3),
        (2, "earned", 3),
    ]


TAMPERING = {
    "an entry has no transfer": "DELETE FROM transfers WHERE kind = 2",
    "the entries of a transfer do not add up to 0": "DELETE FROM entries WHERE account = 'earned'",
    "an entry says another amount than its transfer": "UPDATE transfers SET amount = amount - 1 WHERE kind = 2",
    "a balance is not the sum of its entries": "UPDATE balances SET balance = balance + 1",
    "what was spent is not the sum of the charges": "UPDATE balances SET spent = spent - 1",
    "the spending by block is not what was spent": "UPDATE spending SET amount = amount + 1",
    "the spending by block is not of as many node executions as transfers": "UPDATE spending SET charges = charges + 1",
    "the transfers of an execution are not for as many node executions as are charged": (
        "UPDATE charges SET node_executions = node_executions || '\\x01'::bytea"
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
async def test_a_ledger_that_was_tampered_with_does_not_pass_for_right(postgres: PostgresServer, what: str) -> None:
    async with house(postgres) as opened:
        replica = await opened.replica()
        user = await replica.new_user(credits=10)
        await replica.ledger.settle("one", [charge(user, new_id(), amount=3)])
        assert await replica.discrepancies() == []
        await replica.pool.execute(TAMPERING[what])
        assert what in {one.what for one in await replica.discrepancies()}


@pytest.mark.parametrize(
    "loss", ["DELETE FROM charges", "DELETE FROM balances", "DELETE FROM spending", "DELETE FROM entries"]
)
async def test_a_ledger_that_lost_rows_does_not_pass_for_right(postgres: PostgresServer, loss: str) -> None:
    async with house(postgres) as opened:
        replica = await opened.replica()
        await replica.ledger.settle("one", [charge(await replica.new_user(credits=10), new_id(), amount=3)])
        await replica.pool.execute(loss)
        assert await replica.discrepancies() != []


async def test_a_call_that_ends_in_the_middle_leaves_nothing_behind(opened: House, replicas: list[Replica]) -> None:
    user, execution = await replicas[0].new_user(credits=10), new_id()
    charges = [charge(user, execution, number, amount=1) for number in range(1, 300)]
    for pause in (0.001, 0.003, 0.006, 0.012, 0.025):
        try:
            async with asyncio.timeout(pause):
                await replicas[0].ledger.settle("one", charges)
        except TimeoutError:
            assert (await replicas[1].has(user)).balance in (10, 10 - len(charges))
    await replicas[1].ledger.settle("two", charges)
    assert (await replicas[0].has(user)).balance == 10 - len(charges)
    assert await replicas[0].discrepancies() == []
