"""What leases leave behind: how often credentials were used, and rows that are deleted when they are old."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from services.common.database import PASSING
from services.common.ids import first_id
from services.credentials.repository.leases import LeaseRepository

FLUSH_SECONDS = 1.0
RETIRE_SECONDS = 600.0
RETIRED_AT_ONCE = 5_000

"""It is tried again: none of this is worth the end of a vault."""

log = structlog.stdlib.get_logger(__name__)


class UseCounts:
    """Summed up in memory and written every second: a row that many runs use is not updated by each of them.

    A replica that is killed loses the last second. At most one entry is kept for each credential that was leased since
    they were written.
    """

    def __init__(self, repository: LeaseRepository) -> None:
        self._repository = repository
        self._uses: dict[UUID, tuple[int, datetime]] = {}

    def add(self, credential_ids: Iterable[UUID]) -> None:
        """These were used now."""
        now = datetime.now(UTC)
        for credential_id in credential_ids:
            count, _ = self._uses.get(credential_id, (0, now))
            self._uses[credential_id] = (count + 1, now)

    async def run(self) -> None:
        """Write them until it is cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                await self._write()
        finally:
            await self._write()

    async def _write(self) -> None:
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._repository.add_uses(uses)
        except PASSING as error:
            log.warning("uses of credentials cannot be counted now", reason=str(error) or type(error).__name__)
            for credential_id, (count, last) in uses.items():
                more, later = self._uses.get(credential_id, (0, last))
                self._uses[credential_id] = (count + more, later)


async def retire(repository: LeaseRepository, age: timedelta) -> None:
    """Delete leases that are older than this, in batches, until it is cancelled."""
    while True:
        try:
            while await repository.delete_before(first_id(datetime.now(UTC) - age), RETIRED_AT_ONCE):
                log.info("old leases were deleted", at_most=RETIRED_AT_ONCE)
        except PASSING as error:
            log.warning("old leases cannot be deleted now", reason=str(error) or type(error).__name__)
        await asyncio.sleep(RETIRE_SECONDS)
