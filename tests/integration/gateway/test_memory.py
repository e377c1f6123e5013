"""The memory of the edge: bodies that are held do not fill it, and those who hold them are ended for others."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from blockyard.graph.v1.graph_service_pb2 import GetGraphResponse

from tests.integration.gateway.conftest import BODY_BYTES, Front, fronted
from tests.integration.gateway.test_rest import GET, error
from tests.integration.gateway.upstream import answering
from tests.waiting import until

SMALL = {"BLOCKYARD_EDGE_HEAP_BYTES": str(64 << 20)}
HEAD = (
    f"POST /api/graphs HTTP/1.1\r\nhost: edge\r\ncontent-type: application/json\r\ncontent-length: {BODY_BYTES}\r\n\r\n"
)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def all_but_a_byte(front: Front) -> Connection:
    """A connection whose request lacks the last byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.edge.port)
    writer.write(HEAD.encode() + b" " * (BODY_BYTES - 1))
    return reader, writer


async def test_an_edge_that_is_full_refuses_ends_who_holds_it_and_lives_on(tmp_path: Path) -> None:
    async with fronted(tmp_path, SMALL) as front:
        front.answer(GET, answering(GetGraphResponse()))
        held: list[Connection] = []

        async def full() -> bool:
            held.append(await all_but_a_byte(front))
            return (await front.client.get("/api/graphs/g")).status_code == 503

        async def free() -> bool:
            return (await front.client.get("/api/graphs/g")).status_code == 200

        await until(full, "the edge is full")
        refused = await front.client.get("/api/graphs/g")
        assert (refused.status_code, refused.headers["retry-after"], error(refused)[0]) == (503, "1", "UNAVAILABLE")
        for path in ("/ready", "/metrics"):
            observed = f"http://127.0.0.1:{front.edge.observation_port}{path}"
            assert (await front.client.get(observed)).status_code == 200
        assert b" 408 " in await held[0][0].readline()
        await until(free, "there is room again")
        for _, writer in held:
            writer.close()


async def test_large_streams_of_http_2_are_reset(tmp_path: Path) -> None:
    async def most_of_a_body() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES // 65536 - 1):
            yield b" " * 65536
        await asyncio.Event().wait()

    async with fronted(tmp_path, SMALL) as front, grpc.aio.insecure_channel(front.edge.address) as channel:
        post: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary("/api/graphs")
        calls = [post(most_of_a_body()) for _ in range(60)]
        await until(lambda: any(call.done() for call in calls), "a stream is reset")
        metrics = await front.client.get(f"http://127.0.0.1:{front.edge.observation_port}/metrics")
        for call in calls:
            call.cancel()
    count = "envoy_envoy_overload_actions_reset_high_memory_stream_count{} "
    (line,) = [line for line in metrics.text.splitlines() if line.startswith(count)]
    assert int(line.removeprefix(count)) > 0
