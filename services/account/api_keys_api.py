"""The methods of AccountService about API keys: translate, authorise, delegate, answer."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from blockyard.account.v1 import account_pb2
from blockyard.account.v1 import account_service_pb2 as messages
from grpc.aio import ServicerContext

from services.account.api_keys import ApiKeys
from services.account.errors import ApiKeyNotFound
from services.account.records import ApiKey
from services.account.times import moment
from services.account.users import whose
from services.common.callers import PERMISSION_NUMBERS, PERMISSIONS_BY_NUMBER
from services.common.errors import InvalidArgument, Violation
from services.common.identity import current_caller
from services.common.paging import decode_page_token, encode_page_token, page_size
from services.common.permissions import Permission

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class ApiKeysApi:
    """A part of the servicer of AccountService, which inherits from it."""

    _api_keys: ApiKeys
    _token_secret: str

    async def CreateApiKey(
        self, request: messages.CreateApiKeyRequest, context: Context
    ) -> messages.CreateApiKeyResponse:
        """Makes a key."""
        expire_time = moment("expire_time", request.expire_time) if request.HasField("expire_time") else None
        permissions = _permissions(request.permissions)
        made, key = await self._api_keys.create(current_caller(), request.name, permissions, expire_time)
        return messages.CreateApiKeyResponse(api_key=_shown(made), key=key)

    async def ListApiKeys(self, request: messages.ListApiKeysRequest, context: Context) -> messages.ListApiKeysResponse:
        """Lists a user's keys."""
        caller, size = current_caller(), page_size(request.page_size)
        scope = f"ListApiKeys {whose(caller, request.user_id)}"
        before = None
        if request.page_token:
            [last] = decode_page_token(self._token_secret, scope, request.page_token)
            before = UUID(str(last))
        keys = await self._api_keys.page(caller, request.user_id, before, size + 1)
        answer = messages.ListApiKeysResponse(api_keys=map(_shown, keys[:size]))
        if len(keys) > size:
            answer.next_page_token = encode_page_token(self._token_secret, scope, [str(keys[size - 1].api_key_id)])
        return answer

    async def RevokeApiKey(
        self, request: messages.RevokeApiKeyRequest, context: Context
    ) -> messages.RevokeApiKeyResponse:
        """Revokes a key."""
        try:
            api_key_id = UUID(request.api_key_id)
        except ValueError:
            raise ApiKeyNotFound(f"There is no API key with the id {request.api_key_id[:100]!r}.") from None
        key = await self._api_keys.revoke(current_caller(), api_key_id)
        return messages.RevokeApiKeyResponse(api_key=_shown(key))


def _permissions(numbers: Iterable[int]) -> frozenset[Permission]:
    known = {int(number): permission for number, permission in PERMISSIONS_BY_NUMBER.items()}
    listed = list(numbers)
    violations = [
        Violation(f"permissions[{place}]", f"there is no permission with the number {number}")
        for place, number in enumerate(listed[:1000])
        if number not in known
    ]
    if violations:
        raise InvalidArgument(violations=violations)
    return frozenset(known[number] for number in listed)


def _shown(key: ApiKey) -> account_pb2.ApiKey:
    shown = account_pb2.ApiKey(
        id=str(key.api_key_id),
        name=key.name,
        prefix=key.prefix,
        user_id=key.user_id,
        permissions=sorted(PERMISSION_NUMBERS[one] for one in key.permissions),
    )
    shown.create_time.FromDatetime(key.create_time)
    for name, time in (
        ("last_use_time", key.last_use_time),
        ("expire_time", key.expire_time),
        ("revoke_time", key.revoke_time),
    ):
        if time is not None:
            getattr(shown, name).FromDatetime(time)
    return shown
