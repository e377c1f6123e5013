"""Starts with a preset: what the call gives comes before it, and one request id stays one execution."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.graph.v1.preset_pb2 import Preset
from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceStub

from services.execution.catalogue import Catalogue
from services.execution.catalogue import Preset as KeptPreset
from services.execution.planning import Limits
from tests.integration.execution.catalogue import GraphBuilder, MemoryCatalogue, serving
from tests.integration.execution.house import House, house
from tests.integration.execution.test_bad_input import refusal


def summing(built: House) -> None:
    """A graph with the inputs "number", which is required, and "note"; and a preset of it."""
    graph = built.graph()
    graph.input("number", {"type": "integer"}, required=True)
    graph.input("note", {"type": "string"})
    graph.node("one", "add")
    graph.link("number.result", "one.a")
    built.catalogue.add(graph)
    keep(built, number=2**53 + 1, note="of the preset")


def keep(built: House, preset_id: str = "preset", /, **inputs: Any) -> None:
    data = json.dumps(inputs).encode()
    built.catalogue.presets[preset_id] = Preset(id=preset_id, graph_id="graph", inputs_json=data)


@pytest.fixture(scope="module")
def built(runner: asyncio.Runner, postgres: PostgresServer) -> Any:
    context = house(postgres)
    opened = runner.run(context.__aenter__())
    runner.run(opened.add_replica())
    yield opened
    runner.run(context.__aexit__(None, None, None))


async def inputs_of(built: House, execution_id: str) -> Any:
    return json.loads((await built.client().get(execution_id)).inputs_json)


async def test_a_preset_gives_what_the_call_does_not(built: House) -> None:
    summing(built)
    plain = await built.client().start("", preset_id="preset")
    assert (plain.graph_id, await inputs_of(built, plain.id)) == (
        "graph",
        {"number": 2**53 + 1, "note": "of the preset"},
    )
    changed = await built.client().start(preset_id="preset", inputs={"note": "of the call"})
    assert await inputs_of(built, changed.id) == {"number": 2**53 + 1, "note": "of the call"}
    emptied = await built.client().start(preset_id="preset", inputs={"note": None})
    assert await inputs_of(built, emptied.id) == {"number": 2**53 + 1, "note": None}


async def test_one_request_is_one_execution_whatever_becomes_of_the_preset(built: House) -> None:
    summing(built)
    first = await built.client().start("", preset_id="preset", request_id="once")
    keep(built, number=7)
    assert (await built.client().start("", preset_id="preset", request_id="once")).id == first.id
    del built.catalogue.presets["preset"]
    assert (await built.client().start("", preset_id="preset", request_id="once")).id == first.id
    again = built.client().start("", preset_id="other", request_id="once")
    assert (await refusal(again))[1] == "REQUEST_ID_REUSED"
    again = built.client().start(inputs={"number": 2**53 + 1, "note": "of the preset"}, request_id="once")
    assert (await refusal(again))[1] == "REQUEST_ID_REUSED"


async def test_what_is_wrong_with_a_preset_is_told_as_the_presets(built: House) -> None:
    summing(built)
    assert await refusal(built.client().start("", preset_id="none")) == ("NOT_FOUND", "PRESET_NOT_FOUND", [])
    assert await refusal(built.client().start("")) == ("INVALID_ARGUMENT", "INVALID_REQUEST", ["graph_id"])
    keep(built, number="text", gone=1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await built.client().start("", preset_id="preset", inputs={"note": 7})
    details = str(refused.value.trailing_metadata())
    assert details.count("(the preset gives it)") == 2, details


async def test_an_input_whose_name_begins_like_one_of_the_preset_is_the_calls(built: House) -> None:
    summing(built)
    keep(built, no=1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await built.client().start("", preset_id="preset", inputs={"number": 1, "nothing": 1})
    details = str(refused.value.trailing_metadata())
    assert "inputs.nothing" in details
    assert details.count("(the preset gives it)") == 1, details


@asynccontextmanager
async def asking(answers: MemoryCatalogue) -> AsyncIterator[Catalogue]:
    async with serving(answers) as address, grpc.aio.insecure_channel(address) as channel:
        yield Catalogue(CatalogueServiceStub(channel), Limits(1000, 60_000, 60_000))


async def test_a_preset_costs_no_question_of_its_own_and_its_graph_is_compiled_once() -> None:
    answers = MemoryCatalogue()
    graph = GraphBuilder("graph")
    graph.node("a")
    answers.add(graph)
    answers.lease_seconds = 60.0
    answers.presets = {name: Preset(id=name, graph_id="graph", inputs_json=b"{}") for name in ("one", "two")}
    async with asking(answers) as catalogue:
        one = await catalogue.to_start("anna", "", 0, "one")
        assert answers.questions == 1
        assert (await catalogue.to_start("anna", "", 0, "two")).runnable is one.runnable
        answers.presets["one"] = Preset(id="one", graph_id="graph", inputs_json=b'{"x": 1}')
        again = await catalogue.to_start("anna", "", 0, "one")
        assert (again.runnable is one.runnable, again.preset.inputs) == (True, {"x": 1})
        assert (answers.questions, answers.leased) == (3, 0)


async def test_a_preset_is_kept_no_longer_than_its_start() -> None:
    answers = MemoryCatalogue()
    graph = GraphBuilder("graph")
    graph.node("a")
    answers.add(graph)
    name = "of the preset that is kept for nobody"
    answers.presets = {"large": Preset(id="large", graph_id="graph", inputs_json=json.dumps({name: 1}).encode())}
    async with asking(answers) as catalogue:
        found = await catalogue.to_start("anna", "", 0, "large")
        assert found.preset.inputs == {name: 1}
        del found
        gc.collect()
        kept = [one for one in gc.get_objects() if isinstance(one, KeptPreset) and name in one.inputs]
        assert kept == []
