"""Asks a gRPC server whether it serves (grpc.health.v1), without stubs for it: the messages are two bytes."""

import grpc
import grpc.aio

CHECK = "/grpc.health.v1.Health/Check"
EVERYTHING = b""  # HealthCheckRequest with no service named: the server as a whole
SERVING = b"\x08\x01"  # HealthCheckResponse(status=SERVING)
OPTIONS = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))


def _bytes(message: bytes) -> bytes:
    return message


class HealthProbe:
    """A connection to one server, kept while it is asked again and again."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._check = self._channel.unary_unary(CHECK, request_serializer=_bytes, response_deserializer=_bytes)

    async def serving(self, timeout_seconds: float = 0.5) -> bool:
        """Whether the server answers SERVING within the time; waits that long for it to come up."""
        try:
            return await self._check(EVERYTHING, timeout=timeout_seconds, wait_for_ready=True) == SERVING
        except grpc.aio.AioRpcError:
            return False

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()
