"""Between the contract's Schedule and values: what is refused of a schedule, and how one is shown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from blockyard.execution.v1 import schedule_service_pb2 as messages
from blockyard.execution.v1.execution_service_pb2 import VALUE_FORMAT_JSON
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import InvalidArgument, Violation
from services.common.field_masks import changed_fields
from services.execution import templates
from services.execution.schedules.calendars import TimeZoneUnknown, calendar_of, check_due
from services.execution.schedules.cron import CronInvalid
from services.execution.schedules.records import MOST_JITTER, CatchUp, Firing, Overlap, Schedule, Terms

CHANGEABLE = (
    "name",
    "start",
    "cron",
    "time_zone",
    "jitter_seconds",
    "start_time",
    "end_time",
    "overlap_policy",
    "queue_limit",
    "catch_up_policy",
    "catch_up_limit",
    "paused",
)
"""Fields of a schedule that its owner sets."""

PACE = frozenset({"cron", "time_zone", "jitter_seconds"})
LIMITS = frozenset({"start_time", "end_time"})

FIELD = "schedule"
LONGEST_NAME = 100
MOST_WAIT = 100
DEFAULT_WAIT = 10
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""Calendars end soon after, and the last moment of all is infinity in PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the installation allows."""

    interval: float
    """Seconds between two due times at the least."""


def read(message: messages.Schedule, bounds: Bounds | None, now: datetime) -> Terms:
    """The terms that a request gives. Raises InvalidArgument with all that is wrong of them.

    Without bounds nobody looks at when it is due.
    """
    violations = list(_violations(message, bounds, now))
    template = b""
    if not message.HasField("start"):
        violations.append(Violation(f"{FIELD}.start", "is required: say which graph is started"))
    else:
        try:
            template = templates.stored(message.start, f"{FIELD}.start")
        except InvalidArgument as error:
            violations += error.violations
    if violations:
        raise InvalidArgument(violations=violations)
    return Terms(
        name=message.name,
        graph_id=message.start.graph_id,
        template=template,
        cron=message.cron.strip(),
        time_zone=message.time_zone or "UTC",
        jitter=message.jitter_seconds,
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        overlap=Overlap(message.overlap_policy or Overlap.SKIP),
        queue_limit=message.queue_limit or DEFAULT_WAIT,
        catch_up=CatchUp(message.catch_up_policy or CatchUp.NONE),
        catch_up_limit=message.catch_up_limit or DEFAULT_WAIT,
        paused=message.paused,
    )


def check_still_due(terms: Terms, now: datetime) -> None:
    """Raises InvalidArgument if nothing is due any more."""
    if not terms.due_after(now):
        message = "nothing is due from now on and from start_time until then"
        raise InvalidArgument(violations=[Violation(f"{FIELD}.end_time", message)])


def changed(before: Schedule, given: messages.Schedule, paths: Sequence[str], bounds: Bounds, now: datetime) -> Terms:
    """The terms of a schedule with some fields of a request in the place of its own."""
    merged = shown(before, VALUE_FORMAT_JSON)
    for path in paths:
        merged.ClearField(path)  # type: ignore[arg-type]  # a name that was checked
        value = getattr(given, path)
        if path in ("start", "start_time", "end_time"):
            if given.HasField(path):  # type: ignore[arg-type]  # one of three names
                getattr(merged, path).CopyFrom(value)
        else:
            setattr(merged, path, value)
    return read(merged, _bounds_of(before, merged, paths, bounds), now)


def _bounds_of(before: Schedule, merged: messages.Schedule, paths: Sequence[str], bounds: Bounds) -> Bounds | None:
    """What a change is bound to: whatever is allowed by now, a schedule can be paused, and renamed."""
    if not PACE.isdisjoint(paths) or (before.terms.paused and not merged.paused):
        return bounds
    return None if LIMITS.isdisjoint(paths) else Bounds(interval=0)


def paths_of(request: messages.UpdateScheduleRequest) -> list[str]:
    """The fields that an update changes."""
    return changed_fields(request.update_mask, request.schedule, CHANGEABLE)


