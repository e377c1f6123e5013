"""Presets, over gRPC and PostgreSQL: what is stored, what is refused, and what a start is given."""

import asyncio
import json
import uuid
from typing import Any

import grpc
from blockyard.dev.postgres import PostgresServer
from blockyard.graph.v1 import graph_service_pb2 as graph_messages
from blockyard.graph.v1 import preset_service_pb2 as messages
from blockyard.graph.v1.graph_pb2 import Graph
from blockyard.graph.v1.preset_pb2 import Preset
from blockyard.runner.v1.catalogue_service_pb2 import (
    CatalogueServiceFindCredentialUsesRequest,
    GetRunnableGraphRequest,
    GetRunnableGraphResponse,
)
from google.protobuf.field_mask_pb2 import FieldMask

from services.common.structs import from_struct
from tests.integration.graph.service import Caller, Service, graph_service
from tests.integration.graph.test_graphs import create, update
from tests.overlapping import let_overlap
from tests.unit.graph.building import BLOCKS, block, graph, link, node

KEYED = {
    "credentials_provider": ["acme"],
    "credentials_types": ["api_key"],
    "type": "object",
    "properties": {"id": {}, "provider": {"const": "acme"}, "type": {"const": "api_key"}},
}


async def store(caller: Caller, graph_id: str, request_id: str = "", /, **fields: Any) -> Preset:
    inputs = fields.pop("inputs", None)
    if inputs is not None:
        fields["inputs_json"] = json.dumps(inputs).encode()
    preset = Preset(graph_id=graph_id, **{"name": "a preset", **fields})
    request = messages.CreatePresetRequest(preset=preset, request_id=request_id)
    made: Preset = (await caller.call("CreatePreset", request)).preset
    return made


def written(graph_id: str, **fields: Any) -> messages.CreatePresetRequest:
    inputs = json.dumps(fields.pop("inputs", {})).encode()
    preset = Preset(graph_id=graph_id, inputs_json=inputs, **{"name": "a preset", **fields})
    return messages.CreatePresetRequest(preset=preset)


async def runnable(service: Service, **fields: Any) -> GetRunnableGraphResponse:
    request = GetRunnableGraphRequest(**{"user_id": "anna", **fields})
    answer: GetRunnableGraphResponse = await service.service().call("GetRunnableGraph", request)
    return answer


async def test_a_preset_comes_back_as_it_was_stored(service: Service) -> None:
    anna = service.user()
    made = await create(anna)
    preset = await store(anna, made.id, description="why", inputs={"count": 2**53 + 1})
    got = (await anna.call("GetPreset", messages.GetPresetRequest(preset_id=preset.id))).preset
    assert got == preset
    assert (got.graph_id, got.graph_version, got.user_id, got.name, got.description) == (
        made.id,
        0,
        "anna",
        "a preset",
        "why",
    )
    assert json.loads(got.inputs_json) == {"count": 2**53 + 1}
    assert from_struct(got.inputs) == {"count": float(2**53)}
    assert got.create_time == got.update_time


async def test_inputs_are_judged_by_the_graph(service: Service) -> None:
    anna = service.user()
    made = await create(anna)
    refused = await anna.refused("CreatePreset", written(made.id, inputs={"count": "three", "size": 1}))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PRESET_INVALID")
    assert refused.fields == {
        "inputs.count": 'expected a whole number, got "three"',
        "inputs.size": "the graph has no input 'size'; it has: count",
    }
    assert (await anna.refused("CreatePreset", written(made.id, name=""))).fields == {
        "name": "is required: 1 to 200 characters"
    }
    assert (await anna.refused("CreatePreset", written(""))).fields == {"graph_id": "is required"}
    malformed = messages.CreatePresetRequest(
        preset=Preset(graph_id=made.id, name="n", inputs_json=b"[1]", graph_version=-1)
    )
    assert (await anna.refused("CreatePreset", malformed)).fields == {
        "inputs_json": "expected a JSON object with a value for each pin, got a list",
        "graph_version": "must not be negative, got -1",
    }
    of_version_7 = await anna.refused("CreatePreset", written(made.id, graph_version=7))
    assert (of_version_7.code, of_version_7.reason) == (grpc.StatusCode.NOT_FOUND, "GRAPH_NOT_FOUND")


async def test_a_preset_keeps_no_secret_and_no_message_shows_one(service: Service) -> None:
    anna = service.user()
    made = await create(
        anna,
        graph(
            [node("key", "InputBlock", name="key"), node("c", "ChoiceBlock", operation="Add", x=1)],
            [link("key.result", "c.secret")],
        ),
    )
    refused = await anna.refused("CreatePreset", written(made.id, inputs={"key": "hunter2"}))
    assert list(refused.fields) == ["inputs.key"]
    assert "is a secret" in refused.fields["inputs.key"]
    refused = await anna.refused("CreatePreset", written(made.id, credentials={"acme_api_key": "hunter2"}))
    assert list(refused.fields) == ["credentials.acme_api_key"]
    assert "hunter2" not in str(refused)


