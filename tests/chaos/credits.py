"""Credits in a chaos run: given bit by bit while things break, and read in the end from the rows of both services."""

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import UUID

import asyncpg
import grpc
from blockyard.account.v1.account_service_pb2 import TopUpCreditsRequest
from blockyard.account.v1.account_service_pb2_grpc import AccountServiceStub
from blockyard.dev import Stack
from blockyard.dev.tokens import DEVELOPER

from services.account.bookkeeping import SPAN
from services.account.repository.verification import verify

AT_FIRST = 10_000_000
"""Credits that no run comes to the end of: whoever ran out would come to another end than is expected."""
MORE = 100
EVERY_SECONDS = 1.0
CALL_SECONDS = 5.0
PAUSE_SECONDS = 0.3
SETTLED_SECONDS = 60.0

OutcomeKey = tuple[str, int]
"""An execution and the number of its node execution."""


@dataclass(frozen=True, slots=True)
class Credits:
    """What both services have written down."""

    given: int
    outcomes: Mapping[OutcomeKey, int]
    """What each recorded outcome costs, those that cost nothing included."""
    charged: Collection[OutcomeKey]
    """Node executions that are booked."""
    spent: Mapping[str, int]
    """Credits that were booked, by execution."""
    balance: int
    sum_of_entries: int
    discrepancies: Sequence[str]


class Giver:
    """Gives the developer credits for as long as it is open, each time with a request id until it is answered."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.given = 0
        """What was given by calls that were answered; nothing is under way once it has stopped."""

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._stack.account_address)
        self._stub = AccountServiceStub(self._channel)
        await self._give("first", AT_FIRST)
        self._task = asyncio.create_task(self._give_more(), name="credits")
        return self

    async def stop(self) -> None:
        """Returns when the last call was answered."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._channel.close()

    async def _give_more(self) -> None:
        number = 0
        while not self._stopping.is_set():
            number += 1
            await self._give(f"more-{number}", MORE)
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_SECONDS):
                    await self._stopping.wait()

    async def _give(self, request_id: str, amount: int) -> None:
        request = TopUpCreditsRequest(user_id=DEVELOPER, amount=amount, request_id=request_id)
        metadata = (("authorization", f"Bearer {self._stack.token}"),)
        while True:
            try:
                await self._stub.TopUpCredits(request, metadata=metadata, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError:
                # Whatever the answer was, the credits may have been given: only the same request id tells.
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self.given += amount
                return


async def settled(database_url: str) -> None:
    """Returns when as much was charged as outcomes cost, or when that takes too long: then the verdict says so."""
    try:
        async with asyncio.timeout(SETTLED_SECONDS):
            while True:
                credits = await read_credits(database_url, 0)
                if sum(credits.spent.values()) >= sum(credits.outcomes.values()):
                    return
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        return


async def read_credits(database_url: str, given: int) -> Credits:
    """All outcomes, what was charged for them, and what the ledger says of itself."""
    settings = {"search_path": "account"}
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2, server_settings=settings) as pool:
        outcomes = await pool.fetch("SELECT execution_id, number, stats FROM execution.node_executions")
        marks = await pool.fetch("SELECT execution_id, span, node_executions FROM charges")
        spent = await pool.fetch(
            """
            SELECT execution_id, -sum(amount)::bigint AS amount FROM transfers WHERE execution_id IS NOT NULL
            GROUP BY execution_id
            """
        )
        balance = await pool.fetchval("SELECT balance FROM balances WHERE user_id = $1", DEVELOPER)
        entries = await pool.fetchval("SELECT coalesce(sum(amount), 0)::bigint FROM entries")
        discrepancies = await verify(pool, UUID(int=0))
    return Credits(
        given=given,
        outcomes={(str(row["execution_id"]), row["number"]): _cost(row["stats"]) for row in outcomes},
        charged={
            (str(row["execution_id"]), row["span"] * SPAN + place)
            for row in marks
            for bits in (int.from_bytes(row["node_executions"], "little"),)
            for place in range(bits.bit_length())
            if bits >> place & 1
        },
        spent={str(row["execution_id"]): row["amount"] for row in spent},
        balance=balance or 0,
        sum_of_entries=entries,
        discrepancies=[f"{one.what}: {one.subject}, {one.expected} and {one.found}" for one in discrepancies],
    )


def _cost(stats: bytes) -> int:
    return int(json.loads(stats).get("cost", 0)) if stats else 0
