"""NotificationService in memory, over real gRPC, by a script: for what is hard to bring about with the real one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from blockyard.event.v1.event_pb2 import Event, EventBatch
from blockyard.notification.v1 import notification_service_pb2 as messages
from blockyard.notification.v1.notification_service_pb2_grpc import NotificationServiceServicer
from google.rpc import status_pb2
from grpc_status import rpc_status


@dataclass
class Told:
    """One connection: what is told, and how it ends; without an error it stays open."""

    answers: Sequence[messages.SubscribeResponse]
    error: status_pb2.Status | None = None


@dataclass
class NotificationScript:
    """Connections are used up from the front."""

    connections: list[Told] = field(default_factory=list)
    requests: list[messages.SubscribeRequest] = field(default_factory=list)


def told(execution_id: str, events: Sequence[Event], cursor: str = "") -> messages.SubscribeResponse:
    """An answer with events of one execution."""
    batch = EventBatch(execution_id=execution_id, graph_id="graph", user_id="anna", events=events)
    return messages.SubscribeResponse(batches=[batch], cursor=cursor)


class Notifications(NotificationServiceServicer):
    """Subscriptions, by the script."""

    def __init__(self, script: NotificationScript) -> None:
        self._script = script

    async def Subscribe(
        self, request: messages.SubscribeRequest, context: Any
    ) -> AsyncIterator[messages.SubscribeResponse]:
        self._script.requests.append(request)
        if not self._script.connections:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the script has ended")
        connection = self._script.connections.pop(0)
        for answer in connection.answers:
            yield answer
        if connection.error is not None:
            await context.abort_with_status(rpc_status.to_status(connection.error))
        await asyncio.Event().wait()
