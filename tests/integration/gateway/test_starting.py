"""The start of the edge: on the first port that nobody has, with what it lacks said in a sentence."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blockyard.dev.edge import Edge, start_on_first
from blockyard.dev.errors import DevelopmentStackError, PortTaken
from blockyard.dev.ports import free_port

from tests.integration.gateway.upstream import Upstream


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_port_that_is_taken_is_said_and_another_one_used(tmp_path: Path, taken: int) -> None:
    said: list[str] = []
    edges: list[Edge] = []

    def edge_on(port: int) -> Edge:
        edges.append(Edge(tmp_path / "edge", port, tmp_path / "edge.log", {"graph": Upstream().address}, {}))
        return edges[-1]

    try:
        await start_on_first((taken, 0), edge_on, said.append)
        assert [edge.process.alive() for edge in edges] == [False, True]
        assert edges[1].port != taken
        with pytest.raises(PortTaken, match=f"Port {taken} of 127.0.0.1 is taken by another program"):
            await start_on_first((taken,), edge_on, said.append)
    finally:
        for edge in edges:
            await edge.kill()
    assert said == [f"Port {taken} of 127.0.0.1 is taken by another program. The edge takes another one."]


@pytest.mark.parametrize("port_of", [lambda: 0, free_port], ids=["any port", "this port"])
async def test_a_port_of_observation_that_was_taken_meanwhile_moves_the_edge_to_no_other(
    tmp_path: Path, taken: int, port_of: Callable[[], int]
) -> None:
    port = port_of()
    said: list[str] = []
    edges: list[Edge] = []

    def edge_on(chosen: int) -> Edge:
        meanwhile = {"BLOCKYARD_EDGE_METRICS_PORT": str(taken)} if not edges else {}
        endpoints = {"graph": Upstream().address}
        edges.append(Edge(tmp_path / "edge", chosen, tmp_path / "edge.log", endpoints, meanwhile))
        return edges[-1]

    try:
        await start_on_first((port,), edge_on, said.append)
        assert [edge.process.alive() for edge in edges] == [False, True]
        assert not port or edges[1].port == port
    finally:
        for edge in edges:
            await edge.kill()
    assert said == []


async def test_a_setting_that_is_wrong_is_shown(tmp_path: Path) -> None:
    edge = Edge(tmp_path / "edge", 1, tmp_path / "edge.log", {}, {"BLOCKYARD_EDGE_TIMEOUT": "soon"})
    with pytest.raises(DevelopmentStackError, match=r"(?s)could not be made.*BLOCKYARD_EDGE_TIMEOUT: input should be"):
        await edge.start()
