"""Mails and preferences, as the parts hand them to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any
from uuid import UUID

from services.notification.mail.kinds import DEFAULTS, DIGEST_DAY, DIGEST_HOUR, Frequency, MailKind, Round


class MailState(IntEnum):
    """What became of a mail."""

    WAITS = 1
    SENT = 2
    GIVEN_UP = 3
    UNWANTED = 4


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that is to be sent."""

    mail_id: UUID
    user_id: str
    key: str
    """Of what it tells: each makes one mail of a user."""
    kind: MailKind | None
    """None of one that tells of many things; then `round` says which."""
    round: Round | None
    details: Mapping[str, Any]  # Any: JSON
    create_time: datetime
    attempts: int = 0
    """Claims so far, this one included: only the newest one's outcome is noted."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What came of one kind and graph for a round."""

    kind: MailKind
    graph_id: str
    count: int
    first_time: datetime
    last_time: datetime
    samples: tuple[Mapping[str, str], ...]
    """The first few, with their details and "time"."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a user wants to be told, and when."""

    frequencies: Mapping[MailKind, Frequency] = field(default_factory=lambda: DEFAULTS)
    """Of every kind."""
    digest_hour: int = DIGEST_HOUR
    digest_day: int = DIGEST_DAY
    """1 is Monday."""
    refused_address: str = ""
    refusals: int = 0
    """In a row."""
    refusal: str = ""
    """What was answered last."""
