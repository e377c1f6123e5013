"""Schedules, through ScheduleService: starts that come by the clock."""

import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask

from blockyard import values
from blockyard.calls import Caller
from blockyard.client.executions import CreditsPolicy
from blockyard.client.schedule_records import (
    CATCH_UP_POLICIES,
    CREDITS_POLICIES,
    OVERLAP_POLICIES,
    CatchUpPolicy,
    OverlapPolicy,
    ScheduleRecord,
)
from blockyard.execution.v1 import schedule_service_pb2 as messages
from blockyard.execution.v1.execution_service_pb2 import VALUE_FORMAT_JSON
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from blockyard.records import Json, timestamp

if TYPE_CHECKING:
    from blockyard.execution.v1.schedule_service_pb2_grpc import ScheduleServiceAsyncStub  # for type checkers alone


class SchedulesClient:
    """The caller's schedules."""

    def __init__(self, stub: "ScheduleServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._call = call

    async def create(
        self,
        cron: str,
        graph_id: str = "",
        inputs: Mapping[str, Json] | None = None,
        *,
        name: str = "",
        time_zone: str = "UTC",
        preset: str = "",
        version: int = 0,
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        credentials: Mapping[str, str] | None = None,
        credits_policy: CreditsPolicy = "wait",
        jitter_seconds: int = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        overlap: OverlapPolicy = "skip",
        queue_limit: int = 0,
        catch_up: CatchUpPolicy = "none",
        catch_up_limit: int = 0,
        paused: bool = False,
        request_id: str | None = None,
        validate_only: bool = False,
        next_times: int = 0,
    ) -> ScheduleRecord:
        """Makes a schedule that starts a graph, or a preset, when `cron` is due in `time_zone`.

        What is started is given as to ExecutionsClient.start. A time without a zone is one of this machine's. Limits
        of 0 are the defaults, 10. The same `request_id` twice makes one schedule. With `validate_only` it is checked,
        and its `next_times` (5 without a number) are told, and nothing is made: it has no id then.
        """
        template = StartTemplate(
            graph_id=graph_id,
            graph_version=version,
            preset_id=preset,
            inputs_json=values.encode(dict(inputs or {})),
            labels=labels or {},
            priority=priority,
            credentials=credentials or {},
            credits_policy=CREDITS_POLICIES[credits_policy],
        )
        schedule = messages.Schedule(
            name=name,
            start=template,
            cron=cron,
            time_zone=time_zone,
            jitter_seconds=jitter_seconds,
            start_time=timestamp(start),
            end_time=timestamp(end),
            overlap_policy=OVERLAP_POLICIES[overlap],
            queue_limit=queue_limit,
            catch_up_policy=CATCH_UP_POLICIES[catch_up],
            catch_up_limit=catch_up_limit,
            paused=paused,
        )
        request = messages.CreateScheduleRequest(
            schedule=schedule,
            request_id=request_id or str(uuid.uuid4()),
            validate_only=validate_only,
            next_times=next_times,
            value_format=VALUE_FORMAT_JSON,
        )
        answer = await self._call(self._stub.CreateSchedule, request, messages.CreateScheduleResponse, repeatable=True)
        return ScheduleRecord.from_proto(answer.schedule)

    async def get(self, schedule_id: str, *, next_times: int = 0, firings: int = 0) -> ScheduleRecord:
        """A schedule with its next times (5 without a number) and its last firings (10 without one)."""
        request = messages.GetScheduleRequest(
            schedule_id=schedule_id, next_times=next_times, firings=firings, value_format=VALUE_FORMAT_JSON
        )
        answer = await self._call(self._stub.GetSchedule, request, messages.GetScheduleResponse, repeatable=True)
        return ScheduleRecord.from_proto(answer.schedule)

    async def list(self, *, graph_id: str = "", page_size: int = 0) -> AsyncIterator[ScheduleRecord]:
        """The caller's schedules, or those of one graph, newest first, without inputs and firings."""
        token = ""
        while True:
            request = messages.ListSchedulesRequest(page_size=page_size, page_token=token, graph_id=graph_id)
            answer = await self._call(
                self._stub.ListSchedules, request, messages.ListSchedulesResponse, repeatable=True
            )
            for schedule in answer.schedules:
                yield ScheduleRecord.from_proto(schedule)
            token = answer.next_page_token
            if not token:
                return

    async def update(
        self,
        schedule_id: str,
        *,
        name: str | None = None,
        cron: str | None = None,
        time_zone: str | None = None,
        jitter_seconds: int | None = None,
        overlap: OverlapPolicy | None = None,
        queue_limit: int | None = None,
        catch_up: CatchUpPolicy | None = None,
        catch_up_limit: int | None = None,
        paused: bool | None = None,
        etag: str = "",
    ) -> ScheduleRecord:
        """Changes what is given. With the `etag` of a record, only if nobody has changed it since (VersionConflict).

        What it starts stays: make another schedule for that.
        """
        fields: dict[str, Any] = {  # Any: values of fields of different types
            "name": name,
            "cron": cron,
            "time_zone": time_zone,
            "jitter_seconds": jitter_seconds,
            "overlap_policy": OVERLAP_POLICIES[overlap] if overlap else None,
            "queue_limit": queue_limit,
            "catch_up_policy": CATCH_UP_POLICIES[catch_up] if catch_up else None,
            "catch_up_limit": catch_up_limit,
            "paused": paused,
        }
        given = {field: value for field, value in fields.items() if value is not None}
        request = messages.UpdateScheduleRequest(
            schedule=messages.Schedule(id=schedule_id, etag=etag, **given),
            update_mask=FieldMask(paths=list(given)),
            value_format=VALUE_FORMAT_JSON,
        )
        # With an etag a repeated call would be refused for what the first one did.
        answer = await self._call(
            self._stub.UpdateSchedule, request, messages.UpdateScheduleResponse, repeatable=not etag
        )
        return ScheduleRecord.from_proto(answer.schedule)

    async def pause(self, schedule_id: str) -> ScheduleRecord:
        """Nothing is started until it is resumed; due times that wait are skipped."""
        return await self.update(schedule_id, paused=True)

    async def resume(self, schedule_id: str) -> ScheduleRecord:
        """It goes on with the next due time; what passed meanwhile is not made up for."""
        return await self.update(schedule_id, paused=False)

    async def delete(self, schedule_id: str) -> None:
        """Deletes a schedule. Executions that it has started go on."""
        request = messages.DeleteScheduleRequest(schedule_id=schedule_id)
        await self._call(self._stub.DeleteSchedule, request, messages.DeleteScheduleResponse, repeatable=False)
