"""Takes in what executions did, each turn exactly once, for what is sent out by itself: webhooks and e-mail.

feeds -> follow          from the stored cursor on; one replica at a time, by a lease in the row
turns -> transaction     each part inserts what it owes somebody; the same transaction moves the cursor
more is owed than fits   fewer turns are taken in at once; after any failure too, until it is one turn alone
one turn alone fails     it is left out, and told
somebody else stepped    the version in the row has changed, so nothing of the transaction stays
nothing was owed         the cursor is moved later: a step costs a commit, and looking again costs nothing

Whoever sends works from those rows, on any replica.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import asyncpg
import grpc
import structlog

from services.common.backoff import delays
from services.common.cursors import CursorInvalid, decode_cursor, encode_cursor
from services.common.database import AWAY, PASSING
from services.notification.entries import Entry
from services.notification.errors import CursorAhead, SubscriberTooSlow
from services.notification.feeds import Positions
from services.notification.filters import EventFilter
from services.notification.following import Following
from services.notification.repository.followers import NAME, Connection, FollowerRepository, Held, NotHeld

LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
MOVE_SECONDS = 5.0
"""The cursor is moved so often at least, while there are turns that nobody is owed anything for."""
GATHER_SECONDS = 0.05
"""Between two steps: each is a commit."""

MOST_TURNS = 1_000
"""Taken in by a transaction."""

Take = Callable[[Connection, Sequence[Entry]], Awaitable[bool]]
"""Inserts what is owed for these turns, and says whether that was anything. It may be called again for the same turns,
by a transaction of which nothing stays. Turns of users who want nothing need not be read. It may raise TooManyOwed."""

log = structlog.stdlib.get_logger(__name__)


class TooManyOwed(Exception):
    """More is owed for these turns than one transaction inserts. Never raised of one turn alone."""


class Follower:
    """Follows for as long as `run` runs, whenever no other replica does. `taken` is called after each step that owed
    something: there is work for senders."""

    def __init__(
        self, rows: FollowerRepository, following: Following, takes: Sequence[Take], taken: Callable[[], None]
    ) -> None:
        self._rows = rows
        # A sign of life comes in time to keep the lease.
        self._following = replace(following, quiet_seconds=RENEW_SECONDS, over_gaps=True)
        self._takes = takes
        self._taken = taken
        self._me = secrets.token_hex(16)
        self._held: Held | None = None
        self._moved_at = self._renewed_at = 0.0
        self._at_once = MOST_TURNS

    async def run(self) -> None:
        """Follows until it is cancelled."""
        pauses = delays()
        await self._following.tail.begun.wait()
        try:
            while True:
                try:
                    self._held = await self._hold()
                    if self._held is not None:
                        pauses = delays()
                        await self._follow(self._held)
                        continue
                except (NotHeld, SubscriberTooSlow):
                    continue
                except (*PASSING, grpc.aio.AioRpcError) as error:
                    log.warning("what executions do waits to be taken in", reason=str(error) or type(error).__name__)
                    await asyncio.sleep(next(pauses))
                    continue
                await asyncio.sleep(RENEW_SECONDS)
        finally:
            with suppress(*AWAY, asyncpg.PostgresError):
                await self._rows.release(NAME, self._me)

    async def _hold(self) -> Held | None:
        """Takes or keeps the lease. A new installation begins with what comes from now on."""
        now = encode_cursor(self._following.tail.positions)
        return await self._rows.hold(NAME, self._me, LEASE_SECONDS, now)

    async def _follow(self, begun: Held) -> None:
        """Follows until another replica does or has done so, or something fails."""
        self._renewed_at = time.monotonic()
        try:
            reached = decode_cursor(begun.cursor)
            async for told in self._following.follow(EventFilter(None), begun.cursor):
                before, reached = reached, dict(told.positions)
                if told.parts:
                    if not await self._take_in([part.entry for part in told.parts], before, reached):
                        return
                    await asyncio.sleep(GATHER_SECONDS)
                if not await self._kept():
                    return
        except (CursorAhead, CursorInvalid) as error:
            await self._begin_anew(error)

    async def _take_in(self, entries: Sequence[Entry], before: Positions, reached: Positions) -> bool:
        """Takes in what lies between these places, step by step; False if another replica has followed meanwhile."""
        while entries:
            some, rest = entries[: self._at_once], entries[self._at_once :]
            end = before | {entry.partition: entry.sequence for entry in some} if rest else reached
            if await self._step(some, encode_cursor(end)):
                entries, before = rest, end
            if not await self._kept():
                return False
        return True

    async def _kept(self) -> bool:
        """Keeps the lease, if it is time to."""
        if time.monotonic() - self._renewed_at < RENEW_SECONDS:
            return True
        self._renewed_at = time.monotonic()
        # Who was away for long may get the lease back, and must not go on where another has been since.
        return await self._hold() == self._held

    async def _step(self, entries: Sequence[Entry], cursor: str) -> bool:
        """Takes in these turns; False if fewer are to be tried. Whatever fails, fewer are taken in the next time."""
        fewer = max(1, len(entries) // 2)
        try:
            await self._take(entries, cursor)
        except NotHeld:
            raise
        except PASSING:
            self._at_once = fewer
            raise
        except TooManyOwed:
            self._at_once = fewer
            return False
        except Exception:
            # An edge: what one turn has must not keep all others waiting.
            self._at_once = fewer
            if len(entries) > 1:
                return False
            log.exception("a turn cannot be taken in and is left out", execution_id=entries[0].execution_id)
            await self._take((), cursor)
        else:
            self._at_once = min(2 * self._at_once, MOST_TURNS)
        return True

    async def _take(self, entries: Sequence[Entry], cursor: str) -> None:
        """One transaction, which moves the cursor if it inserts something, or has not been moved for a while."""
        assert self._held is not None, "it was taken"
        stepped: Held | None = None
        async with self._rows.transaction() as connection:
            owed = any([await take(connection, entries) for take in self._takes]) if entries else False
            now = time.monotonic()
            if owed or not entries or now - self._moved_at > MOVE_SECONDS:
                stepped = await self._rows.step(connection, self._held, cursor)
        if stepped is not None:
            self._held, self._moved_at = stepped, now
        if owed:
            self._taken()

    async def _begin_anew(self, error: Exception) -> None:
        """The cursor is of no use: what lies before this moment is lost to subscribers, and said so."""
        assert self._held is not None, "it was taken"
        log.error("what executions did before now is not told by webhook and e-mail", reason=str(error))
        await self._take((), encode_cursor(self._following.tail.positions))
