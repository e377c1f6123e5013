"""What runs keep beyond their execution: asked for at the execution service, which alone knows whose it is.

A value may be a secret, so none is logged.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import structlog
from blockyard.block import Block, Effect, RunStyle
from blockyard.block.stored_values import NoValues, StoredValues, ValueRefused, ValueScope
from blockyard.errors import from_rpc_error
from blockyard.runner.v1 import value_service_pb2 as messages
from blockyard.runner.v1.task_pb2 import Task
from blockyard.runner.v1.value_service_pb2_grpc import ValueServiceStub

from services.common.backoff import delays
from services.runner.leased import Leased

DEADLINE_SECONDS = 10.0
SCOPES = {
    ValueScope.WITHIN_AGENT: messages.VALUE_SCOPE_WITHIN_AGENT,
    ValueScope.ACROSS_AGENTS: messages.VALUE_SCOPE_ACROSS_AGENTS,
}
AWAY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    # From a replica of a release before this one, beside others that know the call.
    grpc.StatusCode.UNIMPLEMENTED,
}

REFUSED = NoValues("stored values are for blocks whose run is an async generator and whose effect is not PURE")

Answer = TypeVar("Answer")

log = structlog.stdlib.get_logger(__name__)


class Values:
    """Of all runs of this runner."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # Any: the generated stub's type depends on the kind of channel.
        self._stub: Any = ValueServiceStub(channel)

    def of(self, task: Task, block: Block, leased: Leased | None = None) -> StoredValues:
        """Of one run. What it has from the vault is not kept."""
        if block.effect is Effect.PURE or block.style is not RunStyle.ASYNC:
            return StoredValues(REFUSED)
        return StoredValues(_OfTask(self._stub, task, leased))


class _OfTask:
    """Of one task: asks again while the execution service is away, until the run's timeout ends that. Safe to repeat:
    the service knows each write by its task, key and number."""

    def __init__(self, stub: Any, task: Task, leased: Leased | None) -> None:
        self._stub = stub
        self._leased = leased
        self._task = messages.ValueTask(
            execution_id=task.execution_id, node_execution=task.node_execution, attempt=task.attempt
        )

    async def get(self, scope: ValueScope, key: str) -> bytes | None:
        """The value under a key."""
        request = messages.GetValueRequest(task=self._task, key=messages.ValueKey(scope=SCOPES[scope], key=key))
        answer: messages.GetValueResponse = await _answer(
            lambda: self._stub.GetValue(request, timeout=DEADLINE_SECONDS)
        )
        return answer.value or None

    async def put(self, scope: ValueScope, key: str, value: bytes | None, number: int) -> None:
        """Keeps a value under a key, or removes what is there."""
        if self._leased is not None and value is not None:
            value = self._leased.redaction.json(value)
        request = messages.PutValueRequest(
            task=self._task,
            key=messages.ValueKey(scope=SCOPES[scope], key=key),
            value=value or b"",
            number=number,
        )
        await _answer(lambda: self._stub.PutValue(request, timeout=DEADLINE_SECONDS))


async def _answer(call: Callable[[], Awaitable[Answer]]) -> Answer:
    trouble = ""
    for pause in delays():
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            told = from_rpc_error(error)
            if error.code() not in AWAY and told.reason != "STORAGE_FULL":
                raise ValueRefused(str(told)) from error
            if trouble != (trouble := f"{error.code().name}: {told}"):
                log.warning("values cannot be kept or got, trying on", error=trouble)
            await asyncio.sleep(pause)
    raise AssertionError("delays never end")
