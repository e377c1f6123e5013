"""The audit log, where it is kept: takes the entries of all services and drops them by the month, past retention."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from blockyard.account.v1.account_pb2 import AuditEntry

from services.account.repository.audit import AuditRepository
from services.common import database
from services.common.callers import IdentitiesAway

ROUND_SECONDS = 3600.0
AGAIN_SECONDS = 30.0

"""No space, no partition: whatever it is, entries wait for an operator rather than being lost."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AuditKeeper:
    """Nothing here changes an entry, and the database would not let it."""

    repository: AuditRepository
    retention_days: int

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """Keep entries; those that are kept already stay as they are."""
        try:
            await self.repository.add(entries)
        except database.TROUBLE as error:
            log.warning("audit entries cannot be kept", reason=str(error) or type(error).__name__)
            raise IdentitiesAway from error

    async def make_room(self) -> None:
        """Partitions of this time are there after this, and those past retention are not."""
        dropped = await self.repository.keep(self.retention_days)
        if dropped:
            log.info("audit entries past retention were dropped", months=dropped)

    async def keep(self) -> None:
        """Do so for ever."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            while True:
                try:
                    await self.make_room()
                    break
                except database.TROUBLE as error:
                    log.warning("the partitions of the audit log cannot be kept", reason=str(error))
                    await asyncio.sleep(AGAIN_SECONDS)
