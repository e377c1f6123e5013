"""The demo's workflow over the real stack gives what plain Python computes."""

from blockyard.client import Client, ExecutionStatus
from blockyard.graphs import load_graph

from tests.e2e import airports_in_python as plain

HONOLULU = (21.3069, -157.8583)


async def test_the_airports_workflow_gives_what_plain_python_computes(client: Client) -> None:
    latitude, longitude, radius_km = 39.7392, -104.9903, 2500.0
    expected = plain.airports(latitude, longitude, radius_km)
    graph = await client.graphs.create(load_graph(plain.GRAPH))

    execution = await client.executions.start(
        graph.id, {"csv": plain.DATA.read_text(encoding="utf-8"), "radius_km": radius_km}
    )
    results = await execution.result(timeout=120)

    assert results == {"states": [plain.states(expected)], "nearest": [plain.nearest(expected)]}
    ended = await execution.get()
    assert ended.status is ExecutionStatus.COMPLETED
    assert ended.node_executions >= plain.NODES_A_ROW * len(plain.rows())


async def test_another_point_gives_other_airports(client: Client) -> None:
    latitude, longitude = HONOLULU
    table = plain.DATA.read_text(encoding="utf-8").splitlines()
    hawaii = "\n".join([table[0], *(line for line in table if ",HI,USA," in line)])
    graph = await client.graphs.create(load_graph(plain.GRAPH))

    results = await client.run(
        graph.id, {"csv": hawaii, "latitude": latitude, "longitude": longitude, "radius_km": 200}, timeout=60
    )

    expected = plain.airports(latitude, longitude, 200)
    assert results == {"states": [plain.states(expected)], "nearest": [plain.nearest(expected)]}


async def test_a_table_without_rows_gives_empty_results(client: Client) -> None:
    graph = await client.graphs.create(load_graph(plain.GRAPH))
    results = await client.run(graph.id, {"csv": "iata,name,city,state,country,latitude,longitude\n"}, timeout=60)
    assert results == {"states": [[]], "nearest": [[]]}
