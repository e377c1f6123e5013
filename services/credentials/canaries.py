"""Whether this replica has the keys that it needs, and the right ones: looked at all the time.

A replica that lacks one, or has another one of that id, is not ready. One that cannot ask its provider for a while
stays ready, since all replicas would go at once: what it has unwrapped before, it still opens.
"""

import asyncio
from dataclasses import dataclass, field

import structlog
from prometheus_client import Gauge

from services.common.database import PASSING
from services.common.errors import BlockyardError
from services.credentials.keyring import Finding, Keyring
from services.credentials.repository.keys import KeyRow

_PASSING: tuple[type[Exception], ...] = (BlockyardError, *PASSING)

UNUSABLE = Gauge("blockyard_vault_keys_unusable", "Keys that are missing here or are others: not ready above 0")

log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Canaries:
    """What was found when the keys were looked at last."""

    keyring: Keyring
    seconds: float
    _problems: dict[str, str] = field(default_factory=dict)
    """Why a key makes this replica unready, by its id."""
    _proven: set[str] = field(default_factory=set)
    """Keys that were right once."""
    _began: bool = False

    async def is_healthy(self) -> bool:
        """A health check: every key that is needed is there, and is the right one."""
        return self._began and not self._problems

    async def keep(self) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(self.seconds)
            await self.look()

    async def look(self) -> None:
        """Looks at every key that is needed; what has changed is logged, with the key's id."""
        try:
            if not self._began:
                await self.keyring.begin()
            rows = await self.keyring.repository.needed()
            found = {row.key_id: await self._problem(row) for row in rows}
        except _PASSING as error:
            # Without its rows, nothing is known of keys; that the database is away is another check's to say.
            log.warning("the keys of the vault cannot be looked at", reason=str(error) or type(error).__name__)
            return
        problems = {key_id: problem for key_id, problem in found.items() if problem}
        for key_id, problem in problems.items():
            if self._problems.get(key_id) != problem:
                log.error("a key of the vault cannot be used: this replica is not ready", key_id=key_id, reason=problem)
        for key_id in self._problems.keys() - problems.keys():
            log.info("a key of the vault can be used again", key_id=key_id)
        self._problems = problems
        UNUSABLE.set(len(problems))
        self._began = True

    async def _problem(self, row: KeyRow) -> str:
        examined = await self.keyring.examine(row)
        if examined.finding is Finding.RIGHT:
            self._proven.add(row.key_id)
            return ""
        if examined.finding is Finding.AWAY and row.key_id in self._proven:
            log.warning("a key of the vault cannot be asked for", key_id=row.key_id, reason=examined.why)
            return ""
        return examined.why
