"""What comes of a schedule by a moment: each due time is taken once, whenever it is looked at."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.execution.schedules.advancing import GRACE, MOST_COUNTED, MOST_WAITING, advance, fire_time
from services.execution.schedules.records import CatchUp, Firing, FiringStatus, Overlap, Schedule, Terms

START = datetime(2026, 10, 24, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def schedule(
    cron: str = "0 * * * *", zone: str = "UTC", catch_up: CatchUp = CatchUp.NONE, **fields: object
) -> Schedule:
    terms = Terms(
        name="",
        graph_id="graph",
        template=b"",
        cron=cron,
        time_zone=zone,
        jitter=0,
        start_time=None,
        end_time=None,
        overlap=Overlap.SKIP,
        queue_limit=10,
        catch_up=catch_up,
        catch_up_limit=3,
        paused=False,
    )
    terms = replace(terms, **fields)  # type: ignore[arg-type]  # fields of Terms
    schedule_id = UUID(int=7)
    [due] = terms.due_after(START - SECOND)
    return Schedule(schedule_id, "anna", terms, "", 0, due, fire_time(schedule_id, due, terms.jitter), 1, START, START)


def statuses(firings: tuple[Firing, ...]) -> list[tuple[str, int, int]]:
    return [(one.status.name, (one.due_time - START) // HOUR, one.due_times) for one in firings]


def test_what_is_due_in_time_waits_to_be_started_and_the_schedule_moves_on() -> None:
    came = advance(schedule(), START + 5 * SECOND)
    assert statuses(came.firings) == [("WAITING", 0, 1)]
    assert (came.next_time, came.fire_time) == (START + HOUR, START + HOUR)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (CatchUp.NONE, [("MISSED", 0, 10), ("WAITING", 10, 1)]),
        (CatchUp.LAST, [("MISSED", 0, 9), ("WAITING", 9, 1), ("WAITING", 10, 1)]),
        (CatchUp.ALL, [("MISSED", 0, 7), *(("WAITING", hour, 1) for hour in (7, 8, 9, 10))]),
    ],
)
def test_what_was_missed_is_caught_up_with_as_the_policy_says(
    policy: CatchUp, expected: list[tuple[str, int, int]]
) -> None:
    came = advance(schedule(catch_up=policy), START + 10 * HOUR + GRACE)
    assert statuses(came.firings) == expected
    if came.firings[0].due_times > 1:
        assert came.firings[0].through_time == START + (expected[0][2] - 1) * HOUR


def test_a_due_time_is_missed_a_moment_after_its_grace() -> None:
    assert statuses(advance(schedule(), START + GRACE).firings) == [("WAITING", 0, 1)]
    assert statuses(advance(schedule(), START + GRACE + SECOND).firings) == [("MISSED", 0, 1)]


def test_a_gap_of_years_is_one_entry_and_soon_counted() -> None:
    came = advance(schedule("* * * * *"), START + timedelta(days=2_000) + timedelta(seconds=30))
    assert [(one.status.name, one.due_times) for one in came.firings] == [("MISSED", MOST_COUNTED), ("WAITING", 1)]


def test_after_its_end_nothing_is_due() -> None:
    came = advance(schedule(end_time=START + 2 * HOUR), START + 30 * HOUR)
    assert statuses(came.firings) == [("MISSED", 0, 3)]
    assert (came.next_time, came.fire_time) == (None, None)


def test_those_that_find_no_room_are_skipped() -> None:
    came = advance(schedule(catch_up=CatchUp.ALL), START + 2 * HOUR + SECOND, MOST_WAITING - 2)
    assert [one.status.name for one in came.firings] == ["WAITING", "WAITING", "SKIPPED"]


def test_what_was_announced_is_started_though_the_zone_has_changed_its_rules_since() -> None:
    announced = START + timedelta(minutes=20)
    came = advance(replace(schedule(), next_time=announced, fire_time=announced), announced)
    assert [one.due_time for one in came.firings] == [announced]
    assert came.next_time == START + HOUR


def test_jitter_is_the_same_whenever_it_is_asked_for_and_another_for_another_time() -> None:
    offsets = [fire_time(UUID(int=7), START + hour * HOUR, 600) - START - hour * HOUR for hour in range(50)]
    assert offsets == [fire_time(UUID(int=7), START + hour * HOUR, 600) - START - hour * HOUR for hour in range(50)]
    assert all(timedelta() <= offset <= timedelta(seconds=600) for offset in offsets)
    assert len(set(offsets)) > 40


crons = st.sampled_from(["*/10 * * * *", "0 * * * *", "30 1-3 * * *", "0,1 2 * * *", "15 */5 * * *"])
zones = st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo"])
gaps = st.lists(st.sampled_from([1, 7, 59, 60, 61, 300, 3_600, 20_000, 90_000]), min_size=5, max_size=60)


@settings(deadline=None, max_examples=60)
@given(crons, zones, st.sampled_from(CatchUp), st.sampled_from([0, 1, 40, 59]), gaps)
def test_each_due_time_is_taken_once_in_order_however_it_is_looked_at(
    cron: str, zone: str, policy: CatchUp, jitter: int, seconds: list[int]
) -> None:
    current = schedule(cron, zone, policy, jitter=jitter)
    first, calendar = current.next_time, current.terms.calendar
    assert first is not None
    now, taken = START, []
    for pause in seconds:
        now += pause * SECOND
        if current.fire_time is not None and current.fire_time <= now:
            came = advance(current, now)
            for firing in came.firings:
                within = [firing.due_time]
                if firing.through_time is not None:
                    within += [
                        time for time in calendar.next_times(firing.due_time, 2_000) if time <= firing.through_time
                    ]
                assert len(within) == firing.due_times
                assert firing.status is not FiringStatus.MISSED or firing.fire_time < now - GRACE
                taken += within
            current = replace(current, next_time=came.next_time, fire_time=came.fire_time)

    assert taken == [first, *calendar.next_times(first, len(taken))][: len(taken)]
    assert current.next_time == calendar.next_times(first - SECOND, len(taken) + 1)[-1]
    assert current.fire_time is None or current.fire_time > now
