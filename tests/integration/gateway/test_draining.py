"""Before an edge ends in order, its clients are asked to connect anew."""

from pathlib import Path

import httpx2
from blockyard.dev.ports import free_port
from blockyard.graph.v1.graph_service_pb2 import ListGraphsResponse

from tests.integration.gateway.conftest import fronted
from tests.integration.gateway.upstream import answering


async def test_clients_are_asked_to_connect_anew_while_they_are_still_served(tmp_path: Path) -> None:
    port = free_port()
    settings = {"BLOCKYARD_EDGE_DRAIN_PORT": str(port), "BLOCKYARD_EDGE_DRAIN_SECONDS": "1"}
    async with fronted(tmp_path, settings) as front, httpx2.AsyncClient(timeout=20) as kubelet:
        front.answer("graph.v1.GraphService/ListGraphs", answering(ListGraphsResponse()))
        before = await front.client.get("/api/graphs")
        assert (before.status_code, before.headers.get("connection")) == (200, None)
        refused = await kubelet.post(f"http://127.0.0.1:{port}/drain")
        assert refused.status_code == 404
        assert (await front.client.get("/api/graphs")).headers.get("connection") is None
        hook = await kubelet.get(f"http://127.0.0.1:{port}/drain?pod=edge-0")
        assert hook.status_code == 200, hook.elapsed
        assert hook.elapsed.total_seconds() >= 0.9, hook.elapsed
        after = await front.client.get("/api/graphs")
        assert (after.status_code, after.headers.get("connection")) == (200, "close")


async def test_a_hook_is_told_when_the_edge_does_not_drain(tmp_path: Path) -> None:
    port = free_port()
    async with fronted(tmp_path, {"BLOCKYARD_EDGE_DRAIN_PORT": str(port)}) as front, httpx2.AsyncClient() as kubelet:
        (tmp_path / "edge" / "admin.sock").unlink()
        hook = await kubelet.get(f"http://127.0.0.1:{port}/drain", timeout=20)
        assert (hook.status_code, hook.text) == (503, "The edge does not drain, see its log.\n")
        front.answer("graph.v1.GraphService/ListGraphs", answering(ListGraphsResponse()))
        assert (await front.client.get("/api/graphs")).headers.get("connection") is None
