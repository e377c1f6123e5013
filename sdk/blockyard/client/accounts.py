"""One's account and keys, credits, and what administrators see of all users, through AccountService."""

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from blockyard.account.v1 import account_pb2
from blockyard.account.v1 import account_service_pb2 as messages
from blockyard.calls import Caller
from blockyard.client.account_records import (
    PERMISSIONS,
    ApiKeyRecord,
    AuditEntry,
    CreditsRecord,
    CreditTransaction,
    NewApiKey,
    Spending,
    UserRecord,
    UserRole,
    UserState,
)
from blockyard.errors import InvalidArgument
from blockyard.records import timestamp

if TYPE_CHECKING:
    from blockyard.account.v1.account_service_pb2_grpc import AccountServiceAsyncStub  # there for type checkers alone


class _Part:
    """A part of the account service, and how it is called."""

    def __init__(self, stub: "AccountServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._call = call


class AccountClient(_Part):
    """The caller's own account and API keys."""

    async def me(self) -> UserRecord:
        """Who calls."""
        request = messages.GetUserRequest()
        answer = await self._call(self._stub.GetUser, request, messages.GetUserResponse, repeatable=True)
        return UserRecord.from_proto(answer.user)

    async def update(
        self,
        *,
        name: str | None = None,
        email: str | None = None,
        time_zone: str | None = None,
        low_balance: int | None = None,
        user_id: str = "",
    ) -> UserRecord:
        """Changes what is given. Administrators may name another user."""
        changed = {"name": name, "email": email, "time_zone": time_zone, "low_balance": low_balance}
        request = messages.UpdateUserRequest(
            user_id=user_id,
            update_mask=FieldMask(paths=[field for field, value in changed.items() if value is not None]),
            name=name or "",
            email=email or "",
            time_zone=time_zone or "",
            low_balance=low_balance or 0,
        )
        answer = await self._call(self._stub.UpdateUser, request, messages.UpdateUserResponse, repeatable=True)
        return UserRecord.from_proto(answer.user)

    async def create_key(
        self, name: str, *, permissions: Sequence[str] = (), expires: datetime | None = None
    ) -> NewApiKey:
        """Makes an API key, which can be used wherever a token can. It is in this answer and nowhere else.

        `permissions` are names such as "read_graphs"; without any the key may do all that the caller may.
        """
        request = messages.CreateApiKeyRequest(
            name=name, permissions=[_permission(one) for one in permissions], expire_time=timestamp(expires)
        )
        answer = await self._call(self._stub.CreateApiKey, request, messages.CreateApiKeyResponse, repeatable=False)
        return NewApiKey.from_proto(answer)

    async def list_keys(self, *, user_id: str = "", page_size: int = 0) -> AsyncIterator[ApiKeyRecord]:
        """API keys, newest first. Administrators may name another user."""
        token = ""
        while True:
            request = messages.ListApiKeysRequest(user_id=user_id, page_size=page_size, page_token=token)
            answer = await self._call(self._stub.ListApiKeys, request, messages.ListApiKeysResponse, repeatable=True)
            for key in answer.api_keys:
                yield ApiKeyRecord.from_proto(key)
            token = answer.next_page_token
            if not token:
                return

    async def revoke_key(self, api_key_id: str) -> ApiKeyRecord:
        """Revokes an API key; within 5 seconds nobody can call with it."""
        request = messages.RevokeApiKeyRequest(api_key_id=api_key_id)
        answer = await self._call(self._stub.RevokeApiKey, request, messages.RevokeApiKeyResponse, repeatable=True)
        return ApiKeyRecord.from_proto(answer.api_key)


class UsersClient(_Part):
    """All users. For administrators."""

    async def list(self, query: str = "", page_size: int = 0) -> AsyncIterator[UserRecord]:
        """Users by id; with `query` those whose id, name or e-mail address holds it."""
        token = ""
        while True:
            request = messages.ListUsersRequest(page_size=page_size, page_token=token, query=query)
            answer = await self._call(self._stub.ListUsers, request, messages.ListUsersResponse, repeatable=True)
            for user in answer.users:
                yield UserRecord.from_proto(user)
            token = answer.next_page_token
            if not token:
                return

    async def get(self, user_id: str) -> UserRecord:
        """A user."""
        request = messages.GetUserRequest(user_id=user_id)
        answer = await self._call(self._stub.GetUser, request, messages.GetUserResponse, repeatable=True)
        return UserRecord.from_proto(answer.user)

    async def create(
        self, user_id: str, *, name: str = "", email: str = "", role: UserRole = UserRole.USER, time_zone: str = ""
    ) -> UserRecord:
        """Makes a user before their first call. `user_id` is as their tokens will name them."""
        request = messages.CreateUserRequest(
            user_id=user_id,
            name=name,
            email=email,
            role=account_pb2.UserRole.ValueType(role.value),
            time_zone=time_zone,
        )
        answer = await self._call(self._stub.CreateUser, request, messages.CreateUserResponse, repeatable=False)
        return UserRecord.from_proto(answer.user)

    async def set_access(
        self, user_id: str, *, role: UserRole = UserRole.UNSPECIFIED, state: UserState = UserState.UNSPECIFIED
    ) -> UserRecord:
        """Sets role and state; what is UNSPECIFIED stays. It takes effect within 5 seconds."""
        request = messages.SetUserAccessRequest(
            user_id=user_id,
            role=account_pb2.UserRole.ValueType(role.value),
            state=account_pb2.UserState.ValueType(state.value),
        )
        answer = await self._call(self._stub.SetUserAccess, request, messages.SetUserAccessResponse, repeatable=True)
        return UserRecord.from_proto(answer.user)


class CreditsClient(_Part):
    """Credits. Where a user id can be given, administrators may name another user than themselves."""

    async def get(self, user_id: str = "") -> CreditsRecord:
        """What a user has."""
        request = messages.GetCreditsRequest(user_id=user_id)
        answer = await self._call(self._stub.GetCredits, request, messages.GetCreditsResponse, repeatable=True)
        return CreditsRecord.from_proto(answer.credits)

    async def transactions(self, user_id: str = "", page_size: int = 0) -> AsyncIterator[CreditTransaction]:
        """Movements of credits, newest first."""
        token = ""
        while True:
            request = messages.ListCreditTransactionsRequest(user_id=user_id, page_size=page_size, page_token=token)
            answer = await self._call(
                self._stub.ListCreditTransactions, request, messages.ListCreditTransactionsResponse, repeatable=True
            )
            for transaction in answer.transactions:
                yield CreditTransaction.from_proto(transaction)
            token = answer.next_page_token
            if not token:
                return

    async def spending(
        self, user_id: str = "", *, start: datetime | None = None, end: datetime | None = None
    ) -> Spending:
        """What was spent from a time until before another, by block."""
        request = messages.SummarizeSpendingRequest(
            user_id=user_id, start_time=timestamp(start), end_time=timestamp(end)
        )
        answer = await self._call(
            self._stub.SummarizeSpending, request, messages.SummarizeSpendingResponse, repeatable=True
        )
        return Spending.from_proto(answer)

    async def top_up(
        self, user_id: str, amount: int, *, note: str = "", request_id: str | None = None
    ) -> CreditsRecord:
        """Gives credits; an amount below 0 takes some away. For administrators. The same `request_id` gives once."""
        request = messages.TopUpCreditsRequest(
            user_id=user_id, amount=amount, note=note, request_id=request_id or str(uuid.uuid4())
        )
        answer = await self._call(self._stub.TopUpCredits, request, messages.TopUpCreditsResponse, repeatable=True)
        return CreditsRecord.from_proto(answer.credits)


class AuditClient(_Part):
    """The audit log. For administrators."""

    async def list(
        self,
        *,
        actor: str = "",
        action: str = "",
        resource: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        page_size: int = 0,
    ) -> AsyncIterator[AuditEntry]:
        """Entries, newest first: of an actor, of actions that begin with a text, on a resource, of a span of time."""
        token = ""
        while True:
            request = messages.ListAuditEntriesRequest(
                page_size=page_size,
                page_token=token,
                actor=actor,
                action=action,
                resource=resource,
                start_time=timestamp(start),
                end_time=timestamp(end),
            )
            answer = await self._call(
                self._stub.ListAuditEntries, request, messages.ListAuditEntriesResponse, repeatable=True
            )
            for entry in answer.entries:
                yield AuditEntry.from_proto(entry)
            token = answer.next_page_token
            if not token:
                return


def _permission(name: str) -> account_pb2.Permission.ValueType:
    if name not in PERMISSIONS:
        raise InvalidArgument(f"there is no permission {name!r}; there are {', '.join(PERMISSIONS)}")
    return PERMISSIONS[name]
