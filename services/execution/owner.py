"""One life of this replica as an owner of partitions, from joining to leaving or losing its lease.

All that is in memory of executions belongs to one Owner. When the lease is lost all of it is dropped, and the next
Owner begins from rows, under a new id.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

import asyncpg
import structlog
from blockyard.execution.v1.execution_service_pb2 import CreditsPolicy

from services.common import backoff
from services.common.addresses import host_and_port
from services.common.bus import EVENTS, TASKS, Bus, BusError, StreamMissing
from services.common.database import TROUBLE
from services.common.tasks import end
from services.execution.background import Background
from services.execution.charges import Charges, CountedCharges
from services.execution.charging import Charger
from services.execution.children import Children
from services.execution.commands import Stop, encode_command, hint_payload, hint_subject
from services.execution.commits import Commits
from services.execution.config import ExecutionSettings
from services.execution.dispatch import Dispatcher, DispatchLimits
from services.execution.driver import Driver, Parts, TurnLimits
from services.execution.engine import RunLost
from services.execution.engine.plan import Reason
from services.execution.feed import Publisher
from services.execution.hearing import Hearing
from services.execution.heartbeats import Heartbeats
from services.execution.instructions import Instructions
from services.execution.keeping import Keepings
from services.execution.large_values import LIMIT, LargeValues
from services.execution.leases import Leases
from services.execution.live import Arrival, Inbox
from services.execution.loading import Loader
from services.execution.marks import keep_marks
from services.execution.records import ExecutionRow, NewExecution, PartitionLease
from services.execution.repository.charges import ChargeRepository
from services.execution.repository.children import ChildRepository
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.leases import LeaseRepository
from services.execution.repository.turns import TurnRepository
from services.execution.residence import Residence
from services.execution.results import Results
from services.execution.run_checks import RunJudge
from services.execution.runners import Runners
from services.execution.sending import TaskSender
from services.execution.snapshots import Snapshots
from services.execution.starting import Starter
from services.execution.streams import Stores, limits_of
from services.execution.unsent import Unsent
from services.execution.vigil import Vigil
from services.execution.watching import Watchers

log = structlog.get_logger()

Answer = TypeVar("Answer")

FAIL = CreditsPolicy.CREDITS_POLICY_FAIL

STORE_LOOKS = 3
"""Heartbeats between two looks for streams that NATS cannot write into."""

BALANCE_SUBJECT = "blockyard.balance"
"""Where replicas tell each other that who holds which partition has changed, or should."""

OPENINGS = 32
"""Partitions that are opened at a time."""

SETTLE_SECONDS = 3.0
"""Longest time that an orderly end waits for events to be published, and then for the turn on its way."""


@dataclass(slots=True, eq=False)
class Owner:
    """What drives executions while the lease holds."""

    settings: ExecutionSettings
    bus: Bus
    leases: Leases
    lease_rows: LeaseRepository
    execution_rows: ExecutionRepository
    driver: Driver
    dispatcher: Dispatcher
    runners: Runners
    instructions: Instructions
    sender: TaskSender
    watchers: Watchers
    residence: Residence
    unsent: Unsent
    results: Results
    publisher: Publisher
    vigil: Vigil
    judge: RunJudge
    hearing: Hearing
    charges: Charges
    events_created: datetime
    """Of EVENTS, as far as is known: another value means that the stream was lost."""
    stream_missing: asyncio.Event
    """Set when a stream that is published into is not there."""
    mending: asyncio.Lock = field(default_factory=asyncio.Lock)
    ready: set[int] = field(default_factory=set)
    """Partitions that are held and open."""
    _unsaid: dict[int, bytes | None] = field(default_factory=dict)
    """What is to be said of tasks not sent, by partition: a release that is cancelled leaves it to the next one."""
    _opening: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OPENINGS))

    # What the API asks for

    def own_partitions(self) -> list[int]:
        """Partitions held here and ready."""
        return list(self.ready)

    def begin(self, new: NewExecution) -> asyncio.Future[ExecutionRow] | None:
        """Stores a new execution with its first turn; None if it cannot be driven here, or not at once."""
        if (
            new.partition not in self.ready
            or not self.leases.valid
            or self.driver.in_doubt
            or len(new.inputs) > LIMIT
            or len(self.driver.live) >= self.settings.loaded_executions
        ):
            return None
        self.watchers.recent.begin(new.watched)
        return self.residence.begin(new)

    def accepted(self, row: ExecutionRow) -> bool:
        """Takes up an execution that is stored if its partition is held here; False if it is not."""
        if row.partition not in self.ready or not self.leases.valid:
            return False
        self.watchers.recent.begin(row.watched)
        if len(self.driver.live) < self.settings.loaded_executions:
            self.residence.take_new(row)
        return True

    def commanded(self, execution_id: UUID, partition: int) -> bool:
        """There is a command for an execution; False if its partition is not held here."""
        if partition not in self.ready:
            return False
        self.residence.hint(execution_id)
        return True

    def tell_of_command(self, execution_id: UUID, partition: int) -> None:
        """There is a command for an execution, whoever holds its partition."""
        if not self.commanded(execution_id, partition):
            self.bus.publish_now(hint_subject(partition), hint_payload(execution_id))

    def reconnected(self) -> None:
        """NATS was away: nobody could be heard, and runners that came back first have told of themselves in vain."""
        self.vigil.outage()
        self.instructions.call_the_roll()

    # Partitions come and go

    async def take(self, leases: list[PartitionLease]) -> None:
        """Partitions were taken: what is due there is loaded, and timers wait for the results of before.

        The sweep looks at these partitions too, from the first await on: their feeds are open by then.
        """
        for lease in leases:
            self.unsent.take(lease)
            self.publisher.open(lease.partition, lease.feed_sequence, lease.published_through)
            self.charges.expect(lease.partition, lease.feed_sequence)
            self.driver.catching_up.add(lease.partition)
        await patiently(lambda: self.charges.open({lease.partition: lease.feed_sequence for lease in leases}))
        log.info("partitions taken", partitions=len(leases))
        self.vigil.outage()
        info = await patiently(lambda: self.bus.stream_info(TASKS))
        self.dispatcher.newest_sequence = info.last_sequence if info is not None else 0
        # Executions of all of them stand still until theirs is open.
        async with asyncio.TaskGroup() as opening:
            for lease in leases:
                opening.create_task(self._open(lease))
        self._share()
        await self.residence.look([lease.partition for lease in leases], None)

    async def _open(self, lease: PartitionLease) -> None:
        partition = lease.partition
        async with self._opening:
            await patiently(lambda: self._open_results(lease))
            await patiently(partial(self.hearing.open, partition))
        self.ready.add(partition)

    async def _open_results(self, lease: PartitionLease) -> None:
        try:
            await self.results.open(lease)
        except StreamMissing:
            # NATS has lost its disk since this replica joined.
            await self.streams_lost()
            raise

    async def release(self, partitions: list[int]) -> None:
        """Stops driving these partitions, after the turn that is on its way."""
        going = set(partitions)
        self.fall_silent(partitions)
        await self.results.close(partitions)
        async with self.driver.lock:
            waiting = self.dispatcher.waiting_in(going)
            for partition in going:
                self._unsaid[partition] = self.unsent.give_up(self.leases.held[partition], waiting[partition])
            for live in [live for live in self.driver.live.values() if live.partition in going]:
                self.driver.remove(live)
            # From here on nothing of these partitions is loaded; nor is anything placed whose loading has begun.
            self.leases.let_go(partitions)
        with suppress(*TROUBLE):
            await self.lease_rows.published(self.leases.replica_id, self.publisher.published())
            await self.lease_rows.say_unsent(self.leases.replica_id, self._unsaid)
            self._unsaid.clear()
            await self.charges.mark()
        self.charges.close(partitions)
        for partition in partitions:
            self.publisher.close(partition)
            self.driver.catching_up.discard(partition)
        self._share()
        log.info("partitions given up", partitions=len(partitions))

    def _share(self) -> None:
        """More or fewer tasks may be out, and those of partitions that were given up take no room any more."""
        self.dispatcher.share = self.leases.share
        self.sender.send()

    def fall_silent(self, partitions: Collection[int]) -> None:
        """Hears and answers nothing of these partitions any more."""
        self.ready.difference_update(partitions)
        self.hearing.close(partitions)

    def fall_silent_altogether(self) -> None:
        """Hears and answers nothing any more: others may hold all of it."""
        self.ready.clear()
        self.hearing.close_all()

    # Runners and streams

    def handed_back(self, key: bytes, number: int, attempt: int, why: str, reason: Reason) -> None:
        """A runner gave a task back: it is sent again, but not for ever."""
        sent = self.dispatcher.in_flight.get((key, number))
        if sent is None or sent.attempt != attempt:
            return
        if why and sent.sends >= self.settings.task_sends:
            self.driver.arrive(Arrival(key, RunLost(number, attempt, why, reason)))
            return
        if not why:
            sent.sends -= 1
        # A runner that cannot take a task says so at once: a pause keeps that from going round in circles.
        pause = min(5.0, 0.1 * 4**sent.sends) if why else 0.0
        asyncio.get_running_loop().call_later(pause, self._send_again, key, number, attempt)

    def _send_again(self, key: bytes, number: int, attempt: int) -> None:
        sent = self.dispatcher.in_flight.get((key, number))
        if sent is not None and sent.attempt == attempt:
            self.dispatcher.again(sent)
            self.sender.send()

    async def streams_lost(self) -> None:
        """Makes the streams anew if they are gone, and fills them from what rows and memory know."""
        async with self.mending:
            infos = await patiently(lambda: self.bus.ensure_streams(limits_of(self.settings)))
            if infos[TASKS].created != self.vigil.stream_created:
                log.warning("the stream of tasks was lost, it is made anew")
                self.vigil.stream_lost(infos[TASKS].created)
                self.dispatcher.newest_sequence = 0
            if infos[EVENTS].created != self.events_created:
                log.warning("the stream of events was lost, it is made anew")
                self.events_created = infos[EVENTS].created
                self.publisher.rewind()

    async def mend(self) -> None:
        """Makes streams anew that publishing has not found, until it is cancelled."""
        while True:
            await self.stream_missing.wait()
            self.stream_missing.clear()
            await self.streams_lost()

    def granted(self) -> None:
        """There may be credits for tasks that wait."""
        self.sender.send()

    async def ran_out(self, user_id: str) -> None:
        """A user has no credits left: executions that are to fail then, and wait for some, fail."""
        failing = [live.execution_id for live in self.dispatcher.waiting_of(user_id) if live.credits_policy == FAIL]
        if not failing:
            return
        stop = Stop("the credits of its owner have run out", failed=True)
        try:
            for execution_id, partition in (
                await self.execution_rows.command_each(failing, *encode_command(stop))
            ).items():
                self.tell_of_command(execution_id, partition)
        except TROUBLE as error:
            # The account service says it again.
            log.warning("executions without credits cannot be ended", error=repr(error))


async def patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer of a call, asked again while NATS or PostgreSQL is away."""
    return await backoff.patiently(ask, BusError, *TROUBLE)


