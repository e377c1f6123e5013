"""An account service that keeps credits in memory: a second implementation of what the execution service asks of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from blockyard.account.v1 import ledger_service_pb2 as messages
from blockyard.account.v1.ledger_service_pb2_grpc import LedgerServiceServicer, add_LedgerServiceServicer_to_server
from google.protobuf.duration_pb2 import Duration

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(eq=False)
class MemoryLedger(LedgerServiceServicer):
    """Gives whoever asks first all that is free."""

    balances: dict[str, int] = field(default_factory=dict)
    charges: dict[tuple[bytes, int], messages.Charge] = field(default_factory=dict)
    holds: dict[tuple[str, str], int] = field(default_factory=dict)
    """By user and holder."""
    repeated: int = 0
    settled: int = 0
    """Calls that booked something."""
    away: bool = False
    valid_seconds: int = 30

    async def HoldCredits(self, request: messages.HoldCreditsRequest, context: Context) -> messages.HoldCreditsResponse:
        await self._refuse_if_away(context)
        holds = []
        for demand in request.demands:
            others = sum(
                amount
                for (user_id, holder), amount in self.holds.items()
                if user_id == demand.user_id and holder != request.holder
            )
            free = max(0, self.balances.get(demand.user_id, 0) - others)
            self.holds[(demand.user_id, request.holder)] = min(demand.amount, free)
            holds.append(self._hold(demand.user_id, request.holder))
        return messages.HoldCreditsResponse(holds=holds, valid=Duration(seconds=self.valid_seconds))

    async def SettleCharges(
        self, request: messages.SettleChargesRequest, context: Context
    ) -> messages.SettleChargesResponse:
        await self._refuse_if_away(context)
        users: dict[str, None] = {}
        for charge in request.charges:
            users[charge.user_id] = None
            for number in (charge.node_execution, *charge.further_node_executions):
                self._book(request.holder, charge, number)
        self.settled += 1
        return messages.SettleChargesResponse(holds=[self._hold(user_id, request.holder) for user_id in users])

    def _book(self, holder: str, charge: messages.Charge, number: int) -> None:
        key = (charge.execution_id, number)
        if key in self.charges:
            self.repeated += 1
            return
        self.charges[key] = charge
        self.balances[charge.user_id] = self.balances.get(charge.user_id, 0) - charge.amount
        place = (charge.user_id, holder)
        self.holds[place] = max(0, self.holds.get(place, 0) - charge.amount)

    def _hold(self, user_id: str, holder: str) -> messages.CreditHold:
        return messages.CreditHold(
            user_id=user_id, amount=self.holds.get((user_id, holder), 0), balance=self.balances.get(user_id, 0)
        )

    async def _refuse_if_away(self, context: Context) -> None:
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the account service is away")


@asynccontextmanager
async def serving(ledger: MemoryLedger) -> AsyncIterator[str]:
    """Its address."""
    server = grpc.aio.server()
    add_LedgerServiceServicer_to_server(ledger, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
