"""What the ledger needs from time to time: tables for the weeks to come, and none for those past retention."""

import asyncio

import structlog

from services.account.ledger import Ledger
from services.account.repository.ledger import LedgerRepository
from services.common.database import TROUBLE

EVERY_SECONDS = 3_600.0
HOLDS_AT_ONCE = 10_000


log = structlog.stdlib.get_logger(__name__)


async def keep_up(ledger: Ledger, repository: LedgerRepository) -> None:
    """Works until it is cancelled. Any number of replicas may."""
    while True:
        try:
            await ledger.make_weeks()
            if dropped := await ledger.drop_past_weeks():
                log.info("charges past retention were dropped", weeks=dropped)
            while await repository.drop_expired_holds(HOLDS_AT_ONCE) == HOLDS_AT_ONCE:
                pass
        except TROUBLE as error:
            log.warning("the ledger cannot be kept up", error=repr(error))
        await asyncio.sleep(EVERY_SECONDS)
