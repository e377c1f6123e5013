"""Talks to the account service: tells charges, and asks for what this replica is to hold of users' credits.

One question after the other, so that what is held after one is known before the next.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import structlog
from blockyard.account.v1.ledger_service_pb2 import HoldCreditsRequest, SettleChargesRequest

from services.common.backoff import delays
from services.common.database import TROUBLE
from services.execution.charging import AT_ONCE, Charger, Due, together
from services.execution.metrics import METRICS
from services.execution.purse import Purse

if TYPE_CHECKING:  # the asynchronous form exists for type checkers alone
    from blockyard.account.v1.ledger_service_pb2_grpc import LedgerServiceAsyncStub

log = structlog.get_logger()

PAUSE = 0.1
"""Seconds between two rounds: charges gather meanwhile, and what is held is looked through."""

SETTLE_SECONDS = 0.5
"""Charges gather for so long: a call costs the account service as much as a hundred charges in it, and nobody waits."""

GATHER = 0.01
"""Seconds for which wishes for credits gather."""


@dataclass(slots=True, eq=False)
class Settlement:
    """One for a process, whoever owns partitions in it."""

    stub: "LedgerServiceAsyncStub"
    holder: str
    """Who holds credits: another one for each start of the process."""
    purse: Purse
    charger: Charger
    granted: Callable[[], None]
    """Told when there may be credits for what waits."""
    ran_out: Callable[[str], Awaitable[None]]
    """Told of a user who has nothing left."""
    _settled_at: float = 0.0
    """When charges were told last, in the loop's seconds."""

    async def run(self) -> None:
        """Goes round until it is cancelled."""
        pauses = delays()
        more = False
        while True:
            if not more:
                await self._gather()
            self.purse.wanting.clear()
            try:
                now = asyncio.get_running_loop().time()
                if more or now - self._settled_at >= SETTLE_SECONDS or self.charger.pending >= AT_ONCE:
                    more = await self._settle()
                    self._settled_at = now
                await self._hold()
                pauses = delays()
            except (grpc.aio.AioRpcError, *TROUBLE) as error:
                METRICS.settlement_failures.inc()
                log.warning("charges and holds have to wait", error=repr(error))
                more = False
                await asyncio.sleep(next(pauses))
            METRICS.charges_pending.set(self.charger.pending)

    async def _gather(self) -> None:
        """Charges and wishes gather; not for long where somebody waits for credits."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PAUSE):
                await self.purse.wanting.wait()
                await asyncio.sleep(GATHER)

    async def _settle(self) -> bool:
        """Tells some charges. True if there is more to be told at once.

        What has come meanwhile gathers instead: each call would have a few charges only.
        """
        if batch := self.charger.next():
            await self._tell([charge for noted in batch for charge in noted.charges])
            self.charger.booked(batch)
        more = self.charger.pending >= AT_ONCE
        for partition in self.charger.behind():
            found = await self.charger.read(partition)
            if found is not None:
                charges, through = found
                await self._tell(charges)
                self.charger.read_and_booked(partition, through)
                more = True
        return more

    async def _tell(self, charges: Sequence[Due]) -> None:
        for start in range(0, len(charges), AT_ONCE):
            told = together(charges[start : start + AT_ONCE])
            answer = await self.stub.SettleCharges(SettleChargesRequest(holder=self.holder, charges=told))
            self.purse.settled(answer.holds)

    async def _hold(self) -> None:
        demands = self.purse.demands()
        if not demands:
            return
        asked_at = asyncio.get_running_loop().time()
        answer = await self.stub.HoldCredits(HoldCreditsRequest(holder=self.holder, demands=demands))
        for user_id in self.purse.answered(asked_at, answer.valid.ToNanoseconds() / 1e9, demands, answer.holds):
            await self.ran_out(user_id)
        self.granted()