async def test_credentials_are_named_by_the_fields_of_the_graph(service: Service) -> None:
    anna = service.user()
    keyed = block("KeyedBlock", {"credentials": KEYED}, {"result": {}, "error": {"type": "string"}})
    await service.register([*BLOCKS, keyed])
    made = await create(anna, graph([node("k", "KeyedBlock")]))
    credential_id = str(uuid.uuid4())
    [field] = made.credentials_fields
    preset = await store(anna, made.id, credentials={field.name: credential_id, "k.credentials": credential_id})
    assert dict(preset.credentials) == {field.name: credential_id, "k.credentials": credential_id}

    refused = await anna.refused("CreatePreset", written(made.id, credentials={"other": credential_id}))
    assert refused.fields == {"credentials.other": f"the graph has no such field; it has: {field.name}"}

    request = CatalogueServiceFindCredentialUsesRequest(user_id="anna", credential_id=credential_id)
    uses = (await service.service().call("FindCredentialUses", request)).uses
    assert [(use.graph_id, use.preset_id) for use in uses] == [(made.id, preset.id)]


async def test_a_change_is_of_what_the_mask_names(service: Service) -> None:
    anna = service.user()
    made = await create(anna)
    preset = await store(anna, made.id, description="why", inputs={"count": 1})
    change = Preset(id=preset.id, name="renamed", inputs_json=b'{"count": 9}')
    request = messages.UpdatePresetRequest(preset=change, update_mask=FieldMask(paths=["name"]))
    changed = (await anna.call("UpdatePreset", request)).preset
    assert (changed.name, changed.description, json.loads(changed.inputs_json)) == ("renamed", "why", {"count": 1})
    assert changed.update_time.ToNanoseconds() > preset.update_time.ToNanoseconds()

    request = messages.UpdatePresetRequest(preset=change, update_mask=FieldMask(paths=["inputs_json"]))
    assert json.loads((await anna.call("UpdatePreset", request)).preset.inputs_json) == {"count": 9}
    request = messages.UpdatePresetRequest(preset=change, update_mask=FieldMask(paths=["graph_id"]))
    assert list((await anna.refused("UpdatePreset", request)).fields) == ["update_mask"]
    unmasked = messages.UpdatePresetRequest(preset=Preset(id=preset.id, description="because"))
    changed = (await anna.call("UpdatePreset", unmasked)).preset
    assert (changed.name, changed.description, changed.inputs_json) == ("renamed", "because", b'{"count":9}')
    moved = Preset(id=preset.id, graph_id=str(uuid.uuid4()), name="moved")
    refused = await anna.refused("UpdatePreset", messages.UpdatePresetRequest(preset=moved))
    assert list(refused.fields) == ["graph_id"]
    bad = messages.UpdatePresetRequest(preset=Preset(id=preset.id, name="n", inputs_json=b'{"count": "x"}'))
    assert list((await anna.refused("UpdatePreset", bad)).fields) == ["inputs.count"]


async def test_a_preset_that_its_graph_does_not_fit_any_more_can_be_renamed(service: Service) -> None:
    anna = service.user()
    made = await create(anna)
    preset = await store(anna, made.id, inputs={"count": 1})
    await update(anna, graph([node("only", "TextBlock", text="b")], id=made.id), "*")

    idle = messages.UpdatePresetRequest(preset=Preset(id=preset.id))
    assert (await anna.call("UpdatePreset", idle)).preset == preset
    renamed = messages.UpdatePresetRequest(preset=Preset(id=preset.id, name="other", description="why"))
    changed = (await anna.call("UpdatePreset", renamed)).preset
    assert (changed.name, changed.description, changed.inputs_json) == ("other", "why", preset.inputs_json)
    nameless = messages.UpdatePresetRequest(preset=Preset(id=preset.id), update_mask=FieldMask(paths=["name"]))
    assert list((await anna.refused("UpdatePreset", nameless)).fields) == ["name"]
    given = messages.UpdatePresetRequest(preset=Preset(id=preset.id, inputs_json=b'{"count": 2}'))
    assert list((await anna.refused("UpdatePreset", given)).fields) == ["inputs.count"]


async def test_changes_at_the_same_time_are_all_made(service: Service) -> None:
    anna = service.user()
    preset = await store(anna, (await create(anna)).id)
    changes = [
        messages.UpdatePresetRequest(
            preset=Preset(id=preset.id, name="renamed"), update_mask=FieldMask(paths=["name"])
        ),
        messages.UpdatePresetRequest(
            preset=Preset(id=preset.id, inputs_json=b'{"count": 5}'), update_mask=FieldMask(paths=["inputs"])
        ),
    ]
    await asyncio.gather(*(anna.call("UpdatePreset", change) for change in changes))
    got = (await anna.call("GetPreset", messages.GetPresetRequest(preset_id=preset.id))).preset
    assert (got.name, json.loads(got.inputs_json)) == ("renamed", {"count": 5})


