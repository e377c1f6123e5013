"""Rate limits, with a time of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.rate_limits import Rate, RateLimit, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("600/minute", Rate(600, 60.0, 600)),
        (" 10 / second burst 100 ", Rate(10, 1.0, 100)),
        ("1/hour burst 5", Rate(1, 3600.0, 5)),
        ("", None),
        ("  ", None),
    ],
)
def test_a_rate_is_written_as_calls_in_a_time(text: str, rate: Rate | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["600", "600/day", "-1/second", "0/second", "1/second burst 0", "1.5/second", "a/minute", "1/second burst"]
)
def test_what_is_no_rate_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_rate(text)


def test_a_burst_goes_through_at_once_and_then_calls_at_an_even_pace() -> None:
    limit = RateLimit(Rate(calls=2, seconds=1.0, burst=3))

    first = [limit.take("ada", 100.0) for _ in range(4)]

    assert [one.allowed for one in first] == [True, True, True, False]
    assert [one.remaining for one in first] == [2, 1, 0, 0]
    assert first[3].retry_after == pytest.approx(0.5)
    assert first[2].reset == pytest.approx(1.5)
    assert not limit.take("ada", 100.49).allowed
    assert limit.take("ada", 100.5).allowed
    assert not limit.take("ada", 100.5).allowed


def test_users_do_not_count_for_each_other() -> None:
    limit = RateLimit(Rate(1, 60.0, 1))

    assert limit.take("ada", 0.0).allowed
    assert not limit.take("ada", 1.0).allowed
    assert limit.take("ben", 1.0).allowed


def test_replicas_share_a_limit_and_each_has_at_least_one_call() -> None:
    shared = Rate(10, 1.0, 4).shared(3)

    assert shared.interval == pytest.approx(0.3)
    assert shared.burst == 1
    assert Rate(1, 1.0, 1).shared(5).burst == 1


def test_users_who_were_not_seen_for_longest_fall_out() -> None:
    limit = RateLimit(Rate(1, 3600.0, 1), most_users=2)
    for moment, user in enumerate(("ada", "ben", "cleo")):
        assert limit.take(user, float(moment)).allowed

    assert len(limit) == 2
    assert not limit.take("cleo", 3.0).allowed
    assert limit.take("ada", 3.0).allowed


@given(
    st.integers(1, 20),
    st.floats(0.1, 10),
    st.integers(1, 20),
    st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=200),
)
def test_in_any_span_no_more_than_the_burst_and_its_pace_go_through(
    calls: int, seconds: float, burst: int, pauses: list[float]
) -> None:
    rate = Rate(calls, seconds, burst)
    limit, now, taken = RateLimit(rate), 1000.0, []
    for pause in pauses:
        now += pause
        verdict = limit.take("ada", now)
        assert verdict.allowed or verdict.retry_after > 0
        if verdict.allowed:
            taken.append(now)

    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - start) / rate.interval + 1e-3


@given(st.integers(1, 20), st.floats(0.1, 10), st.integers(1, 20), st.integers(0, 40))
def test_who_waits_as_long_as_told_is_let_through(calls: int, seconds: float, burst: int, number: int) -> None:
    limit = RateLimit(Rate(calls, seconds, burst))
    now = 0.0
    for _ in range(number):
        limit.take("ada", now)
    verdict = limit.take("ada", now)

    assert verdict.allowed or limit.take("ada", now + verdict.retry_after).allowed


@given(st.integers(min_value=0, max_value=10**10))
def test_what_is_told_in_whole_seconds_is_not_one_more_by_what_is_lost_in_sums(thousandths: int) -> None:
    limit = RateLimit(Rate(calls=2, seconds=3600.0, burst=2))
    assert [limit.take("ada", thousandths / 1000).reset_seconds for _ in range(2)] == [1800, 3600]
