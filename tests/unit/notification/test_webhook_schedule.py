"""What comes of an attempt: when the next one is, and when there is none."""

from datetime import UTC, datetime, timedelta

import pytest

from services.notification.repository.deliveries import Failing
from services.notification.webhooks.disabling import Patience, why_disabled
from services.notification.webhooks.records import Attempt, DeliveryState, DisableReason
from services.notification.webhooks.schedule import (
    ATTEMPTS,
    DELAYS,
    LONGEST_HOLD,
    LONGEST_WAIT,
    after_failure,
    after_success,
    retry_after,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
PATIENCE = Patience(days=5, deliveries=3)


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    hours = [round(sum(DELAYS[:step]) / 3600, 2) for step in range(1, ATTEMPTS)]
    assert DELAYS[:3] == (5, 300, 1800)
    assert hours[2:] == [0.58, 2.58, 7.58, 17.58, 31.58, 51.58, 75.58]


def test_each_failure_is_followed_by_the_delay_of_its_step_with_jitter_until_the_last() -> None:
    for tries, delay in enumerate(DELAYS, start=1):
        assert after_failure(tries, 500, None, 0.0).seconds == delay
        assert after_failure(tries, 0, None, 1.0).seconds == pytest.approx(delay * 1.1)
    assert after_failure(ATTEMPTS, 500, None, 0.0).state is DeliveryState.FAILED
    assert after_success().state is DeliveryState.DELIVERED


def test_an_endpoint_that_asks_to_wait_is_given_the_time_within_bounds() -> None:
    waited = after_failure(1, 429, 600.0, 0.0)
    assert (waited.seconds, waited.hold_seconds) == (600.0, 600.0)
    assert after_failure(1, 503, 1e30, 0.0).seconds == LONGEST_WAIT
    assert after_failure(1, 503, float("inf"), 0.0).hold_seconds == LONGEST_HOLD
    assert after_failure(5, 429, 1.0, 0.0).seconds == DELAYS[4], "the schedule is not shortened"
    assert after_failure(1, 500, 600.0, 0.0).seconds == DELAYS[0], "only 429 and 503 may ask"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Sun, 22 Nov 2026 12:10:00 GMT", 600.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 12:10:00 -0000", 600.0),
        ("9" * 4_000, float("inf")),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Sun, 99 Nov 99999 99:99:99 GMT", None),
        ("\u0665", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}, NOON) == seconds


def attempt(status: int, time: datetime = NOON) -> Attempt:
    return Attempt(1, time, status, 5, f"answered {status}")


def test_a_webhook_is_disabled_when_it_is_gone_or_fails_for_too_long_or_too_often() -> None:
    since = NOON - timedelta(days=5)
    assert why_disabled(attempt(500), Failing(NOON, 2), PATIENCE) is None
    assert why_disabled(attempt(500), Failing(since + timedelta(seconds=1), 0), PATIENCE) is None
    gone = why_disabled(attempt(410), Failing(NOON, 0), PATIENCE)
    assert gone is not None
    assert gone[0] is DisableReason.GONE
    for failing in (Failing(since, 0), Failing(NOON, 3)):
        why = why_disabled(attempt(502), failing, PATIENCE)
        assert why is not None
        assert why[0] is DisableReason.FAILING
        assert "answered 502" in why[1]