async def test_the_same_request_makes_one_preset(service: Service) -> None:
    anna, request_id = service.user(), uuid.uuid4().hex
    made = await create(anna)
    presets = await asyncio.gather(*(store(anna, made.id, request_id) for _ in range(6)))
    assert len({one.id for one in presets}) == 1
    other = messages.CreatePresetRequest(preset=Preset(graph_id=made.id, name="other"), request_id=request_id)
    refused = await anna.refused("CreatePreset", other)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_presets_are_listed_newest_first_in_pages_of_one_graph_or_all(service: Service) -> None:
    dora = service.user("dora")
    first, second = await create(dora), await create(dora)
    stored = [await store(dora, one.id, name=name) for one, name in ((first, "a"), (first, "b"), (second, "c"))]

    async def pages(**fields: Any) -> list[str]:
        names, token = [], ""
        while True:
            request = messages.ListPresetsRequest(page_size=1, page_token=token, **fields)
            answer = await dora.call("ListPresets", request)
            names += [one.name for one in answer.presets]
            token = answer.next_page_token
            if not token:
                return names

    assert await pages() == ["c", "b", "a"]
    assert await pages(graph_id=first.id) == ["b", "a"]
    await dora.call("DeletePreset", messages.DeletePresetRequest(preset_id=stored[0].id))
    assert await pages() == ["c", "b"]


async def test_presets_go_with_their_graph(service: Service) -> None:
    anna = service.user()
    made = await create(anna)
    preset = await store(anna, made.id)
    await anna.call("DeleteGraph", graph_messages.DeleteGraphRequest(graph_id=made.id))
    refused = await anna.refused("GetPreset", messages.GetPresetRequest(preset_id=preset.id))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "PRESET_NOT_FOUND")
    assert (await anna.refused("CreatePreset", written(made.id))).reason == "GRAPH_NOT_FOUND"


async def test_presets_of_others_are_not_there(service: Service) -> None:
    anna, bert = service.user(), service.user("bert")
    made = await create(anna)
    preset = await store(anna, made.id)
    for method, request in (
        ("GetPreset", messages.GetPresetRequest(preset_id=preset.id)),
        ("DeletePreset", messages.DeletePresetRequest(preset_id=preset.id)),
        ("UpdatePreset", messages.UpdatePresetRequest(preset=Preset(id=preset.id, name="mine"))),
        ("GetPreset", messages.GetPresetRequest(preset_id="no id")),
    ):
        assert (await bert.refused(method, request)).reason == "PRESET_NOT_FOUND"
    assert (await bert.refused("CreatePreset", written(made.id))).reason == "GRAPH_NOT_FOUND"


async def test_a_start_is_given_the_preset_with_its_graph(service: Service) -> None:
    anna = service.user()
    made = await create(anna)
    pinned = await store(anna, made.id, inputs={"count": 4}, graph_version=1)
    following = await store(anna, made.id)
    await update(anna, Graph(id=made.id, name="second"), "name")

    answer = await runnable(service, preset_id=pinned.id)
    assert (answer.graph.id, answer.graph.version, answer.preset.name) == (made.id, 1, "a preset")
    assert json.loads(answer.preset.inputs_json) == {"count": 4}
    again = await runnable(service, preset_id=pinned.id, known_etag=answer.etag, graph_id=made.id)
    assert (again.etag, again.graph.id, again.preset) == (answer.etag, "", answer.preset)
    assert (await runnable(service, preset_id=following.id)).graph.version == 2
    assert (await runnable(service, preset_id=following.id, version=1)).graph.version == 1

    other = GetRunnableGraphRequest(user_id="anna", preset_id=pinned.id, graph_id=(await create(anna)).id)
    assert list((await service.service().refused("GetRunnableGraph", other)).fields) == ["graph_id"]
    foreign = GetRunnableGraphRequest(user_id="bert", preset_id=pinned.id)
    assert (await service.service().refused("GetRunnableGraph", foreign)).reason == "PRESET_NOT_FOUND"


async def test_presets_have_limits(postgres: PostgresServer) -> None:
    async with graph_service(postgres, user_presets=2, preset_bytes=1024) as small:
        await small.register(BLOCKS)
        anna = small.user()
        made = await create(anna)
        for _ in range(2):
            await store(anna, made.id)
        refused = await anna.refused("CreatePreset", written(made.id))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
        large = await anna.refused("CreatePreset", written(made.id, inputs={"count": [1] * 600}))
        assert large.fields == {"inputs": "has 1211 bytes, at most 1024 are taken"}


async def test_a_limit_holds_for_presets_that_are_made_at_once(postgres: PostgresServer) -> None:
    async with graph_service(postgres, user_presets=3) as small:
        await small.register(BLOCKS)
        anna = small.user()
        made = await create(anna)
        await let_overlap(small.database_url, "graph.presets")
        results = await asyncio.gather(*(store(anna, made.id) for _ in range(8)), return_exceptions=True)
        codes = [result.code() for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 5
