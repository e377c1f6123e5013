"""Due times in their rows: taken, claimed and settled by replicas that come and go at any moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import asyncpg
from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1.start_template_pb2 import StartTemplate

from services.common.errors import Unavailable
from services.common.ids import new_id
from services.execution.errors import InputsInvalid
from services.execution.metrics import METRICS
from services.execution.repository.firings import FiringRepository
from services.execution.repository.retention import Retention
from services.execution.repository.schedules import NewSchedule, ScheduleRepository
from services.execution.schedules.advancing import Advance, advance
from services.execution.schedules.records import PAUSED, CatchUp, FiringStatus, Overlap, Schedule, Terms
from services.execution.schedules.scheduler import OVERLAPS, Scheduler
from services.execution.starting import StartRequest
from tests.integration.execution.stored_starts import stored
from tests.stack.postgres import as_role, migrated_database
from tests.waiting import until

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@asynccontextmanager
async def database(postgres: PostgresServer) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    with migrated_database(postgres.url, "execution") as url:
        settings = {"search_path": "execution", "timezone": "UTC"}
        async with asyncpg.create_pool(
            as_role(url, "execution"), min_size=1, max_size=3, server_settings=settings
        ) as pool:
            await Retention(pool).make_partitions()
            yield pool


async def kept(pool: "asyncpg.Pool[asyncpg.Record]", overlap: Overlap = Overlap.SKIP) -> Schedule:
    """A schedule of each minute, which is due at START."""
    template = StartTemplate(graph_id="graph").SerializeToString()
    terms = Terms(
        name="",
        graph_id="graph",
        template=template,
        cron="* * * * *",
        time_zone="UTC",
        jitter=0,
        start_time=None,
        end_time=None,
        overlap=overlap,
        queue_limit=10,
        catch_up=CatchUp.NONE,
        catch_up_limit=10,
        paused=False,
    )
    schedule = Schedule(new_id(), "anna", terms, "", 0, START, START, 1, START, START)
    stored = await ScheduleRepository(pool).add(NewSchedule(schedule, "", b""), 100)
    assert stored is not None
    return stored


async def test_the_loop_goes_on_between_schedules_that_were_due_for_long(postgres: PostgresServer) -> None:
    async with database(postgres) as pool:
        for _ in range(3):
            await kept(pool)
        now = START + 8 * 24 * 60 * MINUTE
        turns: list[None] = []
        seen: list[int] = []

        def decide(schedule: Schedule, waiting: int) -> Advance:
            seen.append(len(turns))
            asyncio.get_running_loop().call_soon(turns.append, None)
            return advance(schedule, now, waiting)

        assert await FiringRepository(pool).advance(now, 10, decide) == 3
        assert seen == [0, 1, 2]


async def look(scheduler: Scheduler, now: datetime) -> None:
    """One look, and all that it begins."""
    async with asyncio.TaskGroup() as group:
        await scheduler.look(now, group)


async def nobody_is_refused(_: str) -> str:
    return ""


async def test_another_try_is_put_off_from_the_failure_on_and_not_from_the_look(postgres: PostgresServer) -> None:
    async with database(postgres) as pool:
        await kept(pool)
        loop = asyncio.get_running_loop()

        async def fail_late(_: StartRequest) -> UUID:
            failed = loop.time() + 0.3
            await until(lambda: loop.time() > failed, "a while is over")
            raise Unavailable

        await look(Scheduler(FiringRepository(pool), fail_late, nobody_is_refused, 10, lambda: None), START)
        look_time = await pool.fetchval("SELECT look_time FROM firings WHERE attempts = 1")
        assert look_time >= START + timedelta(seconds=1.3)


async def test_what_is_not_written_is_not_counted(postgres: PostgresServer) -> None:
    async with database(postgres) as pool:
        await kept(pool)

        async def refused(_: str) -> str:
            await pool.execute("ALTER TABLE firings ADD CONSTRAINT not_written CHECK (status = 1) NOT VALID")
            return "the owner is disabled"

        async def start(_: StartRequest) -> UUID:
            raise AssertionError

        skipped = METRICS.firings.labels("skipped")
        before = skipped._value.get()
        await look(Scheduler(FiringRepository(pool), start, refused, 10, lambda: None), START)
        assert skipped._value.get() == before


async def paused(pool: "asyncpg.Pool[asyncpg.Record]", schedule: Schedule) -> None:
    """Its owner pauses it."""

    def changed(before: Schedule) -> Schedule:
        return replace(before, terms=replace(before.terms, paused=True), next_time=None, fire_time=None)

    assert await ScheduleRepository(pool).change(schedule.schedule_id, schedule.user_id, changed, START)


async def resumed(pool: "asyncpg.Pool[asyncpg.Record]", schedule: Schedule) -> None:
    """Its owner resumes it; what comes next is of no matter here."""

    def changed(before: Schedule) -> Schedule:
        return replace(before, terms=replace(before.terms, paused=False))

    assert await ScheduleRepository(pool).change(schedule.schedule_id, schedule.user_id, changed, START)


async def stored_by_the_dead(pool: "asyncpg.Pool[asyncpg.Record]", now: datetime) -> UUID:
    """The execution of what is due, whose start a replica stored that died before it could say so."""
    begun: list[UUID] = []

    async def store(request: StartRequest) -> UUID:
        begun.append(await stored(pool, request))
        await asyncio.Event().wait()
        raise AssertionError

    dying = asyncio.create_task(
        look(Scheduler(FiringRepository(pool), store, nobody_is_refused, 10, lambda: None), now)
    )
    await until(lambda: bool(begun), "the start is stored")
    dying.cancel()
    await asyncio.wait([dying])
    return begun[0]


async def away(_: StartRequest) -> UUID:
    raise Unavailable


async def never(_: StartRequest) -> UUID:
    raise AssertionError


async def test_a_start_that_a_dead_replica_has_stored_is_known_though_its_schedule_was_paused(
    postgres: PostgresServer,
) -> None:
    async with database(postgres) as pool:
        schedule = await kept(pool)
        execution_id = await stored_by_the_dead(pool, START)
        await paused(pool, schedule)
        await look(Scheduler(FiringRepository(pool), never, nobody_is_refused, 10, lambda: None), START + MINUTE)
        [firing] = await pool.fetch("SELECT status, execution_id FROM firings")
        assert tuple(firing) == (FiringStatus.STARTED, execution_id)


async def test_a_start_that_a_dead_replica_has_stored_is_known_though_its_owner_was_disabled(
    postgres: PostgresServer,
) -> None:
    async with database(postgres) as pool:
        await kept(pool)
        execution_id = await stored_by_the_dead(pool, START)

        async def disabled(_: str) -> str:
            return "its owner is disabled"

        await look(Scheduler(FiringRepository(pool), never, disabled, 10, lambda: None), START + MINUTE)
        first, second = await pool.fetch("SELECT status, execution_id FROM firings ORDER BY due_time")
        assert tuple(first) == (FiringStatus.STARTED, execution_id)
        assert tuple(second) == (FiringStatus.SKIPPED, None)


async def test_a_start_that_a_dead_replica_has_stored_is_known_though_none_may_overlap_any_more(
    postgres: PostgresServer,
) -> None:
    async with database(postgres) as pool:
        schedule = await kept(pool, Overlap.ALLOW)
        await look(Scheduler(FiringRepository(pool), partial(stored, pool), nobody_is_refused, 10, lambda: None), START)
        execution_id = await stored_by_the_dead(pool, START + MINUTE)

        def changed(before: Schedule) -> Schedule:
            return replace(before, terms=replace(before.terms, overlap=Overlap.SKIP))

        assert await ScheduleRepository(pool).change(schedule.schedule_id, schedule.user_id, changed, START)
        await look(Scheduler(FiringRepository(pool), never, nobody_is_refused, 10, lambda: None), START + 2 * MINUTE)
        firings = await pool.fetch("SELECT status, execution_id, reason FROM firings ORDER BY due_time")
        assert [firing["status"] for firing in firings] == [
            FiringStatus.STARTED,
            FiringStatus.STARTED,
            FiringStatus.SKIPPED,
        ]
        assert (firings[1]["execution_id"], firings[2]["reason"]) == (execution_id, OVERLAPS)


async def test_a_start_that_a_dead_replica_has_stored_is_known_though_it_cannot_be_repeated(
    postgres: PostgresServer,
) -> None:
    async with database(postgres) as pool:
        await kept(pool)
        execution_id = await stored_by_the_dead(pool, START)

        async def fail(_: StartRequest) -> UUID:
            raise InputsInvalid

        await look(Scheduler(FiringRepository(pool), fail, nobody_is_refused, 10, lambda: None), START + MINUTE)
        first, second = await pool.fetch("SELECT status, execution_id FROM firings ORDER BY due_time")
        assert tuple(first) == (FiringStatus.STARTED, execution_id)
        assert tuple(second) == (FiringStatus.SKIPPED, None)


async def test_what_waits_is_skipped_while_its_schedule_is_paused(postgres: PostgresServer) -> None:
    async with database(postgres) as pool:
        schedule = await kept(pool)
        scheduler = Scheduler(FiringRepository(pool), away, nobody_is_refused, 10, lambda: None)
        await look(scheduler, START)
        await paused(pool, schedule)
        await look(scheduler, START + MINUTE)
        [firing] = await pool.fetch("SELECT status, reason FROM firings")
        assert tuple(firing) == (FiringStatus.SKIPPED, PAUSED)


async def test_what_waits_as_its_schedule_is_paused_is_skipped_though_it_was_resumed(postgres: PostgresServer) -> None:
    async with database(postgres) as pool:
        schedule = await kept(pool)
        await look(Scheduler(FiringRepository(pool), away, nobody_is_refused, 10, lambda: None), START)
        await paused(pool, schedule)
        await resumed(pool, schedule)
        await look(Scheduler(FiringRepository(pool), never, nobody_is_refused, 10, lambda: None), START + MINUTE)
        [firing] = await pool.fetch("SELECT status, reason FROM firings")
        assert tuple(firing) == (FiringStatus.SKIPPED, PAUSED)


async def test_a_start_that_is_put_off_after_a_pause_is_skipped_though_it_was_resumed(postgres: PostgresServer) -> None:
    async with database(postgres) as pool:
        schedule = await kept(pool)

        async def fail_later(_: StartRequest) -> UUID:
            await paused(pool, schedule)
            await resumed(pool, schedule)
            raise Unavailable

        await look(Scheduler(FiringRepository(pool), fail_later, nobody_is_refused, 10, lambda: None), START)
        await look(Scheduler(FiringRepository(pool), never, nobody_is_refused, 10, lambda: None), START + MINUTE)
        [firing] = await pool.fetch("SELECT status, reason FROM firings")
        assert tuple(firing) == (FiringStatus.SKIPPED, PAUSED)


async def test_a_start_under_way_as_its_schedule_is_paused_is_known(postgres: PostgresServer) -> None:
    async with database(postgres) as pool:
        schedule = await kept(pool)

        async def start(request: StartRequest) -> UUID:
            await paused(pool, schedule)
            return await stored(pool, request)

        await look(Scheduler(FiringRepository(pool), start, nobody_is_refused, 10, lambda: None), START)
        [firing] = await pool.fetch("SELECT status, reason FROM firings")
        assert tuple(firing) == (FiringStatus.STARTED, "")


async def test_what_waits_as_a_schedule_pauses_itself_is_skipped_though_it_was_resumed(
    postgres: PostgresServer,
) -> None:
    async with database(postgres) as pool:
        schedule = await kept(pool, Overlap.ALLOW)
        await look(Scheduler(FiringRepository(pool), away, nobody_is_refused, 1, lambda: None), START)
        await pool.execute("UPDATE firings SET look_time = $1", START + 2 * MINUTE)

        async def fail(_: StartRequest) -> UUID:
            raise InputsInvalid

        await look(Scheduler(FiringRepository(pool), fail, nobody_is_refused, 1, lambda: None), START + MINUTE)
        assert await pool.fetchval("SELECT paused FROM schedules")
        await resumed(pool, schedule)
        await look(Scheduler(FiringRepository(pool), never, nobody_is_refused, 1, lambda: None), START + 3 * MINUTE)
        firings = await pool.fetch("SELECT status, reason FROM firings ORDER BY due_time")
        assert [firing["status"] for firing in firings] == [FiringStatus.SKIPPED, FiringStatus.FAILED]
        assert firings[0]["reason"] == PAUSED
