"""NotificationService: streams of events over gRPC."""

import time
from collections.abc import AsyncIterator
from typing import Any

from blockyard.notification.v1 import notification_service_pb2 as messages
from blockyard.notification.v1.notification_service_pb2_grpc import NotificationServiceServicer
from grpc.aio import ServicerContext

from services.common.cursors import encode_cursor
from services.notification.asking import filter_of
from services.notification.following import Following
from services.notification.places import Places

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""

CURSOR_SECONDS = 1.0
"""A cursor is told so often at most."""


class NotificationApi(NotificationServiceServicer):
    """Streams for whoever asks."""

    def __init__(self, following: Following, places: Places) -> None:
        self._following = following
        self._places = places

    async def Subscribe(
        self, request: messages.SubscribeRequest, context: Context
    ) -> AsyncIterator[messages.SubscribeResponse]:
        """Streams events until the caller ends it."""
        filter = filter_of(request.filter)
        with self._places.taken():
            due = 0.0
            async for told in self._following.subscribe(filter, request.cursor, "grpc"):
                answer = messages.SubscribeResponse(batches=[part.batch for part in told.parts], live=told.live)
                now = time.monotonic()
                if now >= due:
                    answer.cursor = encode_cursor(told.positions)
                    due = now + CURSOR_SECONDS
                yield answer
