"""Schedules and what became of their due times, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Literal

from blockyard.execution.v1 import schedule_service_pb2 as messages
from blockyard.execution.v1.execution_service_pb2 import CREDITS_POLICY_FAIL, CREDITS_POLICY_UNSPECIFIED
from blockyard.records import Json, json_object, moment

OverlapPolicy = Literal["skip", "queue", "allow"]
CatchUpPolicy = Literal["none", "last", "all"]

OVERLAP_POLICIES: Mapping[OverlapPolicy, messages.OverlapPolicy.ValueType] = {
    "skip": messages.OVERLAP_POLICY_SKIP,
    "queue": messages.OVERLAP_POLICY_QUEUE,
    "allow": messages.OVERLAP_POLICY_ALLOW,
}
CATCH_UP_POLICIES: Mapping[CatchUpPolicy, messages.CatchUpPolicy.ValueType] = {
    "none": messages.CATCH_UP_POLICY_NONE,
    "last": messages.CATCH_UP_POLICY_LAST,
    "all": messages.CATCH_UP_POLICY_ALL,
}
CREDITS_POLICIES = {"wait": CREDITS_POLICY_UNSPECIFIED, "fail": CREDITS_POLICY_FAIL}


class ScheduleState(IntEnum):
    """Where a schedule stands."""

    UNSPECIFIED = 0
    ACTIVE = 1
    PAUSED = 2
    ENDED = 3


class FiringStatus(IntEnum):
    """What became of a due time."""

    UNSPECIFIED = 0
    WAITING = 1
    STARTED = 2
    SKIPPED = 3
    MISSED = 4
    FAILED = 5


@dataclass(frozen=True, slots=True)
class FiringRecord:
    """What became of a due time, or of several in a row that were missed: those from `due` to `through`."""

    due: datetime | None
    status: FiringStatus
    execution_id: str
    reason: str
    settled: datetime | None
    """None while it waits."""
    through: datetime | None
    due_times: int
    attempts: int

    @classmethod
    def from_proto(cls, proto: messages.Firing) -> "FiringRecord":
        """The value of a message."""
        return cls(
            due=moment(proto, "due_time"),
            status=FiringStatus(proto.status),
            execution_id=proto.execution_id,
            reason=proto.reason,
            settled=moment(proto, "end_time"),
            through=moment(proto, "through_time"),
            due_times=proto.due_times,
            attempts=proto.attempts,
        )


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """A schedule. `graph_version` 0 is the one that is active at a start. `inputs` and `firings` are empty in lists."""

    id: str
    name: str
    graph_id: str
    graph_version: int
    preset_id: str
    inputs: Mapping[str, Json]
    labels: Mapping[str, str]
    credentials: Mapping[str, str]
    priority: int
    cron: str
    time_zone: str
    jitter_seconds: int
    start: datetime | None
    end: datetime | None
    overlap: OverlapPolicy
    queue_limit: int
    catch_up: CatchUpPolicy
    catch_up_limit: int
    state: ScheduleState
    pause_reason: str
    """Why it has paused itself."""
    failures: int
    next_times: tuple[datetime, ...]
    firings: tuple[FiringRecord, ...]
    created: datetime | None
    updated: datetime | None
    etag: str

    @classmethod
    def from_proto(cls, proto: messages.Schedule) -> "ScheduleRecord":
        """The value of a message with exact inputs."""
        overlaps = {number: name for name, number in OVERLAP_POLICIES.items()}
        catch_ups = {number: name for name, number in CATCH_UP_POLICIES.items()}
        return cls(
            id=proto.id,
            name=proto.name,
            graph_id=proto.start.graph_id,
            graph_version=proto.start.graph_version,
            preset_id=proto.start.preset_id,
            inputs=json_object(proto.start.inputs_json),
            labels=dict(proto.start.labels),
            credentials=dict(proto.start.credentials),
            priority=proto.start.priority,
            cron=proto.cron,
            time_zone=proto.time_zone,
            jitter_seconds=proto.jitter_seconds,
            start=moment(proto, "start_time"),
            end=moment(proto, "end_time"),
            overlap=overlaps[proto.overlap_policy],
            queue_limit=proto.queue_limit,
            catch_up=catch_ups[proto.catch_up_policy],
            catch_up_limit=proto.catch_up_limit,
            state=ScheduleState(proto.state),
            pause_reason=proto.pause_reason,
            failures=proto.failures,
            next_times=tuple(time.ToDatetime(tzinfo=UTC) for time in proto.next_times),
            firings=tuple(map(FiringRecord.from_proto, proto.firings)),
            created=moment(proto, "create_time"),
            updated=moment(proto, "update_time"),
            etag=proto.etag,
        )
