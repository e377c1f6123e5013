"""What mails are about, how often each kind is sent, and what is so unless a user says otherwise."""

from collections.abc import Mapping
from enum import IntEnum


class MailKind(IntEnum):
    """The numbers of `blockyard.notification.v1.MailKind`."""

    EXECUTION_FINISHED = 1
    EXECUTION_FAILED = 2
    WAITING_FOR_YOU = 3
    LOW_BALANCE = 4
    CREDENTIAL_REVOKED = 5
    WEBHOOK_DISABLED = 6
    SCHEDULE_PAUSED = 7
    SUBMISSION_REVIEWED = 8


class Frequency(IntEnum):
    """The numbers of `blockyard.notification.v1.MailFrequency`."""

    OFF = 1
    IMMEDIATELY = 2
    DAILY = 3
    WEEKLY = 4


class Round(IntEnum):
    """Mails that tell of many things at once."""

    HOURLY = 1
    """What came immediately, beyond the number of mails an hour."""
    DAILY = 2
    WEEKLY = 3


ROUNDS: Mapping[Frequency, Round] = {
    Frequency.IMMEDIATELY: Round.HOURLY,
    Frequency.DAILY: Round.DAILY,
    Frequency.WEEKLY: Round.WEEKLY,
}
DEFAULTS: Mapping[MailKind, Frequency] = {
    kind: Frequency.OFF if kind is MailKind.EXECUTION_FINISHED else Frequency.IMMEDIATELY for kind in MailKind
}
"""What needs somebody is told at once, what went well is not."""

DIGEST_HOUR = 8
DIGEST_DAY = 1
"""Monday."""
