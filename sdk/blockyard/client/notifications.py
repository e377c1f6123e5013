"""What one is told by e-mail, through PreferenceService."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from blockyard.calls import Caller
from blockyard.notification.v1 import preference_service_pb2 as messages

if TYPE_CHECKING:
    from blockyard.notification.v1.preference_service_pb2_grpc import (
        PreferenceServiceAsyncStub,  # there for type checkers alone
    )


class MailKind(Enum):
    """What a mail is about."""

    EXECUTION_FINISHED = 1
    EXECUTION_FAILED = 2
    WAITING_FOR_YOU = 3
    LOW_BALANCE = 4
    CREDENTIAL_REVOKED = 5
    WEBHOOK_DISABLED = 6
    SCHEDULE_PAUSED = 7
    SUBMISSION_REVIEWED = 8


class MailFrequency(Enum):
    """How often mails of a kind are sent."""

    OFF = 1
    IMMEDIATELY = 2
    DAILY = 3
    WEEKLY = 4


@dataclass(frozen=True, slots=True)
class NotificationPreferences:
    """What one is told by e-mail, and when."""

    mails: Mapping[MailKind, MailFrequency]
    """Of every kind that this package knows."""
    digest_hour: int
    """0 to 23, in the time zone of the account."""
    digest_day: int
    """Of the weekly digest; 1 is Monday, 7 is Sunday."""
    mail_enabled: bool
    """False if this installation sends no mails."""
    address_refusal: str
    """Why nothing is sent to the account's address any more; empty if it is."""

    @classmethod
    def from_proto(cls, proto: messages.Preferences) -> "NotificationPreferences":
        """The value of a message."""
        kinds, frequencies = {one.value for one in MailKind}, {one.value for one in MailFrequency}
        return cls(
            mails={
                MailKind(one.kind): MailFrequency(one.frequency)
                for one in proto.mails
                if one.kind in kinds and one.frequency in frequencies
            },
            digest_hour=proto.digest_hour,
            digest_day=proto.digest_day,
            mail_enabled=proto.mail_enabled,
            address_refusal=proto.address_refusal,
        )


class NotificationsClient:
    """The caller's own preferences."""

    def __init__(self, stub: "PreferenceServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._call = call

    async def get(self) -> NotificationPreferences:
        """What they are."""
        request = messages.GetPreferencesRequest()
        answer = await self._call(self._stub.GetPreferences, request, messages.GetPreferencesResponse, repeatable=True)
        return NotificationPreferences.from_proto(answer.preferences)

    async def update(
        self,
        mails: Mapping[MailKind, MailFrequency] | None = None,
        *,
        digest_hour: int | None = None,
        digest_day: int | None = None,
    ) -> NotificationPreferences:
        """Changes what is given; kinds that are not named stay as they are.

        What waits to be sent of a kind that is switched off is not sent any more.
        """
        given = {"mails": mails, "digest_hour": digest_hour, "digest_day": digest_day}
        request = messages.UpdatePreferencesRequest(
            update_mask=FieldMask(paths=[name for name, value in given.items() if value is not None]),
            mails=[
                messages.MailPreference(
                    kind=messages.MailKind.ValueType(kind.value),
                    frequency=messages.MailFrequency.ValueType(frequency.value),
                )
                for kind, frequency in (mails or {}).items()
            ],
            digest_hour=digest_hour or 0,
            digest_day=digest_day or 0,
        )
        answer = await self._call(
            self._stub.UpdatePreferences, request, messages.UpdatePreferencesResponse, repeatable=True
        )
        return NotificationPreferences.from_proto(answer.preferences)
