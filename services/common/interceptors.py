"""What surrounds every call to a service: who calls and may they, logs, traces and metrics, errors as statuses."""

import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import structlog
from blockyard.common.v1 import errors_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc_status import rpc_status
from prometheus_client import Gauge, Histogram

from services.common import audit, error_status, identity, input_limits, permissions, telemetry
from services.common.addresses import caller_address
from services.common.admission import Admission
from services.common.audit import Origin
from services.common.audit_resources import AUDITED_BY_THEMSELVES, resource
from services.common.errors import InvalidArgument, ResourceExhausted, Unavailable
from services.common.identity import Caller
from services.common.permissions import CallClass

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
CALLS_ACTIVE = Gauge("blockyard_grpc_server_calls_active", "Calls under way, streams included")

STREAM_CHECK_SECONDS = 2.0
"""A stream that is open for longer looks again, before an answer, whether its caller may still call."""

AUDITED = frozenset({CallClass.WRITE, CallClass.ADMIN})
REFUSALS = frozenset(
    {
        "TOKEN_MISSING",
        "TOKEN_INVALID",
        "TOKEN_EXPIRED",
        "API_KEY_INVALID",
        "USER_DISABLED",
        "PERMISSION_DENIED",
        "LEASE_REFUSED",
        "RATE_LIMITED",
    }
)
"""Noted of every method, a few of each caller."""

