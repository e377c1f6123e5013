"""Hands the audit entries of the outbox on to the account service, where they are kept for administrators.

An entry goes from the outbox once the account service has it. Replicas may send one twice: it is kept once, by its id.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from blockyard.account.v1.account_pb2 import AuditEntry

from services.common.admission import RemoteRecorder
from services.common.backoff import delays
from services.common.database import PASSING
from services.common.errors import Unavailable
from services.credentials.repository.audit import AuditRepository

AT_ONCE = 1000
"""As many as the account service takes."""
LOOK_SECONDS = 1.0

_PASSING: tuple[type[Exception], ...] = (Unavailable, *PASSING)

log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Forwarder:
    """Runs for as long as the service does. What it cannot hand on stays where it is."""

    repository: AuditRepository
    recorder: RemoteRecorder
    look_seconds: float = LOOK_SECONDS
    _waiting: bool = field(default=False)

    async def run(self) -> None:
        """Hands on for ever."""
        pauses = delays(0.2, 10.0)
        while True:
            try:
                while await self.forward() == AT_ONCE:
                    pass
            except _PASSING as error:
                if not self._waiting:
                    log.warning("audit entries wait for the account service", reason=str(error) or type(error).__name__)
                self._waiting = True
                await asyncio.sleep(next(pauses))
            else:
                self._waiting = False
                pauses = delays(0.2, 10.0)
                await asyncio.sleep(self.look_seconds)

    async def forward(self) -> int:
        """Hands on the oldest entries; answers how many."""
        rows = await self.repository.oldest(AT_ONCE)
        if rows:
            await self.recorder.record(_messages(rows))
            await self.repository.delete([entry_id for entry_id, _ in rows])
        return len(rows)


def _messages(rows: Sequence[tuple[UUID, bytes]]) -> list[AuditEntry]:
    return [AuditEntry.FromString(entry) for _, entry in rows]
