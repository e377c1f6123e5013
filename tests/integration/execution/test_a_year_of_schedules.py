"""A year of schedules: the test moves the clock; replicas come, go, and are killed in the midst of their work."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1.start_template_pb2 import StartTemplate

from services.common.errors import Unavailable
from services.common.ids import new_id
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.firings import FiringRepository
from services.execution.repository.retention import Retention
from services.execution.repository.schedules import FIRING_COLUMNS, NewSchedule, ScheduleRepository, firing_of
from services.execution.schedules.advancing import GRACE, fire_time
from services.execution.schedules.records import CatchUp, Firing, FiringStatus, Overlap, Schedule, Terms
from services.execution.schedules.scheduler import QUEUED, Scheduler
from services.execution.starting import StartRequest
from tests.integration.execution.stored_starts import new_execution
from tests.stack.postgres import as_role, migrated_database

FIRST, LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
SEED = 20260101
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Case:
    """A schedule of the year, and how long its executions take at most."""

    cron: str
    zone: str
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.NONE
    limit: int = 10
    jitter: int = 0
    longest: timedelta = HOUR
    start: datetime | None = None
    end: datetime | None = None


def berlin(month: int, day: int) -> datetime:
    """A minute before the day begins."""
    return datetime(2026, month, day, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC) - timedelta(minutes=1)


# The clocks of these zones are changed on Sundays, in Cairo on a Friday.
CASES = [
    Case("30 2 * * sat,sun", "Europe/Berlin", Overlap.SKIP, CatchUp.NONE),
    Case("30 1,2 * * sun", "America/New_York", Overlap.ALLOW, CatchUp.LAST),
    Case("10 2 * * sat,sun", "Australia/Lord_Howe", Overlap.QUEUE, CatchUp.ALL, limit=3),
    Case("0 0 * * thu,fri", "Africa/Cairo", Overlap.SKIP, CatchUp.LAST),
    Case("0 9 * * 1-2", "Asia/Kolkata", Overlap.ALLOW, CatchUp.ALL, limit=5),
    Case("0 6 * * 1-4", "UTC", Overlap.SKIP, CatchUp.ALL, limit=2, jitter=1800, longest=46 * HOUR),
    Case("30 2 * * 0-3", "Europe/Berlin", Overlap.QUEUE, CatchUp.ALL, limit=2, longest=46 * HOUR),
    Case("0 * * * *", "Europe/Berlin", start=berlin(10, 24), end=berlin(10, 26)),
    Case("0 * * * *", "Europe/Berlin", start=berlin(3, 28), end=berlin(3, 30)),
    Case("0 0 29 2 1", "America/Havana", Overlap.QUEUE, CatchUp.NONE),
]


@dataclass(frozen=True, slots=True)
class Ran:
    """An execution of the year."""

    schedule_id: UUID
    begun: datetime
    end: datetime


@dataclass(eq=False)
class Year:
    """The world of the replicas: a clock, executions that take their time, and starts that fail or are not answered."""

    pool: "asyncpg.Pool[asyncpg.Record]"
    chance: random.Random
    now: datetime = FIRST
    cases: dict[UUID, Case] = field(default_factory=dict)
    """By the id of the schedule."""
    ran: dict[UUID, Ran] = field(default_factory=dict)
    running: dict[UUID, datetime] = field(default_factory=dict)
    """Ends of executions."""
    gaps: list[tuple[datetime, datetime]] = field(default_factory=list)
    """From the last look of anybody to the first one after it."""
    counts: Counter[str] = field(default_factory=Counter)

    async def start(self, request: StartRequest) -> UUID:
        """A start as the service makes it, with rows; sometimes it is away, and sometimes its answer is lost."""
        if self.chance.random() < 0.04:
            self.counts["starts refused for a moment"] += 1
            raise Unavailable
        executions = ExecutionRepository(self.pool)
        if not await executions.start([new_execution(request)], {}):
            self.counts["starts repeated"] += 1
        if self.chance.random() < 0.04:
            self.counts["starts whose answer was lost"] += 1
            raise Unavailable
        row = await executions.by_request(request.user_id, request.request_id)
        assert row is not None
        return row.execution_id

    def replica(self) -> Scheduler:
        async def nobody_is_refused(_: str) -> str:
            return ""

        rows = FiringRepository(self.pool, kept=1_000_000)
        return Scheduler(rows, self.start, nobody_is_refused, 1_000, lambda: None)

    async def look(self) -> None:
        """One to three replicas look at once; some are killed meanwhile."""

        async def look(replica: Scheduler) -> None:
            async with asyncio.TaskGroup() as group:
                await replica.look(self.now, group)

        looks = [asyncio.create_task(look(self.replica())) for _ in range(self.chance.choice([1, 1, 2, 3]))]
        for task in looks:
            if self.chance.random() < 0.06:
                await asyncio.wait([task], timeout=self.chance.random() * 0.005)
                self.counts["replicas killed"] += not task.done()
                task.cancel()
        await asyncio.wait(looks)
        for task in looks:
            if not task.cancelled():
                task.result()
        self.counts["looks"] += len(looks)

    async def note_begun(self) -> None:
        """Executions that have begun take their time."""
        unended = "SELECT execution_id, labels ->> 'schedule' AS of FROM executions WHERE status < 4"
        for row in await self.pool.fetch(unended):
            if row["execution_id"] not in self.running:
                schedule_id = UUID(row["of"])
                end = self.now + self.cases[schedule_id].longest * self.chance.random()
                self.ran[row["execution_id"]] = Ran(schedule_id, self.now, end)
                self.running[row["execution_id"]] = end

    async def end_some(self) -> None:
        """Executions whose time is over end."""
        ended = [execution_id for execution_id, end in self.running.items() if end <= self.now]
        if ended:
            await self.pool.execute("UPDATE executions SET status = 4 WHERE execution_id = ANY($1::uuid[])", ended)
        for execution_id in ended:
            del self.running[execution_id]

    async def move_on(self) -> bool:
        """The clock goes to when something happens next, or past it by days. False if nothing does any more."""
        row = await self.pool.fetchrow(
            """SELECT (SELECT min(fire_time) FROM schedules) AS due,
                (SELECT min(look_time) FROM firings WHERE status = 1 AND reason <> $1) AS look,
                EXISTS (SELECT FROM firings WHERE status = 1 AND reason = $1) AS queued""",
            QUEUED,
        )
        assert row is not None
        if row["queued"] or row["due"] is None:
            moments = [row["due"], row["look"], min(self.running.values(), default=None)]
        else:
            moments = [row["due"], row["look"]]
        if row["queued"] and not self.running:
            # What was in its way has ended, and a replica that was killed had it.
            moments.append(self.now + timedelta(minutes=1))
        moments = [moment for moment in moments if moment is not None]
        if not moments:
            return False
        last, self.now = self.now, max(self.now, min(moments))
        if self.now > last and row["due"] is not None and self.chance.random() < 0.05:
            self.now += timedelta(hours=self.chance.choice([1, 10, 40, 150]) * self.chance.random())
            self.gaps.append((last, self.now))
        return True

    async def pass_by(self) -> None:
        """From the first to the last due time of all, and to the end of the last execution."""
        while await self.move_on():
            await self.end_some()
            await self.look()
            await self.note_begun()


def schedule_of(case: Case) -> Schedule:
    template = StartTemplate(graph_id="graph").SerializeToString()
    terms = Terms(
        name=case.cron,
        graph_id="graph",
        template=template,
        cron=case.cron,
        time_zone=case.zone,
        jitter=case.jitter,
        start_time=case.start,
        end_time=case.end or LAST - timedelta(seconds=1),
        overlap=case.overlap,
        queue_limit=case.limit,
        catch_up=case.catch_up,
        catch_up_limit=case.limit,
        paused=False,
    )
    schedule_id = new_id()
    due = terms.due_after(FIRST - timedelta(seconds=1))[0]
    fires = fire_time(schedule_id, due, case.jitter)
    return Schedule(schedule_id, "anna", terms, "", 0, due, fires, 1, FIRST, FIRST)


@asynccontextmanager
async def a_year(postgres: PostgresServer) -> AsyncIterator[Year]:
    with migrated_database(postgres.url, "execution") as url:
        # Replicas die here, and PostgreSQL does not: nothing has to wait for the disk.
        settings = {"search_path": "execution", "synchronous_commit": "off", "timezone": "UTC"}
        async with asyncpg.create_pool(as_role(url, "execution"), max_size=12, server_settings=settings) as pool:
            await Retention(pool).make_partitions()
            yield Year(pool, random.Random(SEED))


@dataclass(frozen=True, slots=True)
class Expected:
    """What should become of the due times of a schedule."""

    due: list[datetime]
    missed: set[datetime]


def expected(schedule: Schedule, gaps: list[tuple[datetime, datetime]]) -> Expected:
    """By the policies, from when nobody was there."""
    terms = schedule.terms
    due = terms.due_after(FIRST - timedelta(seconds=1), 10_000)
    missed: set[datetime] = set()
    for begin, end in gaps:
        late = [time for time in due if begin < fire_time(schedule.schedule_id, time, terms.jitter) < end - GRACE]
        caught = {CatchUp.NONE: 0, CatchUp.LAST: 1, CatchUp.ALL: terms.catch_up_limit}[terms.catch_up]
        missed |= set(late[: max(0, len(late) - caught)])
    return Expected(due, missed)


def standing_for(firing: Firing, due: list[datetime]) -> list[datetime]:
    """The due times of a firing."""
    return [time for time in due if firing.due_time <= time <= (firing.through_time or firing.due_time)]


async def test_in_a_year_with_restarts_each_due_time_is_taken_once_whatever_its_policies(
    postgres: PostgresServer,
) -> None:
    totals: Counter[str] = Counter()
    async with a_year(postgres) as year:
        schedules = [schedule_of(case) for case in CASES]
        for case, schedule in zip(CASES, schedules, strict=True):
            assert await ScheduleRepository(year.pool).add(NewSchedule(schedule, "", b""), 100)
            year.cases[schedule.schedule_id] = case

        await year.pass_by()

        for schedule in schedules:
            rows = await year.pool.fetch(
                f"SELECT {FIRING_COLUMNS} FROM firings WHERE schedule_id = $1 ORDER BY due_time", schedule.schedule_id
            )
            firings = [firing_of(row) for row in rows]
            check_each_is_taken_once(schedule, firings, year)
            check_overlaps(schedule, firings, year)
            totals.update(count(firings))
        executions = await year.pool.fetchval("SELECT count(*) FROM executions")
        requests = await year.pool.fetchval("SELECT count(DISTINCT request_id) FROM executions")
    assert totals["STARTED"] == executions == requests
    hours = sum(((end - begin) for begin, end in year.gaps), timedelta()) / HOUR
    print(f"\n{len(schedules)} schedules, a year: {sum(totals.values())} due times: {dict(totals)}")
    print(f"{executions} executions; {len(year.gaps)} times nobody was there, {hours:.0f} hours; {dict(year.counts)}")
    for what in ("STARTED", "SKIPPED", "MISSED"):
        assert totals[what] > 20, f"the year has shown too little of what is {what}"
    for what in ("replicas killed", "starts refused for a moment", "starts whose answer was lost", "starts repeated"):
        assert year.counts[what] > 5, f"the year has had too few {what}"


def check_each_is_taken_once(schedule: Schedule, firings: list[Firing], year: Year) -> None:
    """None is missing, none is double, and those are missed that the catch-up policy leaves out."""
    wanted = expected(schedule, year.gaps)
    taken = [time for firing in firings for time in standing_for(firing, wanted.due)]
    assert taken == wanted.due
    assert sum(firing.due_times for firing in firings) == len(wanted.due)
    missed = {
        time for firing in firings if firing.status is FiringStatus.MISSED for time in standing_for(firing, wanted.due)
    }
    assert missed == wanted.missed
    assert {firing.status for firing in firings} <= {FiringStatus.STARTED, FiringStatus.SKIPPED, FiringStatus.MISSED}
    of_firings = {firing.execution_id for firing in firings if firing.status is FiringStatus.STARTED}
    assert of_firings == {key for key, ran in year.ran.items() if ran.schedule_id == schedule.schedule_id}


def check_overlaps(schedule: Schedule, firings: list[Firing], year: Year) -> None:
    """As the overlap policy says."""
    policy = schedule.terms.overlap
    started = [firing for firing in firings if firing.status is FiringStatus.STARTED]
    skipped = [firing for firing in firings if firing.status is FiringStatus.SKIPPED]
    ran = [year.ran[firing.execution_id] for firing in started if firing.execution_id]
    if policy is Overlap.ALLOW:
        assert not skipped
        return
    for earlier, later in pairwise(ran):
        assert earlier.end <= later.begun, "in the order of their due times, one after the other"
    for firing in skipped:
        assert firing.end_time is not None
        in_the_way = [one for one in ran if one.begun <= firing.end_time < one.end]
        waited = [
            one
            for one in started
            if one.due_time < firing.due_time and one.end_time and one.end_time >= firing.end_time
        ]
        assert in_the_way or waited, f"{firing.due_time} was skipped, and nothing was in its way"


def count(firings: list[Firing]) -> Counter[str]:
    """Due times by what became of them."""
    totals: Counter[str] = Counter()
    for firing in firings:
        totals[firing.status.name] += firing.due_times
    return totals


def test_the_year_has_the_due_times_that_a_calendar_on_the_wall_has() -> None:
    counts = [len(expected(schedule_of(case), []).due) for case in CASES]
    assert counts == [104, 104, 104, 105, 104, 209, 208, 49, 47, 4]
