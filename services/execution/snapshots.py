"""Snapshots: how much there is to replay stays in proportion to what an execution holds (rule 16)."""

import asyncio

import msgspec
import structlog

from services.common.database import TROUBLE
from services.execution.engine import RULES
from services.execution.live import Live
from services.execution.records import Snapshot
from services.execution.repository.turns import TurnRepository

log = structlog.get_logger()

FEWEST_FACTS = 1_000
"""A snapshot is worth its row after so many facts."""

_encoder = msgspec.msgpack.Encoder()


class Snapshots:
    """Takes snapshots of executions after committed turns, outside of the turns' transactions, one at a time."""

    def __init__(self, turns: TurnRepository) -> None:
        self._turns = turns
        self._saving: asyncio.Task[None] | None = None

    def consider(self, live: Live) -> None:
        """Takes a snapshot if the facts since the last one outnumber what the state holds."""
        if live.facts <= FEWEST_FACTS or (self._saving is not None and not self._saving.done()):
            return
        state = live.machine.state
        held = len(state.live) + len(state.sets) + sum(len(scope.items) for scope in state.scopes.values())
        if live.facts <= held // 2:
            return
        snapshot = Snapshot(live.execution_id, state.turn, RULES, live.commands_through, _encoder.encode(state))
        live.facts = 0
        self._saving = asyncio.create_task(self._save(snapshot), name="save snapshot")

    async def _save(self, snapshot: Snapshot) -> None:
        try:
            await self._turns.save_snapshot(snapshot)
        except TROUBLE as error:
            # The facts are there: loading takes longer, that is all.
            log.warning("a snapshot was not saved", execution_id=str(snapshot.execution_id), error=repr(error))
