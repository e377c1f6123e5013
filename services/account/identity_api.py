"""IdentityService, for the other services: translate, delegate, answer."""

from typing import Any
from uuid import UUID

from blockyard.account.v1 import identity_service_pb2 as messages
from blockyard.account.v1.account_pb2 import AuditEntry
from blockyard.account.v1.identity_service_pb2_grpc import IdentityServiceServicer
from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext

from services.account.audit_log import AuditKeeper
from services.account.identifying import Identifier
from services.account.repository.users import UserRepository
from services.common.errors import InvalidArgument, Violation
from services.common.identity import USER_ID_RULE, is_user_id

MOST_ENTRIES = 1_000
MOST_CONTACTS = 100
LONGEST_TEXT = 500
MOST_DETAILS = 50

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class IdentityApi(IdentityServiceServicer):
    """Who callers are, and what was done."""

    def __init__(self, identifier: Identifier, keeper: AuditKeeper, users: UserRepository) -> None:
        self._identifier = identifier
        self._keeper = keeper
        self._users = users

    async def Identify(self, request: messages.IdentifyRequest, context: Context) -> messages.IdentifyResponse:
        """Tells who calls."""
        match request.WhichOneof("caller"):
            case "token":
                if not is_user_id(request.token.user_id):
                    raise InvalidArgument(violations=[Violation("token.user_id", USER_ID_RULE)])
            case "api_key":
                if "\0" in request.api_key.prefix or len(request.api_key.digest) != 32:
                    raise InvalidArgument(violations=[Violation("api_key", "expected a prefix and 32 bytes of digest")])
            case "user_id":
                if not is_user_id(request.user_id):
                    raise InvalidArgument(violations=[Violation("user_id", USER_ID_RULE)])
            case _:
                problem = "expected a token, an API key or the id of a user"
                raise InvalidArgument(violations=[Violation("caller", problem)])
        return await self._identifier.identify(request)

    async def RecordActions(
        self, request: messages.RecordActionsRequest, context: Context
    ) -> messages.RecordActionsResponse:
        """Keeps what was done."""
        if len(request.entries) > MOST_ENTRIES:
            problem = f"expected at most {MOST_ENTRIES} entries, got {len(request.entries)}"
            raise InvalidArgument(violations=[Violation("entries", problem)])
        violations = [
            Violation(f"entries[{number}]", problem)
            for number, entry in enumerate(request.entries)
            if (problem := _problem(entry))
        ]
        if violations:
            raise InvalidArgument(violations=violations)
        await self._keeper.record(request.entries)
        return messages.RecordActionsResponse()

    async def GetContacts(self, request: messages.GetContactsRequest, context: Context) -> messages.GetContactsResponse:
        """Tells how users are reached."""
        if len(request.user_ids) > MOST_CONTACTS:
            problem = f"expected at most {MOST_CONTACTS} ids, got {len(request.user_ids)}"
            raise InvalidArgument(violations=[Violation("user_ids", problem)])
        users = await self._users.of_ids([one for one in request.user_ids if is_user_id(one)])
        contacts = [
            messages.Contact(
                user_id=user.user_id, active=user.active, name=user.name, email=user.email, time_zone=user.time_zone
            )
            for user in users
        ]
        return messages.GetContactsResponse(contacts=contacts)


def _problem(entry: AuditEntry) -> str:
    try:
        UUID(entry.id)
    except ValueError:
        return "expected a UUID as its id"
    if not _is_time(entry.time):
        return "expected a time between the years 1 and 9999"
    texts = [
        entry.actor,
        entry.api_key_id,
        entry.action,
        entry.resource,
        entry.outcome,
        entry.address,
        entry.user_agent,
        entry.request_id,
        *entry.details.keys(),
        *entry.details.values(),
    ]
    if len(entry.details) > MOST_DETAILS or any(len(text) > LONGEST_TEXT or "\0" in text for text in texts):
        return f"expected at most {MOST_DETAILS} details, and texts of at most {LONGEST_TEXT} characters without NUL"
    return ""


def _is_time(time: Timestamp) -> bool:
    try:
        time.ToDatetime()
    except (ValueError, OverflowError):
        return False
    return True
