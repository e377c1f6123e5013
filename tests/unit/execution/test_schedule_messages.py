"""What is refused of a change of a schedule: what the change itself is about, and no more."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from blockyard.execution.v1 import schedule_service_pb2 as messages
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import InvalidArgument
from services.execution.schedules.messages import Bounds, changed, read
from services.execution.schedules.records import Schedule, Terms

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOURLY = Bounds(interval=3600)
"""What is allowed now; the schedule is older."""


def schedule(**fields: object) -> Schedule:
    """One of each minute, from when that was allowed."""
    given = messages.Schedule(cron="* * * * *", start=StartTemplate(graph_id="graph"))
    terms = replace(read(given, Bounds(interval=60), NOW), **fields)  # type: ignore[arg-type]  # fields of Terms
    return Schedule(UUID(int=7), "anna", terms, "", 0, NOW, NOW, 1, NOW, NOW)


def change(before: Schedule, *paths: str, **fields: object) -> Terms:
    given = messages.Schedule(**fields)  # type: ignore[arg-type]  # fields of Schedule
    return changed(before, given, paths, HOURLY, NOW)


def test_a_schedule_that_is_too_frequent_by_now_can_be_paused_and_renamed() -> None:
    assert change(schedule(), "paused", paused=True).paused
    assert change(schedule(), "name", name="late").name == "late"
    assert change(schedule(), "end_time", end_time=Timestamp(seconds=4_000_000_000)).end_time is not None
    # One whose zone is gone from the database of zones, too.
    assert change(schedule(time_zone="Gone/Zone"), "paused", paused=True).paused


@pytest.mark.parametrize(
    ("before", "path", "fields", "named"),
    [
        (schedule(), "cron", {"cron": "*/5 * * * *"}, ["schedule.cron"]),
        (schedule(), "time_zone", {"time_zone": "Europe/Berlin"}, ["schedule.cron"]),
        (schedule(), "jitter_seconds", {"jitter_seconds": 60}, ["schedule.cron", "schedule.jitter_seconds"]),
        (schedule(paused=True), "paused", {"paused": False}, ["schedule.cron"]),
        (schedule(time_zone="Gone/Zone"), "end_time", {}, ["schedule.time_zone"]),
    ],
)
def test_what_is_changed_of_its_timing_must_be_allowed_now(
    before: Schedule, path: str, fields: dict[str, object], named: list[str]
) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        change(before, path, **fields)
    assert [each.field for each in refusal.value.violations] == named