@asynccontextmanager
async def owning(
    settings: ExecutionSettings,
    pool: asyncpg.Pool,
    bus: Bus,
    loader: Loader,
    watchers: Watchers,
    large_values: LargeValues,
    starter: Starter,
    charger: Charger | None,
) -> AsyncIterator[Owner]:
    """An Owner that works until the block is left. Credits are counted where there is a charger."""
    watchers.recent.clear()
    lease_rows = LeaseRepository(pool)
    turns = TurnRepository(pool)
    leases = Leases(
        lease_rows,
        settings.database_url.get_secret_value(),
        secrets.token_hex(16),
        host_and_port(settings.host, settings.port),
        settings.lease_seconds,
        settings.partitions,
        lambda: bus.publish_now(BALANCE_SUBJECT, b""),
    )
    infos = await patiently(lambda: bus.ensure_streams(limits_of(settings)))
    runners = Runners(settings.runner_silence)
    limits = DispatchLimits(
        window=settings.window,
        user=settings.user_concurrency,
        graph=settings.graph_concurrency,
        tasks_per_message=settings.tasks_per_message,
        batch_below_us=settings.batch_below_ms * 1000,
    )
    dispatcher = Dispatcher(limits, runners, leases.replica_id)
    charges = _charges(ChargeRepository(pool), leases.replica_id, charger)
    dispatcher.purse = charges.purse
    missing = asyncio.Event()
    publisher = Publisher(bus, turns, settings.event_bytes, missing.set)
    inbox = Inbox()
    background = Background()
    sender = TaskSender(dispatcher, leases, bus, large_values, inbox, background, missing.set)
    instructions = Instructions(bus, leases.replica_id)
    parts = Parts(
        leases=leases,
        turns=turns,
        commits=Commits(leases, turns, publisher),
        inbox=inbox,
        dispatcher=dispatcher,
        sender=sender,
        publisher=publisher,
        runners=runners,
        instructions=instructions,
        watchers=watchers,
        snapshots=Snapshots(turns),
        keepings=Keepings(large_values, dispatcher, inbox, background),
        children=Children(
            starter,
            ChildRepository(pool),
            ExecutionRepository(pool),
            lambda: owner.own_partitions(),
            lambda execution_id, partition: owner.tell_of_command(execution_id, partition),
            large_values,
        ),
        charges=charges,
    )
    driver = Driver(parts, TurnLimits(settings.turn_results, settings.turn_bytes, int(settings.unload_after * 1000)))
    unsent = Unsent()
    residence = Residence(driver, leases, turns, dispatcher, loader, unsent, settings.loaded_executions)
    vigil = Vigil(
        driver,
        dispatcher,
        sender,
        runners,
        bus,
        settings.heartbeat_seconds,
        settings.task_sends,
        infos[TASKS].created,
        asyncio.get_running_loop().time() + 2 * settings.heartbeat_seconds,
    )
    heartbeats = Heartbeats(driver, leases, turns, runners, sender, instructions, settings.turn_results)
    results = Results(
        bus, driver, leases, lambda *back: owner.handed_back(*back), lambda: owner.streams_lost(), background
    )
    judge = RunJudge(driver, dispatcher, residence.hint)
    owner = Owner(
        settings,
        bus,
        leases,
        lease_rows,
        ExecutionRepository(pool),
        driver,
        dispatcher,
        runners,
        instructions,
        sender,
        watchers,
        residence,
        unsent,
        results,
        publisher,
        vigil,
        judge,
        Hearing(bus, driver, residence, judge),
        charges,
        infos[EVENTS].created,
        missing,
    )
    stores = Stores(
        bus,
        STORE_LOOKS * settings.heartbeat_seconds,
        # One replica at a time holds the first partition.
        lambda: leases.valid and 0 in leases.held,
        owner.streams_lost,
        {name: info.created for name, info in infos.items()},
    )
    async with leases.joined(), _nobody_waits(driver), asyncio.TaskGroup() as tasks:
        await patiently(turns.open)
        beats = await bus.subscribe("blockyard.heartbeat", lambda delivery: heartbeats.hear(delivery.data))
        told = await bus.subscribe(BALANCE_SUBJECT, lambda delivery: leases.look())
        # Nothing is sent to runners that are not known: partitions that are taken would wait for the next heartbeats.
        instructions.call_the_roll()
        forget = bus.on_reconnect(owner.reconnected)
        works = {
            "turns": driver.run(),
            "loads": residence.load_absent(),
            "hints": residence.follow_hints(),
            "sweep": residence.sweep(),
            "events": publisher.run(),
            "published": keep_marks("published", publisher.published, partial(lease_rows.published, leases.replica_id)),
            "charged": charges.keep_marks(),
            "streams": owner.mend(),
            "stores": stores.run(),
            "vigil": vigil.run(),
            "holdings": heartbeats.look_up(),
            "balance": leases.balance(owner.take, owner.release),
            "children": parts.children.run(),
            "ends of children": parts.children.tell(),
            "lost children": parts.children.look(),
            "background": background.failure(),
        }
        running = {name: tasks.create_task(work, name=name) for name, work in works.items()}
        try:
            yield owner
        finally:
            forget()
            beats.unsubscribe()
            told.unsubscribe()
            await end((running["balance"],))
            if leases.valid:
                await _settle_down(owner)
            owner.fall_silent_altogether()
            for task in running.values():
                task.cancel()
            await results.close_all()
            background.cancel()
            await end(running.values())
            dispatcher.close()
            charges.close_all()
            await turns.close()


def _charges(rows: ChargeRepository, replica_id: str, charger: Charger | None) -> Charges:
    return Charges(rows, replica_id) if charger is None else CountedCharges(rows, replica_id, charger)


@asynccontextmanager
async def _nobody_waits(driver: Driver) -> AsyncIterator[None]:
    """However the tasks have ended, starts that wait for a first turn are told that they will have none here."""
    try:
        yield
    finally:
        driver.begin_none()


async def _settle_down(owner: Owner) -> None:
    """An orderly end: what is committed is published, and the next owner need not publish it again."""
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            await owner.publisher.drained()
    except TimeoutError:
        log.warning("some events are left to the next owner to publish")
    try:
        # A turn whose commit was not confirmed is held until the rows can be asked: that may be long after this end.
        async with asyncio.timeout(SETTLE_SECONDS):
            await owner.release(list(owner.leases.held))
            await owner.leases.leave()
    except (TimeoutError, *TROUBLE) as error:
        log.warning("partitions could not be given up in order", error=repr(error))
