"""ScheduleService: translate, authorise, delegate, answer. Every caller sees their own schedules only."""

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from blockyard.execution.v1 import schedule_service_pb2 as messages
from blockyard.execution.v1.schedule_service_pb2_grpc import ScheduleServiceServicer
from grpc.aio import ServicerContext

from services.common.errors import InvalidArgument, Violation
from services.common.identity import current_caller
from services.common.paging import decode_page_token, encode_page_token, page_size
from services.execution import translation
from services.execution.errors import ScheduleNotFound
from services.execution.schedules.book import Book
from services.execution.schedules.messages import Bounds, changed, paths_of, read, shown
from services.execution.schedules.records import Schedule, Terms
from services.execution.starting import LONGEST_REQUEST_ID

MOST_SHOWN = 100
NEXT_TIMES = 5
FIRINGS = 10

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the API works with."""

    book: Book
    bounds: Bounds
    token_secret: str


class ScheduleApi(ScheduleServiceServicer):
    """The public methods."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def CreateSchedule(
        self, request: messages.CreateScheduleRequest, context: Context
    ) -> messages.CreateScheduleResponse:
        """Makes a schedule, or checks one."""
        book, user_id = self._parts.book, current_caller().user_id
        if len(request.request_id) > LONGEST_REQUEST_ID:
            raise InvalidArgument(violations=[Violation("request_id", f"longer than {LONGEST_REQUEST_ID} characters")])
        count = _count("next_times", request.next_times, NEXT_TIMES)
        now = await book.rows.clock()
        terms = read(request.schedule, self._parts.bounds, now)
        if request.validate_only:
            schedule = await book.check(user_id, terms, now)
        else:
            schedule = await book.create(user_id, terms, request.request_id, _hash(request.schedule), now)
        answer = shown(schedule, request.value_format, await _next_times(schedule, now, count))
        if request.validate_only:
            for name in ("id", "create_time", "update_time", "etag"):
                answer.ClearField(name)
        return messages.CreateScheduleResponse(schedule=answer)

    async def GetSchedule(self, request: messages.GetScheduleRequest, context: Context) -> messages.GetScheduleResponse:
        """Gets a schedule."""
        book = self._parts.book
        count = _count("next_times", request.next_times, NEXT_TIMES)
        most = _count("firings", request.firings, FIRINGS)
        schedule = await book.get(current_caller().user_id, _id(request.schedule_id))
        firings = await book.rows.firings(schedule.schedule_id, most)
        next_times = await _next_times(schedule, await book.rows.clock(), count)
        return messages.GetScheduleResponse(schedule=shown(schedule, request.value_format, next_times, firings))

    async def ListSchedules(
        self, request: messages.ListSchedulesRequest, context: Context
    ) -> messages.ListSchedulesResponse:
        """Lists the caller's schedules, newest first."""
        user_id, graph_id = current_caller().user_id, translation.graph_id(request.graph_id)
        scope = f"ListSchedules {user_id} {graph_id}"
        size = page_size(request.page_size)
        before = None
        if request.page_token:
            before = UUID(str(decode_page_token(self._parts.token_secret, scope, request.page_token)[0]))
        found = await self._parts.book.rows.page(user_id, graph_id, before, size + 1)
        answer = messages.ListSchedulesResponse(
            schedules=[
                shown(each, 0, [each.next_time] if each.next_time else [], with_inputs=False) for each in found[:size]
            ]
        )
        if len(found) > size:
            last = str(found[size - 1].schedule_id)
            answer.next_page_token = encode_page_token(self._parts.token_secret, scope, [last])
        return answer

    async def UpdateSchedule(
        self, request: messages.UpdateScheduleRequest, context: Context
    ) -> messages.UpdateScheduleResponse:
        """Changes, pauses or resumes a schedule."""
        book, given, bounds = self._parts.book, request.schedule, self._parts.bounds
        paths = paths_of(request)
        now = await book.rows.clock()

        def terms_of(schedule: Schedule) -> Terms:
            return changed(schedule, given, paths, bounds, now)

        schedule = await book.change(current_caller().user_id, _id(given.id), given.etag, terms_of, now, paths)
        next_times = await _next_times(schedule, now, NEXT_TIMES)
        return messages.UpdateScheduleResponse(schedule=shown(schedule, request.value_format, next_times))

    async def DeleteSchedule(
        self, request: messages.DeleteScheduleRequest, context: Context
    ) -> messages.DeleteScheduleResponse:
        """Deletes a schedule."""
        await self._parts.book.delete(current_caller().user_id, _id(request.schedule_id))
        return messages.DeleteScheduleResponse()


def _id(text: str) -> UUID:
    """What is no id names no schedule."""
    try:
        return UUID(text)
    except ValueError:
        raise ScheduleNotFound(f"There is no schedule with the id {text[:100]!r}.") from None


def _count(field: str, number: int, default: int) -> int:
    if not 0 <= number <= MOST_SHOWN:
        raise InvalidArgument(violations=[Violation(field, f"must lie between 0 and {MOST_SHOWN}, got {number}")])
    return number or default


async def _next_times(schedule: Schedule, now: datetime, count: int) -> list[datetime]:
    """The due times that come next; the first may be over already, and be held back by its jitter."""
    if schedule.next_time is None:
        return []
    # Rare ones are far to seek.
    further = await asyncio.to_thread(schedule.terms.due_after, schedule.next_time, count - 1) if count > 1 else []
    return [schedule.next_time, *further]


def _hash(message: messages.Schedule) -> bytes:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).digest()