def shown(
    schedule: Schedule,
    value_format: int,
    next_times: Iterable[datetime] = (),
    firings: Iterable[Firing] = (),
    *,
    with_inputs: bool = True,
) -> messages.Schedule:
    """A schedule as clients see it."""
    terms = schedule.terms
    message = messages.Schedule(
        id=str(schedule.schedule_id),
        user_id=schedule.user_id,
        name=terms.name,
        cron=terms.cron,
        time_zone=terms.time_zone,
        jitter_seconds=terms.jitter,
        overlap_policy=int(terms.overlap),  # type: ignore[arg-type]  # the numbers are those of the contract
        queue_limit=terms.queue_limit,
        catch_up_policy=int(terms.catch_up),  # type: ignore[arg-type]  # as above
        catch_up_limit=terms.catch_up_limit,
        paused=terms.paused,
        pause_reason=schedule.pause_reason,
        failures=schedule.failures,
        state=_state(schedule),
        next_times=map(_stamp, next_times),
        firings=map(_firing, firings),
        create_time=_stamp(schedule.create_time),
        update_time=_stamp(schedule.update_time),
        etag=str(schedule.version),
        start=templates.shown(terms.template, value_format, with_inputs=with_inputs),
    )
    if terms.start_time is not None:
        message.start_time.CopyFrom(_stamp(terms.start_time))
    if terms.end_time is not None:
        message.end_time.CopyFrom(_stamp(terms.end_time))
    return message


def _violations(message: messages.Schedule, bounds: Bounds | None, now: datetime) -> Iterable[Violation]:
    if len(message.name) > LONGEST_NAME:
        yield Violation(f"{FIELD}.name", f"longer than {LONGEST_NAME} characters")
    if bounds is not None:
        yield from _timing(message, bounds, now)
    for name, known in (("overlap_policy", Overlap), ("catch_up_policy", CatchUp)):
        number = getattr(message, name)
        if number and number not in list(known):
            yield Violation(f"{FIELD}.{name}", f"is none that there is: {number}")
    for name in ("queue_limit", "catch_up_limit"):
        number = getattr(message, name)
        if not 0 <= number <= MOST_WAIT:
            yield Violation(f"{FIELD}.{name}", f"must lie between 1 and {MOST_WAIT}, got {number}")
    yield from _times(message)


def _timing(message: messages.Schedule, bounds: Bounds, now: datetime) -> Iterable[Violation]:
    try:
        calendar = calendar_of(message.cron, message.time_zone or "UTC")
        check_due(calendar, now)
    except CronInvalid as error:
        yield Violation(f"{FIELD}.cron", str(error))
        return
    except TimeZoneUnknown as error:
        yield Violation(f"{FIELD}.time_zone", str(error))
        return
    shortest = calendar.cron.shortest * 60
    if shortest < bounds.interval:
        allowed = f"{bounds.interval:g} seconds are the least that is allowed here"
        yield Violation(f"{FIELD}.cron", f"is due after {shortest} seconds again, and {allowed}")
    most = min(MOST_JITTER, shortest - 1)
    if not 0 <= message.jitter_seconds <= most:
        problem = (
            f"must lie between 0 and {most}, less than from one due time to the next, got {message.jitter_seconds}"
        )
        yield Violation(f"{FIELD}.jitter_seconds", problem)


def _times(message: messages.Schedule) -> Iterable[Violation]:
    try:
        start, end = _time(message, "start_time"), _time(message, "end_time")
    except (ValueError, OverflowError):
        yield Violation(f"{FIELD}.start_time", "start_time and end_time must lie between the years 1970 and 9000")
        return
    for name, time in (("start_time", start), ("end_time", end)):
        if time is not None and not EARLIEST <= time < LATEST:
            yield Violation(f"{FIELD}.{name}", "must lie between the years 1970 and 9000")
    if start is not None and end is not None and end <= start:
        yield Violation(f"{FIELD}.end_time", "must lie behind start_time")


def _time(message: messages.Schedule, name: str) -> datetime | None:
    if not message.HasField(name):  # type: ignore[arg-type]  # one of two names
        return None
    stamp: Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=UTC)


def _state(schedule: Schedule) -> messages.ScheduleState.ValueType:
    if schedule.terms.paused:
        return messages.SCHEDULE_STATE_PAUSED
    return messages.SCHEDULE_STATE_ENDED if schedule.next_time is None else messages.SCHEDULE_STATE_ACTIVE


def _firing(firing: Firing) -> messages.Firing:
    values: dict[str, Any] = {}
    if firing.execution_id is not None:
        values["execution_id"] = str(firing.execution_id)
    if firing.end_time is not None:
        values["end_time"] = _stamp(firing.end_time)
    if firing.through_time is not None:
        values["through_time"] = _stamp(firing.through_time)
    return messages.Firing(
        due_time=_stamp(firing.due_time),
        fire_time=_stamp(firing.fire_time),
        status=int(firing.status),  # type: ignore[arg-type]  # the numbers are those of the contract
        reason=firing.reason,
        due_times=firing.due_times,
        attempts=firing.attempts,
        **values,
    )


def _stamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
