"""When something is sent again: what comes of an attempt, without any clock or network."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from services.notification.webhooks.records import DeliveryState

_HOUR = 3600.0
DELAYS = (5.0, 300.0, 1800.0, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR)
"""Seconds from one attempt to the next, after Standard Webhooks. The first is at once; after the last there is none."""
ATTEMPTS = len(DELAYS) + 1
JITTER = 0.1
"""A delay is longer by up to this part of it, so that what failed together does not come back together."""
LONGEST_WAIT = 24 * _HOUR
"""An endpoint that asks for more than this (Retry-After) is not given it."""
LONGEST_HOLD = _HOUR
"""For so long at most an endpoint is sent nothing at all, if it asks for that."""
BUSY = frozenset({429, 503})
GONE = 410
_LONGEST_NUMBER = 18


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of a delivery."""

    state: DeliveryState
    seconds: float = 0.0
    """Until the next attempt, if there is one."""
    hold_seconds: float = 0.0
    """For so long the endpoint is sent nothing else either."""


def after_success() -> Next:
    """It was taken."""
    return Next(DeliveryState.DELIVERED)


def after_failure(tries: int, status: int, retry_after: float | None, fraction: float) -> Next:
    """After the `tries`-th attempt of a schedule has failed. `fraction` is random, from 0 to 1."""
    wait = retry_after if status in BUSY and retry_after is not None else 0.0
    hold = min(wait, LONGEST_HOLD)
    if tries >= ATTEMPTS:
        return Next(DeliveryState.FAILED, hold_seconds=hold)
    delay = DELAYS[tries - 1] * (1 + JITTER * fraction)
    return Next(DeliveryState.PENDING, max(delay, min(wait, LONGEST_WAIT)), hold)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds that the header Retry-After asks for, given as seconds or as a date; None if it says nothing."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _LONGEST_NUMBER else math.inf
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now) / timedelta(seconds=1))
