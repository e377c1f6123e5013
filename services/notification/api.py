"""NotificationService: streams of events over gRPC."""

from collections.abc import AsyncIterator
from typing import Any

from blockyard.notification.v1 import notification_service_pb2 as messages
from blockyard.notification.v1.notification_service_pb2_grpc import NotificationServiceServicer
from grpc.aio import ServicerContext

from services.common.identity import current_caller
from services.notification.asking import check_filter, filter_of
from services.notification.following import Cursors, Following
from services.notification.places import Places

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


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
            cursors = Cursors()
            async for told in self._following.subscribe(filter, request.cursor, "grpc"):
                # Every call is looked at again from time to time: who was an administrator may be none any more.
                check_filter(filter, current_caller())
                batches = [part.batch for part in told.parts]
                yield messages.SubscribeResponse(batches=batches, live=told.live, cursor=cursors.of(told))