OURS = "/blockyard."
"""How the names of the contract's own methods begin."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,100}")


class RateLimited(ResourceExhausted):
    """Too many calls in too short a time. Wait as long as RetryInfo says, then go on."""

    reason = errors_pb2.ERROR_REASON_RATE_LIMITED

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"Too many calls in too short a time. The next one is taken in {retry_after:.3f} seconds.")
        self.retry_after = retry_after


class Unreadable(InvalidArgument):
    """The request is no message of this method: its bytes cannot be read as one."""


class TooManyCalls(Unavailable):
    """This replica has as many calls under way as it takes. Try again."""


@dataclass(slots=True)
class Call:
    """A call as far as it is known."""

    method: str
    request: Any
    """None if its bytes are no message of the method."""
    call_class: CallClass | None
    authorization: str = ""
    origin: Origin = field(default_factory=Origin)
    caller: Caller | None = None
    response: Any = None
    streams: bool = False
    limits: tuple[tuple[str, str], ...] = ()
    """What is left of the caller's limit, as headers; of a stream, as long as they have not been sent."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Surrounds unary and server-streaming methods. Those of libraries (health, reflection) go straight through."""

    def __init__(self, admission: Admission, max_concurrent_calls: int) -> None:
        self._admission = admission
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
        if handler is None or (permissions.is_public(method) and not method.startswith(OURS)):
            return handler  # type: ignore[return-value]  # None is gRPC's own way to say UNIMPLEMENTED
        if handler.request_streaming:
            raise NotImplementedError(f"{method}: the contract has no methods that take a stream of requests")
        read, write = _reader(handler.request_deserializer), handler.response_serializer
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(method, handler.unary_stream), read, write)
        return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary), read, write)

    def _unary(self, method: str, inner: Any) -> Callable[[Any, Context], Awaitable[Any]]:
        call_class = permissions.call_class(method)

        async def unary(request: Any, context: Context) -> Any:
            call = Call(method, request, call_class)
            async with self._surround(call, context):
                call.response = await inner(request, context)
                return call.response

        return unary

    def _stream(self, method: str, inner: Any) -> Callable[[Any, Context], Awaitable[None]]:
        call_class = permissions.call_class(method)

        # Not a generator itself: one that a cancelled call leaves behind would end in another task, outside of the
        # context that it has set.
        async def stream(request: Any, context: Context) -> None:
            call = Call(method, request, call_class, streams=True)
            async with self._surround(call, context), aclosing(inner(request, context)) as responses:
                checked_at = time.monotonic()
                async for response in responses:
                    # Who may no longer call is told nothing more, however long the stream has been open.
                    if time.monotonic() - checked_at > STREAM_CHECK_SECONDS:
                        await self._admit(call)
                        checked_at = time.monotonic()
                    await _send_limits(call, context)
                    await context.write(response)
                await _send_limits(call, context)

        return stream

    @asynccontextmanager
    async def _surround(self, call: Call, context: Context) -> AsyncIterator[None]:
        headers = headers_of(context)
        began = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        outcome = code.name
        call.authorization = headers.get("authorization", "")
        call.origin = self._origin(context, headers)
        self._under_way += 1
        CALLS_ACTIVE.inc()
        trailing = (("x-request-id", call.origin.request_id),)
        structlog.contextvars.bind_contextvars(method=call.method, request_id=call.origin.request_id)
        with telemetry.extract(headers.get("traceparent", "")), telemetry.span(call.method):
            try:
                if self._under_way > self._limit:
                    raise TooManyCalls
                context.set_trailing_metadata(trailing)
                await self._admit(call)
                await self._count(call, context)
                if call.request is None:
                    raise Unreadable
                if call.call_class is not None:
                    input_limits.check(call.request)
                yield
                code = grpc.StatusCode.OK
                outcome = code.name
            except grpc.aio.AbortError:
                code = grpc.StatusCode(context.code())
                outcome = code.name
                raise
            except Exception as error:  # noqa: BLE001 - the edge: every exception becomes a status, or is logged
                status = error_status.from_exception(error)
                code = rpc_status.to_status(status).code
                outcome = error_status.reason_of(status) or code.name
                await _abort(context, status, (*trailing, *call.limits))
            finally:
                self._under_way -= 1
                CALLS_ACTIVE.dec()
                self._note(call, outcome)
                seconds = time.perf_counter() - began
                CALL_SECONDS.labels(call.method, code.name).observe(seconds)
                log.debug("call", code=code.name, seconds=round(seconds, 6))

    async def _admit(self, call: Call) -> None:
        """Find out who calls, and whether they may. Methods that are open to all find out themselves, if at all."""
        if permissions.is_public(call.method):
            audit.set_origin(call.origin)
            return
        caller = call.caller = await self._admission.callers.caller(call.method, call.authorization)
        identity.set_caller(caller)
        audit.set_origin(call.origin)
        structlog.contextvars.bind_contextvars(user_id=caller.user_id)
        identity.authorise(caller, call.method)

    async def _count(self, call: Call, context: Context) -> None:
        """Count the call against the user's limit, and tell them what is left of it: before all answers, as headers.

        A stream sends them with its first answer: a refusal after headers is no error any more for HTTP.
        """
        user_id = call.caller.user_id if call.caller is not None else ""
        verdict = self._admission.limits.take(call.call_class, user_id)
        if verdict is None:
            return
        call.limits = (
            ("x-ratelimit-limit", str(verdict.limit)),
            ("x-ratelimit-remaining", str(verdict.remaining)),
            ("x-ratelimit-reset", str(verdict.reset_seconds)),
        )
        if not call.streams:
            await _send_limits(call, context)
        if not verdict.allowed:
            raise RateLimited(verdict.retry_after)

    def _origin(self, context: Context, headers: Mapping[str, str]) -> Origin:
        request_id = headers.get("x-request-id", "")
        forwarded = headers.get("x-forwarded-for", "")
        return Origin(
            address=caller_address(context.peer(), forwarded, self._admission.trusted_proxies),
            user_agent=audit.cleaned(headers.get("user-agent", "")),
            request_id=request_id if _REQUEST_ID.fullmatch(request_id) else f"{random.getrandbits(128):032x}",
        )

    def _note(self, call: Call, outcome: str) -> None:
        """Note for the audit log what changes something or is an administrator's, and who was refused."""
        log_of_actions = self._admission.audit
        if log_of_actions is None:
            return
        actor, api_key_id = (call.caller.user_id, call.caller.api_key_id) if call.caller else ("", "")
        if outcome in REFUSALS:
            key = f"{outcome} {actor or call.origin.address}"
            if not self._admission.refusals.take(key, time.monotonic()).allowed:
                return
        elif call.caller is None or call.call_class not in AUDITED:
            # For somebody unknown nothing was done, and anybody could fill the log with that.
            return
        elif outcome == "OK" and call.method in AUDITED_BY_THEMSELVES:
            return
        named = resource(call.method, call.request, call.response if outcome == "OK" else None)
        action = call.method.removeprefix("/")
        log_of_actions.record(audit.entry_of(actor, api_key_id, call.origin, action, named, outcome))


async def _send_limits(call: Call, context: Context) -> None:
    if call.limits:
        limits, call.limits = call.limits, ()
        await context.send_initial_metadata(limits)


async def _abort(context: Context, status: status_pb2.Status, trailing: tuple[tuple[str, str], ...]) -> None:
    parts = rpc_status.to_status(status)
    await context.abort(parts.code, parts.details, (*(parts.trailing_metadata or ()), *trailing))


def _reader(read: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Reads requests; gRPC itself would answer what cannot be read with its own words, before it is known who calls."""

    def request(data: bytes) -> Any:
        try:
            return data if read is None else read(data)
        except DecodeError:
            return None

    return request


def headers_of(context: Context) -> dict[str, str]:
    """The headers by name; what comes more than once stands together, as HTTP has it, so two tokens are none."""
    headers: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers
