"""Channels from one service to another: a token of its own, deadlines, keepalive, and retries of what may repeat."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import orjson
import structlog
from blockyard.tls_trouble import tls_trouble

from services.common import identity, telemetry, tls
from services.common.renewing import RenewingChannel
from services.common.tls import TlsFiles

DEFAULT_DEADLINE_SECONDS = 10.0
TELL_SECONDS = 10.0
"""How often one channel's trouble with TLS is logged."""
MESSAGE_BYTES = 16 * 1024 * 1024
"""A message at most, of clients and servers alike."""


log = structlog.stdlib.get_logger(__name__)


class ServiceCredentials:
    """The token with which a service calls others, made anew at half of its life; and its certificates, if it has any.

    With an authority in `files`, channels are made over TLS, to servers with a certificate of it alone.
    """

    def __init__(
        self,
        secret: str,
        name: str,
        files: TlsFiles = TlsFiles(),  # noqa: B008 - a frozen value
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.files = files
        self._secret = secret
        self._name = name
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of one call."""
        now = self._clock()
        if not self._token or now >= self._renew_at:
            self._token = identity.service_token(self._secret, self._name)
            self._renew_at = now + identity.SERVICE_TOKEN_SECONDS / 2
        traceparent = telemetry.inject()
        trace = (("traceparent", traceparent),) if traceparent else ()
        return (("authorization", f"Bearer {self._token}"), *trace)


def channel(
    address: str,
    credentials: ServiceCredentials,
    *,
    deadline: float = DEFAULT_DEADLINE_SECONDS,
    idempotent: Sequence[str] = (),
) -> grpc.aio.Channel:
    """A channel that spreads calls over all addresses of a name.

    `idempotent` lists full method names ("blockyard.runner.v1.CatalogueService/GetRunnableGraph") which are repeated
    while the other side is UNAVAILABLE, within the call's deadline.
    """
    target = address if "://" in address else f"dns:///{address}"
    options: list[tuple[str, str | int]] = [
        ("grpc.service_config", orjson.dumps(_service_config(idempotent)).decode()),
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # By default addresses are looked up twice a minute at most: a pod that was replaced would be called until then.
        # They are looked up when a connection ends, and while none can be made. Where names are cached, whoever
        # takes a replica's place must have been there for as long by then: the chart's minReadySeconds see to that.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ]
    interceptors = [_CallDetails(address, credentials, deadline)]
    if credentials.files.ca is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    if target.startswith(("ipv4:", "ipv6:")):
        # gRPC would look for the whole list in the certificates.
        first, _, _ = target.partition(":")[2].strip("/").partition(",")
        options.append(("grpc.default_authority", first.rpartition(":")[0]))

    def over_tls(material: tls.Material) -> grpc.aio.Channel:
        made = tls.channel_credentials(material)
        return grpc.aio.secure_channel(target, made, options=options, interceptors=interceptors)

    return RenewingChannel(credentials.files, over_tls)


def _service_config(idempotent: Sequence[str]) -> dict[str, object]:
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if idempotent:
        names = [dict(zip(("service", "method"), name.strip("/").split("/"), strict=True)) for name in idempotent]
        policy = {
            "maxAttempts": 5,  # gRPC's own upper limit
            "initialBackoff": "0.1s",
            "maxBackoff": "2s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        config["methodConfig"] = [{"name": names, "retryPolicy": policy}]
    return config


class _CallDetails(grpc.aio.UnaryUnaryClientInterceptor):
    """Gives each unary call the token, and a deadline when it has none."""

    def __init__(self, address: str, credentials: ServiceCredentials, deadline: float) -> None:
        self._address = address
        self._tell_at = 0.0
        self._credentials = credentials
        self._deadline = deadline

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,  # Any: any message of any method
    ) -> Any:
        """Add what the call lacks, and go on."""
        metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()), *self._credentials.metadata())
        timeout = self._deadline if client_call_details.timeout is None else client_call_details.timeout
        details = grpc.aio.ClientCallDetails(
            client_call_details.method,
            timeout,
            metadata,
            client_call_details.credentials,
            client_call_details.wait_for_ready,
        )
        call = await continuation(details, request)
        try:
            unavailable = await call.code() is grpc.StatusCode.UNAVAILABLE
        except asyncio.CancelledError:
            call.cancel()  # it would go on until its deadline
            raise
        if unavailable and (trouble := tls_trouble(await call.details() or "")):
            self._tell(trouble)
        return call

    def _tell(self, trouble: str) -> None:
        """Whoever called tries again and says no more than that the other side is away."""
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + TELL_SECONDS
            log.error("another service cannot be called", address=self._address, reason=trouble)
