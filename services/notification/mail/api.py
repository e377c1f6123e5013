"""PreferenceService: what users are told by e-mail."""

from collections.abc import Iterator, Sequence
from typing import Any

from blockyard.notification.v1 import preference_service_pb2 as messages
from blockyard.notification.v1.preference_service_pb2_grpc import PreferenceServiceServicer
from grpc.aio import ServicerContext

from services.common.errors import InvalidArgument, Violation
from services.common.field_masks import changed_fields
from services.common.identity import current_caller
from services.notification.mail.choices import Choices
from services.notification.mail.kinds import Frequency, MailKind
from services.notification.mail.records import Preferences
from services.notification.mail.sending import MOST_REFUSALS

CHANGEABLE = ("mails", "digest_hour", "digest_day")

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class PreferenceApi(PreferenceServiceServicer):
    """The caller's preferences."""

    def __init__(self, choices: Choices, mail_enabled: bool) -> None:
        self._choices = choices
        self._mail_enabled = mail_enabled

    async def GetPreferences(
        self, request: messages.GetPreferencesRequest, context: Context
    ) -> messages.GetPreferencesResponse:
        """Gets them."""
        preferences = await self._choices.get(current_caller().user_id)
        return messages.GetPreferencesResponse(preferences=self._message(preferences))

    async def UpdatePreferences(
        self, request: messages.UpdatePreferencesRequest, context: Context
    ) -> messages.UpdatePreferencesResponse:
        """Changes what is named, or set."""
        paths = changed_fields(request.update_mask, request, CHANGEABLE)
        if violations := list(_violations(request, paths)):
            raise InvalidArgument(violations=violations)
        frequencies = (
            {MailKind(one.kind): Frequency(one.frequency) for one in request.mails} if "mails" in paths else {}
        )
        preferences = await self._choices.update(
            current_caller().user_id,
            frequencies,
            request.digest_hour if "digest_hour" in paths else None,
            request.digest_day if "digest_day" in paths else None,
        )
        return messages.UpdatePreferencesResponse(preferences=self._message(preferences))

    async def Unsubscribe(self, request: messages.UnsubscribeRequest, context: Context) -> messages.UnsubscribeResponse:
        """Switches off what a link was for."""
        kinds = await self._choices.unsubscribe(request.token, request.all)
        return messages.UnsubscribeResponse(kinds=[_kind(one) for one in kinds])

    def _message(self, preferences: Preferences) -> messages.Preferences:
        refused = preferences.refusals >= MOST_REFUSALS
        return messages.Preferences(
            mails=[
                messages.MailPreference(
                    kind=_kind(kind), frequency=messages.MailFrequency.ValueType(preferences.frequencies[kind])
                )
                for kind in MailKind
            ],
            digest_hour=preferences.digest_hour,
            digest_day=preferences.digest_day,
            mail_enabled=self._mail_enabled,
            address_refusal=preferences.refusal if refused else "",
        )


def _kind(kind: MailKind) -> messages.MailKind.ValueType:
    return messages.MailKind.ValueType(kind)


def _violations(request: messages.UpdatePreferencesRequest, paths: Sequence[str]) -> Iterator[Violation]:
    if "mails" in paths:
        yield from _of_mails(request)
    if "digest_hour" in paths and not 0 <= request.digest_hour <= 23:
        yield Violation("digest_hour", f"expected 0 to 23, got {request.digest_hour}")
    if "digest_day" in paths and not 1 <= request.digest_day <= 7:
        yield Violation("digest_day", f"expected 1 (Monday) to 7 (Sunday), got {request.digest_day}")


def _of_mails(request: messages.UpdatePreferencesRequest) -> Iterator[Violation]:
    seen = set()
    for at, one in enumerate(request.mails):
        if not one.kind or one.kind not in messages.MailKind.values():
            yield Violation(f"mails[{at}].kind", f"{one.kind} is no kind of mail")
        if one.kind in seen:
            yield Violation(f"mails[{at}].kind", "is named before: each kind has one frequency")
        if not one.frequency or one.frequency not in messages.MailFrequency.values():
            yield Violation(f"mails[{at}].frequency", f"{one.frequency} is none of OFF, IMMEDIATELY, DAILY, WEEKLY")
        seen.add(one.kind)
