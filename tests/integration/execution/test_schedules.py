"""Schedules through a running service: kept, shown, changed, started, and refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.errors import from_rpc_error
from blockyard.event.v1.notice_pb2 import Notice, NoticeKind
from blockyard.execution.v1 import schedule_service_pb2 as messages
from blockyard.execution.v1.execution_service_pb2 import (
    VALUE_FORMAT_JSON,
    ListExecutionsRequest,
    StopExecutionRequest,
)
from blockyard.execution.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.bus import NOTICES, PullConsumer
from services.common.identity import user_token
from services.common.ids import new_id
from tests.integration.execution.catalogue import GraphBuilder
from tests.integration.execution.house import SECRET, House, house
from tests.overlapping import let_overlap
from tests.waiting import until

STARTED, SKIPPED, FAILED = (
    messages.FIRING_STATUS_STARTED,
    messages.FIRING_STATUS_SKIPPED,
    messages.FIRING_STATUS_FAILED,
)


@dataclass(eq=False)
class Schedules:
    """Calls of one user, and the row behind a schedule."""

    built: House
    rows: "asyncpg.Connection[asyncpg.Record]"
    user_id: str = "anna"

    async def call(self, method: str, request: Any, replica: int = 0) -> Any:
        stub: Any = ScheduleServiceStub(self.built.replicas[replica].channel)
        metadata = [("authorization", f"Bearer {user_token(SECRET, self.user_id, 'user', 300)}")]
        return await getattr(stub, method)(request, metadata=metadata, timeout=20)

    async def create(self, request_id: str = "", **fields: Any) -> messages.Schedule:
        schedule = messages.Schedule(**{"cron": "0 6 * * *", "start": StartTemplate(graph_id=self.user_id), **fields})
        request = messages.CreateScheduleRequest(schedule=schedule, request_id=request_id)
        answer: messages.Schedule = (await self.call("CreateSchedule", request)).schedule
        return answer

    async def get(self, schedule_id: str, **fields: Any) -> messages.Schedule:
        request = messages.GetScheduleRequest(schedule_id=schedule_id, **fields)
        answer: messages.Schedule = (await self.call("GetSchedule", request)).schedule
        return answer

    async def update(self, schedule_id: str, *paths: str, **fields: Any) -> messages.Schedule:
        schedule = messages.Schedule(id=schedule_id, **fields)
        mask = FieldMask(paths=paths) if paths else None
        request = messages.UpdateScheduleRequest(schedule=schedule, update_mask=mask)
        answer: messages.Schedule = (await self.call("UpdateSchedule", request)).schedule
        return answer

    async def create_of_now(self, **fields: Any) -> tuple[messages.Schedule, datetime]:
        """A schedule that was due a moment ago, or a minute, and that time."""
        due: datetime = await self.rows.fetchval("SELECT date_trunc('minute', now())")
        last = messages.CATCH_UP_POLICY_LAST
        return await self.create(cron=f"{due.minute} {due.hour} * * *", catch_up_policy=last, **fields), due

    async def come_due(self, schedule_id: str, due: datetime) -> None:
        """Makes it as though the schedule had been waiting for that time."""
        await self.rows.execute(
            "UPDATE schedules SET next_time = $2, fire_time = $2 WHERE schedule_id = $1", UUID(schedule_id), due
        )
        # Whatever changes a schedule has the replica look at what is due.
        await self.update(schedule_id, "name", name="is due")

    async def firing(self, schedule_id: str, due: datetime) -> messages.Firing:
        """What became of a due time."""

        async def settled() -> messages.Firing | None:
            firings = (await self.get(schedule_id)).firings
            found = [one for one in firings if one.due_time.ToDatetime(UTC) == due]
            return found[0] if found and found[0].status != messages.FIRING_STATUS_WAITING else None

        found = await until(settled, "the firing is settled", 20)
        assert found is not None
        return found


@asynccontextmanager
async def schedules(postgres: PostgresServer, **settings: Any) -> AsyncIterator[Schedules]:
    async with house(postgres, **settings) as built:
        await built.add_replica()
        rows = await asyncpg.connect(built.database_url, server_settings={"search_path": "execution"})
        try:
            yield of(Schedules(built, rows), "anna")
        finally:
            await rows.close()


@pytest.fixture(scope="module")
def shared(postgres: PostgresServer, runner: asyncio.Runner) -> Iterator[Schedules]:
    """One service for the tests that need no other settings: each has users of its own."""
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(schedules(postgres)))
    finally:
        runner.run(stack.aclose())


def of(shared: Schedules, user_id: str) -> Schedules:
    """The same for a user who has a graph, with the user's name."""
    graph = shared.built.graph(user_id, user_id)
    graph.input("text", {"type": "string"})
    graph.node("work")
    graph.link("text.result", "work.value")
    shared.built.catalogue.add(graph)
    return Schedules(shared.built, shared.rows, user_id)


