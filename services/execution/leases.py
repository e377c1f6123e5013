"""Which partitions this replica holds, and whether it still may write (rules 7 and 10).

A thread with a connection of its own renews the replica's row, and does not when the event loop stands still. The
holder counts from before it sent the renewal. Partitions are balanced: each replica holds its fair share, those of
dead replicas are taken. Replicas look every second, and at once when one tells that it has come, has given some up or
has left in order.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import psycopg
import structlog

from services.common.backoff import delays
from services.common.database import TROUBLE
from services.execution.metrics import METRICS
from services.execution.records import PartitionLease
from services.execution.repository.leases import CLOCK, RENEW, LeaseRepository

log = structlog.get_logger()

BEAT = 0.25
"""Seconds between signs of life of the event loop."""

BALANCE = 1.0
"""Seconds between looks at who holds what."""

PACE = 0.02
"""As many at least, however many replicas tell of something."""


def fair_share(partitions: int, living: Sequence[str], replica_id: str) -> int:
    """How many partitions a replica should hold of all that live, in an order that all share: together all of them."""
    each, more = divmod(partitions, len(living))
    return each + (living.index(replica_id) < more)


class Leases:
    """This replica's row and partitions."""

    def __init__(
        self,
        repository: LeaseRepository,
        url: str,
        replica_id: str,
        address: str,
        seconds: float,
        partitions: int,
        tell: Callable[[], object],
    ) -> None:
        """`tell` has every replica look at who holds what; it may get lost."""
        self._repository = repository
        self._url = url
        self.replica_id = replica_id
        self._address = address
        self._seconds = seconds
        self._partitions = partitions
        self._tell = tell
        self._look = asyncio.Event()
        self._valid_until = 0.0
        self._beat = 0.0
        self._stopping = threading.Event()
        self._left = False
        self.lost = asyncio.Event()
        self.held: dict[int, PartitionLease] = {}
        self.clock_offset = 0.0
        """Seconds that PostgreSQL's clock is ahead of this machine's."""

    @property
    def valid(self) -> bool:
        """True while no other replica can have taken over."""
        return time.monotonic() < self._valid_until and not self.lost.is_set()

    @property
    def share(self) -> float:
        """Part of all partitions that are held here."""
        return max(1, len(self.held)) / self._partitions

    def now_ms(self) -> int:
        """Milliseconds since 1970 by PostgreSQL's clock."""
        return int((time.time() + self.clock_offset) * 1000)

    @contextlib.asynccontextmanager
    async def joined(self):  # type: ignore[no-untyped-def]  # a generator, typed by its decorator
        """This replica has a row, which is renewed, until the block is left; then its partitions are free."""
        await self._join()
        loop = asyncio.get_running_loop()
        self._alive(loop)
        thread = threading.Thread(target=self._renew_for_ever, args=(loop,), name="lease", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            await self.leave()
            await asyncio.to_thread(thread.join, self._seconds)

    async def leave(self) -> None:
        """Gives everything up, for others to take at once: nothing may be driven here any more."""
        if self._left:
            return
        self._left = True
        self._stopping.set()
        self._valid_until = 0.0
        with contextlib.suppress(*TROUBLE):
            await self._repository.leave(self.replica_id)
        self._tell()

    async def _join(self) -> None:
        """Waits while the database is away."""
        for pause in delays():
            before = time.monotonic()
            try:
                await self._repository.join(self.replica_id, self._address, self._seconds, self._partitions)
                # Times are PostgreSQL's from the first turn on, not from the first renewal.
                local = time.time()
                self.clock_offset = await self._repository.clock() - (local + time.time()) / 2
            except TROUBLE as error:
                log.warning("this replica cannot join yet", error=repr(error))
                await asyncio.sleep(pause)
            else:
                self._valid_until = before + self._seconds
                return

    def let_go(self, partitions: Iterable[int]) -> None:
        """These partitions are not driven here any more; the next balancing gives their rows up."""
        for partition in partitions:
            self.held.pop(partition, None)

    async def orphans(self) -> list[int]:
        """Partitions that nobody holds at this moment."""
        return await self._repository.orphans()

    async def balance(
        self, taken: Callable[[list[PartitionLease]], Awaitable[None]], release: Callable[[list[int]], Awaitable[None]]
    ) -> None:
        """Takes and gives up partitions until it is cancelled. `release` stops driving them, and lets them go."""
        self._tell()
        while True:
            self._look.clear()
            try:
                await self._balance_once(taken, release)
            except TROUBLE as error:
                log.warning("partitions cannot be balanced", error=str(error))
            await asyncio.sleep(PACE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BALANCE):
                    await self._look.wait()

    def look(self) -> None:
        """Another replica has come, has given partitions up or has left."""
        self._look.set()

    async def _balance_once(
        self, taken: Callable[[list[PartitionLease]], Awaitable[None]], release: Callable[[list[int]], Awaitable[None]]
    ) -> None:
        for dead in await self._repository.bury():
            log.warning("took over from a silent replica", replica=dead)
        living = await self._repository.living()
        if self.replica_id not in living:
            return
        # With those of a setting that was higher once: executions stay in the partition of their start.
        self._partitions = await self._repository.partitions()
        METRICS.all_partitions.set(self._partitions)
        fair = fair_share(self._partitions, living, self.replica_id)
        if len(self.held) > fair:
            await release(sorted(self.held)[fair:])
        # With those whose taking or giving up was not confirmed before.
        if await self._repository.release_all_but(self.replica_id, list(self.held)):
            self._tell()
        if len(self.held) < fair:
            new = await self._repository.take(self.replica_id, fair - len(self.held))
            if new:
                METRICS.partitions_taken.inc(len(new))
                self.held.update({lease.partition: lease for lease in new})
                await taken(new)

    def _alive(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat = time.monotonic()
        if not self._stopping.is_set():
            loop.call_later(BEAT, self._alive, loop)

    def _renew_for_ever(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread: a third of the lease between renewals, so that two may fail."""
        connection: psycopg.Connection | None = None
        while not self._stopping.wait(self._seconds / 3):
            if time.monotonic() - self._beat > self._seconds / 2:
                log.error("the event loop stands still: the lease is not renewed")
                continue
            try:
                if connection is None:
                    connection = self._open()
                if not self._renew(connection):
                    loop.call_soon_threadsafe(self.lost.set)
                    return
            except psycopg.Error as error:
                log.warning("the lease could not be renewed", error=str(error))
                if connection is not None:
                    connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _open(self) -> psycopg.Connection:
        seconds = max(1, int(self._seconds / 3))
        return psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=seconds,
            # A server that is gone without a word must not keep the next renewal waiting.
            tcp_user_timeout=seconds * 1000,
            keepalives_idle=seconds,
            keepalives_interval=1,
            keepalives_count=seconds,
            application_name="blockyard-execution-lease",
            options=f"-c search_path=execution -c statement_timeout={seconds}s",
        )

    def _renew(self, connection: psycopg.Connection) -> bool:
        sent = time.monotonic()
        if connection.execute(RENEW, (self._seconds, self.replica_id)).rowcount != 1:
            log.error("the lease is lost: another replica has taken over")
            return False
        self._valid_until = sent + self._seconds
        local = time.time()
        row = connection.execute(CLOCK).fetchone()
        if row is not None:
            self.clock_offset = row[0] - (local + time.time()) / 2
        return True
