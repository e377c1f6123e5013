"""Stores starts, with their first turns where they can be driven here at once.

All others that have come while one transaction is on its way go into the next, as turns do.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.execution.live import NotBegun
from services.execution.records import ExecutionRow, NewExecution
from services.execution.repository.executions import ExecutionRepository

AT_ONCE = 200
"""Starts stored in one transaction."""

BATCH_BYTES = 8 << 20
"""Bytes of inputs and plans stored in one transaction, unless one start alone has more."""

COUNT_SECONDS = 1.0
"""How long the count of a user's unfinished executions is taken to hold, but for the starts accepted here."""

COUNTED_USERS = 10_000
"""Users whose count is kept."""


class TooManyUnended(Exception):
    """The user has as many unfinished executions as are allowed."""


class RequestIdTaken(Exception):
    """The request id of a new execution was used before."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A start that is to be stored."""

    new: NewExecution
    plan: bytes | None
    stored: "asyncio.Future[datetime | None]"


@dataclass(slots=True, eq=False)
class Count:
    """A user's unfinished executions, as they were counted at a time (monotonic seconds), and accepted since."""

    number: int
    counted_at: float


def together(waiting: Sequence[Waiting]) -> int:
    """How many of the first starts go into one transaction: it must end within the statement timeout."""
    size = 0
    plans: set[bytes] = set()
    for count, each in enumerate(waiting[:AT_ONCE]):
        size += len(each.new.inputs)
        if each.plan is not None and each.new.plan_hash not in plans:
            plans.add(each.new.plan_hash)
            size += len(each.plan)
        if size > BATCH_BYTES:
            return max(count, 1)
    return min(len(waiting), AT_ONCE)


@dataclass(slots=True, eq=False)
class Acceptance:
    """The gate that starts of this replica come through. The bound on a user holds for each replica nearly exactly."""

    executions: ExecutionRepository
    most_unended: int
    """Of a user; 0 is no limit."""
    begin: Callable[[NewExecution], "asyncio.Future[ExecutionRow] | None"]
    """Stores an execution with its first turn, if it can be driven here at once and its plan is stored."""
    hand_over: Callable[[ExecutionRow], None]
    """Tells its owner of a stored execution."""
    _waiting: list[Waiting] = field(default_factory=list)
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _counts: dict[str, Count] = field(default_factory=dict)

    async def accept(self, new: NewExecution, plan: bytes | None) -> ExecutionRow:
        """Its row, which is durable. `plan` is given where it is new.

        Raises TooManyUnended, or RequestIdTaken.
        """
        await self._check_bound(new.user_id)
        row = await self._begin(new) if plan is None else None
        if row is None:
            row = await self._store_without_turn(new, plan)
            self.hand_over(row)
        if new.user_id in self._counts:
            self._counts[new.user_id].number += 1
        return row

    async def _begin(self, new: NewExecution) -> ExecutionRow | None:
        stored = self.begin(new)
        try:
            return await stored if stored is not None else None
        except NotBegun:
            return None

    async def _store_without_turn(self, new: NewExecution, plan: bytes | None) -> ExecutionRow:
        waiting = Waiting(new, plan, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._work.set()
        accepted = await waiting.stored
        if accepted is None:
            raise RequestIdTaken
        return ExecutionRow.accepted(new, accepted)

    async def run(self) -> None:
        """Stores what waits, until it is cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                count = together(self._waiting)
                batch, self._waiting = self._waiting[:count], self._waiting[count:]
                await self._store(batch)

    async def _store(self, batch: list[Waiting]) -> None:
        plans: Mapping[bytes, bytes] = {each.new.plan_hash: each.plan for each in batch if each.plan is not None}
        # In the order in which turns store theirs: no transaction with one request id waits for another that has it.
        new = sorted((each.new for each in batch), key=lambda new: (new.user_id, new.request_id or ""))
        try:
            accepted = await self.executions.start(new, plans)
        except Exception as error:  # noqa: BLE001 - it is raised where the call was made
            for each in batch:
                with contextlib.suppress(asyncio.InvalidStateError):
                    each.stored.set_exception(error)
            return
        for each in batch:
            with contextlib.suppress(asyncio.InvalidStateError):
                each.stored.set_result(accepted.get(each.new.execution_id))

    async def _check_bound(self, user_id: str) -> None:
        if not self.most_unended:
            return
        known = self._counts.get(user_id)
        now = time.monotonic()
        if known is None or known.number >= self.most_unended or now - known.counted_at > COUNT_SECONDS:
            if len(self._counts) >= COUNTED_USERS:
                self._counts.clear()
            known = Count(await self.executions.count_unended(user_id, self.most_unended), now)
            self._counts[user_id] = known
        if known.number >= self.most_unended:
            raise TooManyUnended
