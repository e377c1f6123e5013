"""What surrounds every call to a service: who calls and may they, logs, traces and metrics, errors as statuses."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeAlias

import grpc
import structlog
from google.rpc import status_pb2
from grpc_status import rpc_status
from prometheus_client import Histogram

from services.common import error_status, identity, permissions, telemetry
from services.common.errors import Unavailable

# Any below: the messages of whatever method is called, and the servicer's method itself.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

log = structlog.stdlib.get_logger(__name__)

CALL_SECONDS = Histogram(
    "blockyard_grpc_server_call_seconds",
    "Duration of calls by method and gRPC status code",
    ["method", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class TooManyCalls(Unavailable):
    """This replica has as many calls under way as it takes. Try again."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Surrounds unary and server-streaming methods. Public ones (health, reflection) go straight through."""

    def __init__(self, secret: str, max_concurrent_calls: int) -> None:
        self._secret = secret
        self._limit = max_concurrent_calls
        self._under_way = 0

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the method's handler, if there is one."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or permissions.is_public(method):
            return handler  # type: ignore[return-value]  # None is gRPC's own way to say UNIMPLEMENTED
        if handler.request_streaming:
            raise NotImplementedError(f"{method}: the contract has no methods that take a stream of requests")
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary), handler.request_deserializer, handler.response_serializer
        )

    def _unary(self, method: str, inner: Any) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            async with self._surround(method, context):
                return await inner(request, context)

        return call

    def _stream(self, method: str, inner: Any) -> Callable[[Any, Context], Awaitable[None]]:
        # Not a generator itself: one that a cancelled call leaves behind would end in another task, outside of the
        # context that it has set.
        async def call(request: Any, context: Context) -> None:
            async with self._surround(method, context), aclosing(inner(request, context)) as responses:
                async for response in responses:
                    await context.write(response)

        return call

    @asynccontextmanager
    async def _surround(self, method: str, context: Context) -> AsyncIterator[None]:
        metadata = dict(context.invocation_metadata() or ())
        began = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        self._under_way += 1
        structlog.contextvars.bind_contextvars(method=method)
        with telemetry.extract(_text(metadata.get("traceparent"))), telemetry.span(method):
            try:
                if self._under_way > self._limit:
                    raise TooManyCalls
                caller = permissions.authorise(self._secret, method, _text(metadata.get("authorization")))
                identity.set_caller(caller)
                structlog.contextvars.bind_contextvars(user_id=caller.user_id)
                yield
                code = grpc.StatusCode.OK
            except grpc.aio.AbortError:
                code = grpc.StatusCode(context.code())
                raise
            except Exception as error:  # noqa: BLE001 - the edge: every exception becomes a status, or is logged
                status = error_status.from_exception(error)
                code = rpc_status.to_status(status).code
                await _abort(context, status)
            finally:
                self._under_way -= 1
                seconds = time.perf_counter() - began
                CALL_SECONDS.labels(method, code.name).observe(seconds)
                log.debug("call", code=code.name, seconds=round(seconds, 6))


async def _abort(context: Context, status: status_pb2.Status) -> None:
    parts = rpc_status.to_status(status)
    await context.abort(parts.code, parts.details, parts.trailing_metadata)


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