def stamp(text: str) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(datetime.fromisoformat(text).replace(tzinfo=UTC))
    return time


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, list[str]]:
    """The code of a refusal, and the fields that it names."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), [each.field for each in from_rpc_error(error.value).violations]


async def test_a_schedule_is_shown_as_it_was_made_with_its_next_times(shared: Schedules) -> None:
    anna = of(shared, "made")
    inputs = Struct()
    inputs.update({"text": "hello"})
    made = await anna.create(
        name="nightly",
        cron=" 30 2 * * mon-fri ",
        time_zone="Europe/Berlin",
        jitter_seconds=600,
        start=StartTemplate(graph_id="made", inputs=inputs, labels={"team": "a"}),
        overlap_policy=messages.OVERLAP_POLICY_QUEUE,
        catch_up_policy=messages.CATCH_UP_POLICY_ALL,
        catch_up_limit=3,
    )
    shown = await anna.get(made.id, next_times=3, firings=1)
    assert (shown.name, shown.cron, shown.time_zone) == ("nightly", "30 2 * * mon-fri", "Europe/Berlin")
    assert (shown.queue_limit, shown.catch_up_limit, shown.jitter_seconds) == (10, 3, 600)
    assert (shown.start.inputs, shown.start.labels["team"]) == (inputs, "a")
    assert shown.state == messages.SCHEDULE_STATE_ACTIVE
    assert [
        time.ToDatetime(UTC).astimezone(ZoneInfo("Europe/Berlin")).strftime("%H:%M") for time in shown.next_times
    ] == ["02:30"] * 3
    exact = await anna.call(
        "GetSchedule", messages.GetScheduleRequest(schedule_id=made.id, value_format=VALUE_FORMAT_JSON)
    )
    assert exact.schedule.start.inputs_json == b'{"text":"hello"}'
    listed = (await anna.call("ListSchedules", messages.ListSchedulesRequest(graph_id="made"))).schedules
    assert [(one.id, len(one.next_times), one.start.HasField("inputs")) for one in listed] == [(made.id, 1, False)]


async def test_a_repeated_request_makes_one_schedule_and_another_request_is_refused(shared: Schedules) -> None:
    anna = of(shared, "repeating")
    first = await anna.create("once", cron="0 1 * * *")
    assert (await anna.create("once", cron="0 1 * * *")).id == first.id
    assert (await refused(anna.create("once", cron="0 2 * * *")))[0] == grpc.StatusCode.ALREADY_EXISTS


async def test_a_schedule_can_be_tried_without_making_it(shared: Schedules) -> None:
    anna = of(shared, "trying")
    schedule = messages.Schedule(cron="@daily", start=StartTemplate(graph_id="trying"))
    request = messages.CreateScheduleRequest(schedule=schedule, validate_only=True, next_times=7)
    answer = (await anna.call("CreateSchedule", request)).schedule
    assert (answer.id, len(answer.next_times)) == ("", 7)
    assert not (await anna.call("ListSchedules", messages.ListSchedulesRequest())).schedules


BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"cron": "0 0 30 2 *"}, ["schedule.cron"]),
    ({"cron": "* * * * * *"}, ["schedule.cron"]),
    ({"cron": ""}, ["schedule.cron"]),
    ({"time_zone": "Mars/Olympus"}, ["schedule.time_zone"]),
    ({"jitter_seconds": -1}, ["schedule.jitter_seconds"]),
    ({"cron": "* * * * *", "jitter_seconds": 60}, ["schedule.jitter_seconds"]),
    ({"jitter_seconds": 3601}, ["schedule.jitter_seconds"]),
    ({"overlap_policy": 9, "catch_up_policy": 9}, ["schedule.overlap_policy", "schedule.catch_up_policy"]),
    ({"queue_limit": 101, "catch_up_limit": -1}, ["schedule.queue_limit", "schedule.catch_up_limit"]),
    ({"start_time": stamp("2030-01-02"), "end_time": stamp("2030-01-01")}, ["schedule.end_time"]),
    ({"end_time": stamp("2020-01-01")}, ["schedule.end_time"]),
    ({"start_time": Timestamp(seconds=10**15)}, ["schedule.start_time"]),
    ({"end_time": Timestamp(seconds=253_402_300_799, nanos=999_999_999)}, ["schedule.end_time"]),
    ({"start": None}, ["schedule.start"]),
    ({"start": StartTemplate()}, ["schedule.start.graph_id"]),
    ({"start": StartTemplate(graph_id="wrong", inputs_json=b'{"text": 7}')}, ["schedule.start.inputs.text"]),
    ({"start": StartTemplate(graph_id="wrong", labels={"schedule": "x"})}, ["schedule.start.labels.schedule"]),
    ({"name": "n" * 101}, ["schedule.name"]),
]


@pytest.mark.parametrize(("fields", "named"), BAD)
async def test_what_is_wrong_with_a_schedule_is_named_by_its_field(
    shared: Schedules, fields: dict[str, Any], named: list[str]
) -> None:
    assert await refused(of(shared, "wrong").create(**fields)) == (grpc.StatusCode.INVALID_ARGUMENT, named)


async def test_a_schedule_of_a_graph_that_there_is_not_is_refused(shared: Schedules) -> None:
    call = of(shared, "nowhere").create(start=StartTemplate(graph_id="none"))
    assert (await refused(call))[0] == grpc.StatusCode.NOT_FOUND


async def test_a_due_time_starts_one_execution_with_its_label(shared: Schedules) -> None:
    anna = of(shared, "due")
    made, due = await anna.create_of_now()
    await anna.come_due(made.id, due)
    firing = await anna.firing(made.id, due)
    assert (firing.status, firing.due_time.ToDatetime(UTC)) == (STARTED, due)
    listed = await anna.built.client("due").call("ListExecutions", ListExecutionsRequest(labels={"schedule": made.id}))
    assert [execution.id for execution in listed.executions] == [firing.execution_id]
    assert (await anna.get(made.id)).next_times[0] == made.next_times[0]


async def test_a_due_time_is_skipped_while_the_execution_before_runs(shared: Schedules) -> None:
    anna = of(shared, "overlapping")
    work = StartTemplate(graph_id="overlapping", inputs_json=b'{"text": "to work on"}')
    made, due = await anna.create_of_now(start=work)
    await anna.come_due(made.id, due)
    # Nobody runs blocks here: the execution does not end.
    first = await anna.firing(made.id, due)
    assert first.status == STARTED
    # As though it had been due an hour before.
    earlier = "UPDATE firings SET due_time = due_time - '1 h'::interval WHERE schedule_id = $1"
    await anna.rows.execute(earlier, UUID(made.id))
    renamed = "UPDATE executions SET request_id = 'of the hour before' WHERE execution_id = $1"
    await anna.rows.execute(renamed, UUID(first.execution_id))
    await anna.come_due(made.id, due)
    second = await anna.firing(made.id, due)
    assert (second.status, second.execution_id) == (SKIPPED, "")
    assert "had not ended" in second.reason


async def test_a_due_time_is_started_in_time_without_anybody_calling(shared: Schedules) -> None:
    anna = of(shared, "in-time")
    made, due = await anna.create_of_now()
    soon = "UPDATE schedules SET next_time = $2, fire_time = now() + '1 s'::interval WHERE schedule_id = $1"
    await anna.rows.execute(soon, UUID(made.id), due)
    fires = await anna.rows.fetchval("SELECT fire_time FROM schedules WHERE schedule_id = $1", UUID(made.id))
    # Another schedule is made: the replica looks what comes next, and sleeps until then.
    await anna.create()
    firing = await anna.firing(made.id, due)
    begun = "SELECT create_time FROM executions WHERE execution_id = $1"
    late = (await anna.rows.fetchval(begun, UUID(firing.execution_id)) - fires).total_seconds()
    # Mostly some milliseconds; without a timer of its own it would be found after 10 seconds.
    assert (firing.status, 0 <= late < 3) == (STARTED, True)


async def test_a_schedule_that_cannot_be_read_is_put_off_and_harms_no_other(shared: Schedules) -> None:
    anna = of(shared, "reading")
    broken, due = await anna.create_of_now()
    made, made_due = await anna.create_of_now()
    gone = "UPDATE schedules SET time_zone = 'Gone/Zone', next_time = $2, fire_time = $2 WHERE schedule_id = $1"
    await anna.rows.execute(gone, UUID(broken.id), due)
    await anna.come_due(made.id, made_due)
    assert (await anna.firing(made.id, made_due)).status == STARTED
    kept = "SELECT next_time = $2 AND fire_time > now() FROM schedules WHERE schedule_id = $1"
    assert await anna.rows.fetchval(kept, UUID(broken.id), due)


async def test_a_start_that_fails_for_a_moment_is_made_when_it_can_be(shared: Schedules) -> None:
    anna = of(shared, "patient")
    made, due = await anna.create_of_now()
    anna.built.catalogue.away.add("patient")
    await anna.come_due(made.id, due)

    async def tried() -> bool:
        firings = (await anna.get(made.id)).firings
        return bool(firings) and firings[0].attempts > 0 and "away" in firings[0].reason

    await until(tried, "the start was tried")
    anna.built.catalogue.away.clear()
    firing = await anna.firing(made.id, due)
    assert (firing.status, firing.reason, firing.attempts > 1) == (STARTED, "", True)


async def test_a_start_that_cannot_be_ever_is_told_whatever_its_reason_quotes(shared: Schedules) -> None:
    anna = of(shared, "quoting")
    shared.built.catalogue.add(taking("quoting", shared.built, {"type": "object"}))
    start = StartTemplate(graph_id="quoting", inputs_json=b'{"data": {"a\\u0000b": 7}}')
    made, due = await anna.create_of_now(start=start)
    strings = {"type": "object", "additionalProperties": {"type": "string"}}
    shared.built.catalogue.add(taking("quoting", shared.built, strings))
    await anna.come_due(made.id, due)
    firing = await anna.firing(made.id, due)
    assert (firing.status, "data" in firing.reason) == (FAILED, True)


def taking(user_id: str, built: House, schema: dict[str, Any]) -> GraphBuilder:
    """A graph with an input of that schema."""
    graph = built.graph(user_id, user_id)
    graph.input("data", schema)
    graph.node("work")
    graph.link("data.result", "work.value")
    return graph


async def test_a_schedule_waits_for_room_among_the_executions_of_its_user(postgres: PostgresServer) -> None:
    async with schedules(postgres, unended_executions=1) as anna:
        client = anna.built.client()
        # Nobody runs blocks here: the execution does not end.
        running = await client.start("anna", inputs={"text": "to work on"})
        made, due = await anna.create_of_now()
        await anna.come_due(made.id, due)

        async def tried() -> bool:
            firings = (await anna.get(made.id)).firings
            return bool(firings) and (firings[0].attempts > 0 or firings[0].status == FAILED)

        await until(tried, "the start was tried")
        await client.call("StopExecution", StopExecutionRequest(execution_id=running.id))
        assert (await anna.firing(made.id, due)).status == STARTED


async def test_nothing_is_due_while_a_schedule_is_paused_and_all_goes_on_as_it_is_resumed(shared: Schedules) -> None:
    anna = of(shared, "pausing")
    made = await anna.create()
    paused = await anna.update(made.id, "paused", paused=True)
    assert (paused.state, list(paused.next_times)) == (messages.SCHEDULE_STATE_PAUSED, [])
    assert await anna.rows.fetchval("SELECT fire_time IS NULL FROM schedules WHERE schedule_id = $1", UUID(made.id))
    resumed = await anna.update(made.id, "paused")
    assert resumed.state == messages.SCHEDULE_STATE_ACTIVE
    assert list(resumed.next_times) == list(made.next_times)


async def test_an_update_changes_what_it_names_and_no_more(shared: Schedules) -> None:
    anna = of(shared, "changing")
    made = await anna.create(name="before", jitter_seconds=60)
    changed = await anna.update(made.id, name="after", cron="0 7 * * *")
    assert (changed.name, changed.cron, changed.jitter_seconds) == ("after", "0 7 * * *", 60)
    assert changed.next_times[0].ToDatetime().hour == 7
    assert (await anna.update(made.id, "jitter_seconds")).jitter_seconds == 0
    assert (await anna.update(made.id, "end_time", end_time=stamp("2090-01-01"))).end_time == stamp("2090-01-01")
    assert not (await anna.update(made.id, "end_time")).HasField("end_time")
    assert await refused(anna.update(made.id, "cron", cron="x")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        ["schedule.cron"],
    )
    assert await refused(anna.update(made.id, "id", "failures")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        ["update_mask"],
    )
    assert (await refused(anna.update(made.id, name="late", etag=made.etag)))[0] == grpc.StatusCode.ABORTED


async def test_an_update_that_names_nothing_changes_nothing(shared: Schedules) -> None:
    anna = of(shared, "idle")
    made = await anna.create(name="as it was")
    assert await anna.update(made.id) == made
    assert await anna.update(made.id, etag=made.etag) == made
    assert (await refused(anna.update(made.id, etag="7")))[0] == grpc.StatusCode.ABORTED


async def test_changes_at_once_leave_each_other_what_they_start(shared: Schedules) -> None:
    anna = of(shared, "at-once")
    made = await anna.create()
    async with anna.rows.transaction():
        # Somebody else changes what is started, and has not committed yet.
        await anna.rows.execute("UPDATE schedules SET graph_id = 'other' WHERE schedule_id = $1", UUID(made.id))
        renamed = asyncio.ensure_future(anna.update(made.id, "name", name="late"))
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid"
        await until(lambda: anna.rows.fetchval(waits), "the change waits for the row")
    assert (await renamed).name == "late"
    kept = "SELECT graph_id FROM schedules WHERE schedule_id = $1"
    assert await anna.rows.fetchval(kept, UUID(made.id)) == "other"


async def test_a_deleted_schedule_is_gone_and_others_schedules_are_not_there(shared: Schedules) -> None:
    anna, berta = of(shared, "deleting"), of(shared, "looking")
    made = await anna.create()
    for call in (berta.get(made.id), berta.update(made.id, name="mine"), anna.get("no id"), anna.get(str(UUID(int=1)))):
        assert (await refused(call))[0] == grpc.StatusCode.NOT_FOUND
    request = messages.DeleteScheduleRequest(schedule_id=made.id)
    assert (await refused(berta.call("DeleteSchedule", request)))[0] == grpc.StatusCode.NOT_FOUND
    await anna.call("DeleteSchedule", request)
    assert (await refused(anna.get(made.id)))[0] == grpc.StatusCode.NOT_FOUND


async def test_pages_of_schedules_hold_each_once(shared: Schedules) -> None:
    anna = of(shared, "paging")
    made = [(await anna.create(name=str(number))).id for number in range(5)]
    found: list[str] = []
    token = ""
    while True:
        request = messages.ListSchedulesRequest(page_size=2, page_token=token)
        answer = await anna.call("ListSchedules", request)
        found += [one.id for one in answer.schedules]
        token = answer.next_page_token
        if not token:
            break
    assert found == made[::-1]


async def test_starts_that_fail_too_often_pause_their_schedule_and_tell_its_owner(postgres: PostgresServer) -> None:
    async with schedules(postgres, schedule_failures=2) as anna:
        made, due = await anna.create_of_now(name="broken")
        anna.built.catalogue.graphs.clear()
        for expected in (messages.SCHEDULE_STATE_ACTIVE, messages.SCHEDULE_STATE_PAUSED):
            await anna.rows.execute("DELETE FROM firings")
            await anna.come_due(made.id, due)
            assert (await anna.firing(made.id, due)).status == FAILED
            shown = await anna.get(made.id)
            assert (shown.state, shown.firings[0].attempts) == (expected, 1)
        assert shown.pause_reason.startswith("2 starts in a row have failed, the last one since")

        async def is_published() -> bool:
            return not await anna.rows.fetchval("SELECT count(*) FROM notices")

        await until(is_published, "the notice is published")
        consumer = PullConsumer(anna.built.bus, NOTICES, f"test-{new_id()}", "blockyard.notice.>")
        [delivery] = await until(partial(consumer.fetch, 100, 1.0), "the notice")
        notice = Notice.FromString(delivery.data)
        assert (notice.kind, notice.details["schedule_id"]) == (NoticeKind.NOTICE_KIND_SCHEDULE_PAUSED, made.id)
        assert notice.details["reason"] == shown.pause_reason
        assert (await anna.update(made.id, "paused")).failures == 0


async def test_a_user_keeps_a_bounded_number_of_schedules_not_too_near(postgres: PostgresServer) -> None:
    async with schedules(postgres, schedules_of_user=3, schedule_interval=3600) as anna:
        await let_overlap(anna.built.database_url, "execution.schedules")
        results = await asyncio.gather(*(anna.create(name=str(number)) for number in range(6)), return_exceptions=True)
        codes = [result.code() for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 3
        assert await refused(anna.create(cron="*/30 * * * *")) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            ["schedule.cron"],
        )
