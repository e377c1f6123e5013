"""The methods of AccountService about users: translate, authorise, delegate, answer."""

from typing import Any

from blockyard.account.v1 import account_pb2
from blockyard.account.v1 import account_service_pb2 as messages
from grpc.aio import ServicerContext

from services.account.records import NewUser, User
from services.account.repository.users import CHANGEABLE
from services.account.users import Users
from services.common.callers import ROLE_NUMBERS, ROLES
from services.common.errors import InvalidArgument, Violation
from services.common.field_masks import changed_fields
from services.common.identity import current_caller
from services.common.paging import decode_page_token, encode_page_token, page_size
from services.common.permissions import Role

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""

_STATES = {
    account_pb2.USER_STATE_UNSPECIFIED: None,
    account_pb2.USER_STATE_ACTIVE: True,
    account_pb2.USER_STATE_DISABLED: False,
}


class UsersApi:
    """A part of the servicer of AccountService, which inherits from it."""

    _users: Users
    _token_secret: str

    async def GetUser(self, request: messages.GetUserRequest, context: Context) -> messages.GetUserResponse:
        """Gets a user; the caller's own account was made when it was found out who calls."""
        user = await self._users.get(current_caller(), request.user_id)
        return messages.GetUserResponse(user=_shown(user))

    async def UpdateUser(self, request: messages.UpdateUserRequest, context: Context) -> messages.UpdateUserResponse:
        """Changes a user."""
        names = changed_fields(request.update_mask, request, CHANGEABLE)
        changes: dict[str, str | int] = {name: getattr(request, name) for name in names}
        user = await self._users.update(current_caller(), request.user_id, changes)
        return messages.UpdateUserResponse(user=_shown(user))

    async def ListUsers(self, request: messages.ListUsersRequest, context: Context) -> messages.ListUsersResponse:
        """Lists users."""
        size, scope, after = page_size(request.page_size), f"ListUsers {request.query}", ""
        if request.page_token:
            [last] = decode_page_token(self._token_secret, scope, request.page_token)
            after = str(last)
        users = await self._users.page(request.query, after, size + 1)
        answer = messages.ListUsersResponse(users=map(_shown, users[:size]))
        if len(users) > size:
            answer.next_page_token = encode_page_token(self._token_secret, scope, [users[size - 1].user_id])
        return answer

    async def CreateUser(self, request: messages.CreateUserRequest, context: Context) -> messages.CreateUserResponse:
        """Makes a user."""
        role = _role(request.role)
        new = NewUser(
            request.user_id,
            role or Role.USER,
            role_set=role is not None,
            name=request.name,
            email=request.email,
            time_zone=request.time_zone,
        )
        return messages.CreateUserResponse(user=_shown(await self._users.create(new)))

    async def SetUserAccess(
        self, request: messages.SetUserAccessRequest, context: Context
    ) -> messages.SetUserAccessResponse:
        """Sets role and state of a user."""
        role = _role(request.role)
        if request.state not in _STATES:
            expected = ", ".join(account_pb2.UserState.keys())
            raise InvalidArgument(violations=[Violation("state", f"expected one of {expected}, got {request.state}")])
        active = _STATES[request.state]
        if role is None and active is None:
            raise InvalidArgument(violations=[Violation("role", "expected a role, or a state, or both")])
        user = await self._users.set_access(current_caller(), request.user_id, role, active)
        return messages.SetUserAccessResponse(user=_shown(user))


def _role(number: "account_pb2.UserRole.ValueType") -> Role | None:
    if number == account_pb2.USER_ROLE_UNSPECIFIED:
        return None
    if number not in ROLES:
        expected = ", ".join(account_pb2.UserRole.keys())
        raise InvalidArgument(violations=[Violation("role", f"expected one of {expected}, got {number}")])
    return ROLES[number]


def _shown(user: User) -> account_pb2.User:
    shown = account_pb2.User(
        id=user.user_id,
        name=user.name,
        email=user.email,
        role=ROLE_NUMBERS[user.role],
        time_zone=user.time_zone,
        state=account_pb2.USER_STATE_ACTIVE if user.active else account_pb2.USER_STATE_DISABLED,
        low_balance=user.low_balance,
    )
    shown.create_time.FromDatetime(user.create_time)
    shown.update_time.FromDatetime(user.update_time)
    if user.last_seen_time is not None:
        shown.last_seen_time.FromDatetime(user.last_seen_time)
    return shown
