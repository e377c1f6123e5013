"""The method of AccountService about the audit log: translate, authorise, delegate, answer."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from blockyard.account.v1 import account_service_pb2 as messages
from blockyard.account.v1.account_pb2 import AuditEntry
from grpc.aio import ServicerContext

from services.account.repository.audit import AuditFilter, AuditRepository
from services.account.times import moment
from services.common.paging import decode_page_token, encode_page_token, page_size

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class AuditApi:
    """A part of the servicer of AccountService, which inherits from it."""

    _audit: AuditRepository
    _token_secret: str

    async def ListAuditEntries(
        self, request: messages.ListAuditEntriesRequest, context: Context
    ) -> messages.ListAuditEntriesResponse:
        """Lists the audit log."""
        size = page_size(request.page_size)
        wanted = AuditFilter(
            actor=request.actor,
            action=request.action,
            resource=request.resource,
            start=moment("start_time", request.start_time) if request.HasField("start_time") else None,
            end=moment("end_time", request.end_time) if request.HasField("end_time") else None,
        )
        scope = f"ListAuditEntries {wanted}"
        before = None
        if request.page_token:
            microseconds, last = decode_page_token(self._token_secret, scope, request.page_token)
            before = _EPOCH + int(microseconds) * _MICROSECOND, UUID(str(last))
        entries = await self._audit.page(wanted, before, size + 1)
        answer = messages.ListAuditEntriesResponse(entries=entries[:size])
        if len(entries) > size:
            answer.next_page_token = encode_page_token(self._token_secret, scope, _position(entries[size - 1]))
        return answer


def _position(entry: AuditEntry) -> list[str | int]:
    return [(entry.time.ToDatetime(UTC) - _EPOCH) // _MICROSECOND, entry.id]
