"""Every method of GraphService, over gRPC and PostgreSQL."""

import asyncio
import json
import uuid

import grpc
from blockyard.graph.v1 import graph_service_pb2 as messages
from blockyard.graph.v1.graph_pb2 import ExecutionLimits, Graph
from blockyard.runner.v1.catalogue_service_pb2 import GetGraphNamesRequest
from google.protobuf.field_mask_pb2 import FieldMask

from services.common.structs import from_struct
from tests.integration.graph.service import Caller, Service
from tests.unit.graph.building import block_id, graph, node, small_graph


async def create(caller: Caller, written: Graph | None = None, request_id: str = "") -> Graph:
    request = messages.CreateGraphRequest(graph=written or small_graph(), request_id=request_id)
    made: Graph = (await caller.call("CreateGraph", request)).graph
    return made


async def get(caller: Caller, graph_id: str, version: int = 0) -> Graph:
    got: Graph = (await caller.call("GetGraph", messages.GetGraphRequest(graph_id=graph_id, version=version))).graph
    return got


async def update(caller: Caller, changed: Graph, *paths: str, expected: int = 0) -> Graph:
    request = messages.UpdateGraphRequest(
        graph=changed, update_mask=FieldMask(paths=paths), expected_latest_version=expected
    )
    updated: Graph = (await caller.call("UpdateGraph", request)).graph
    return updated


async def test_a_created_graph_is_whole_and_version_1(service: Service) -> None:
    written = small_graph(description="why", limits=ExecutionLimits(max_node_executions=7))
    made = await create(service.user(), written)

    assert (made.version, made.active_version, made.latest_version) == (1, 1, 1)
    assert (made.user_id, made.name, made.description) == ("anna", "test", "why")
    assert made.limits.max_node_executions == 7
    assert [one.block_id for one in made.nodes] == [
        block_id("NumberInputBlock"),
        block_id("TextBlock"),
        block_id("OutputBlock"),
    ]
    assert [(one.id, one.static) for one in made.links] == [("link-1", True), ("link-2", False)]
    assert from_struct(made.input_schema)["properties"]["count"]["default"] == 3
    assert from_struct(made.output_schema)["properties"]["result"]["type"] == "array"
    assert made.create_time == made.update_time
    assert await get(service.user(), made.id) == made


async def test_without_a_mask_what_is_set_is_changed_and_nothing_makes_no_version(service: Service) -> None:
    made = await create(service.user(), small_graph(description="why"))

    changed = await update(service.user(), Graph(id=made.id, name="renamed"))
    same = await update(service.user(), Graph(id=made.id))

    assert (changed.name, changed.description, changed.nodes) == ("renamed", "why", made.nodes)
    assert (changed.latest_version, same.latest_version) == (2, 2)


async def test_constants_come_back_in_both_forms_and_exact(service: Service) -> None:
    exact = 2**63 - 1
    made = await create(service.user(), graph([node("p", "PairBlock", a=exact, b=[1.5, None])]))
    assert json.loads(made.nodes[0].inputs_json) == {"a": exact, "b": [1.5, None]}
    assert from_struct(made.nodes[0].inputs) == {"a": float(exact), "b": [1.5, None]}


async def test_warnings_come_with_the_answer(service: Service) -> None:
    request = messages.CreateGraphRequest(graph=graph([node("t", "TextBlock", text="a")]))
    answer = await service.user().call("CreateGraph", request)
    assert [warning.field for warning in answer.warnings] == ["nodes"]


async def test_the_same_request_twice_makes_one_graph(service: Service) -> None:
    request_id = uuid.uuid4().hex
    first = await create(service.user(), request_id=request_id)
    await update(service.user(), Graph(id=first.id, name="changed since"), "name")
    again = await create(service.user(), request_id=request_id)
    assert (again.id, again.version, again.name) == (first.id, 1, "test")
    assert (await create(service.user("bert"), request_id=request_id)).id != first.id


async def test_the_same_request_at_the_same_time_makes_one_graph(service: Service) -> None:
    request_id = uuid.uuid4().hex
    made = await asyncio.gather(*(create(service.user(), request_id=request_id) for _ in range(8)))
    assert len({one.id for one in made}) == 1


async def test_a_request_id_with_another_graph_is_refused(service: Service) -> None:
    request_id = uuid.uuid4().hex
    await create(service.user(), request_id=request_id)
    other = messages.CreateGraphRequest(graph=small_graph(name="other"), request_id=request_id)
    refused = await service.user().refused("CreateGraph", other)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_an_update_makes_a_version_and_leaves_the_old_one_alone(service: Service) -> None:
    caller = service.user()
    first = await create(caller)
    changed = await update(caller, Graph(id=first.id, name="renamed", description="ignored"), "name")

    assert (changed.version, changed.active_version, changed.latest_version) == (2, 2, 2)
    assert (changed.name, changed.description, len(changed.nodes)) == ("renamed", "", 3)
    old = await get(caller, first.id, 1)
    assert (old.name, old.version, old.latest_version) == ("test", 1, 2)
    assert old.nodes == first.nodes


async def test_an_update_of_all_fields_replaces_everything(service: Service) -> None:
    caller = service.user()
    first = await create(caller, small_graph(description="to go"))
    replacement = graph([node("only", "TextBlock", text="b")], id=first.id, name="new")
    changed = await update(caller, replacement, "*")
    assert (changed.name, changed.description, [one.id for one in changed.nodes]) == ("new", "", ["only"])
    assert len(changed.links) == 0
    assert from_struct(changed.input_schema)["properties"] == {}


async def test_an_update_begins_with_the_active_version(service: Service) -> None:
    caller = service.user()
    first = await create(caller)
    await update(caller, Graph(id=first.id, name="second"), "name")
    activate = messages.SetActiveVersionRequest(graph_id=first.id, version=1)
    active = (await caller.call("SetActiveVersion", activate)).graph
    assert (active.version, active.active_version, active.latest_version) == (1, 1, 2)

    third = await update(caller, Graph(id=first.id, description="third"), "description")
    assert (third.version, third.active_version, third.name, third.description) == (3, 3, "test", "third")


async def test_an_update_of_what_has_changed_since_is_aborted(service: Service) -> None:
    caller = service.user()
    first = await create(caller)
    await update(caller, Graph(id=first.id, name="second"), "name", expected=1)
    late = messages.UpdateGraphRequest(
        graph=Graph(id=first.id, name="late"), update_mask=FieldMask(paths=["name"]), expected_latest_version=1
    )
    refused = await caller.refused("UpdateGraph", late)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "VERSION_CONFLICT")
    assert (await get(caller, first.id)).name == "second"


async def test_updates_at_the_same_time_all_become_versions(service: Service) -> None:
    caller = service.user()
    first = await create(caller)
    await asyncio.gather(*(update(caller, Graph(id=first.id, name=f"by {n}"), "name") for n in range(4)))
    newest = await get(caller, first.id)
    assert newest.latest_version == 5
    assert newest.active_version == newest.version == 5


async def test_a_wrong_mask_is_refused(service: Service) -> None:
    first = await create(service.user())
    request = messages.UpdateGraphRequest(graph=Graph(id=first.id), update_mask=FieldMask(paths=["user_id"]))
    refused = await service.user().refused("UpdateGraph", request)
    assert (refused.reason, list(refused.fields)) == ("INVALID_REQUEST", ["update_mask"])


async def test_an_invalid_update_changes_nothing(service: Service) -> None:
    caller = service.user()
    first = await create(caller)
    bad = messages.UpdateGraphRequest(
        graph=graph([node("x", "GoneBlock")], id=first.id), update_mask=FieldMask(paths=["nodes"])
    )
    refused = await caller.refused("UpdateGraph", bad)
    assert refused.reason == "GRAPH_INVALID"
    assert {"nodes[0].block_id", "links[0].source_node_id"} <= set(refused.fields)
    assert await get(caller, first.id) == first


async def test_graphs_are_listed_newest_first_in_pages(service: Service) -> None:
    caller = service.user("lister")
    made = [(await create(caller, small_graph(name=f"g{number}"))).id for number in range(5)]
    await update(caller, Graph(id=made[0], name="g0 renamed"), "name")
    listed: list[Graph] = []
    token = ""
    sizes = []
    while True:
        page = await caller.call("ListGraphs", messages.ListGraphsRequest(page_size=2, page_token=token))
        listed += page.graphs
        sizes.append(len(page.graphs))
        token = page.next_page_token
        if not token:
            break
    assert sizes == [2, 2, 1]
    assert [one.id for one in listed] == made[::-1]
    assert listed[-1].name == "g0 renamed"
    assert all(not one.nodes and not one.links and one.HasField("input_schema") for one in listed)


async def test_versions_are_listed_newest_first_in_pages(service: Service) -> None:
    caller = service.user()
    first = await create(caller)
    for name in ("b", "c"):
        await update(caller, Graph(id=first.id, name=name), "name")
    request = messages.ListGraphVersionsRequest(graph_id=first.id, page_size=2)
    page = await caller.call("ListGraphVersions", request)
    request.page_token = page.next_page_token
    rest = await caller.call("ListGraphVersions", request)
    assert [(one.version, one.name) for one in [*page.versions, *rest.versions]] == [(3, "c"), (2, "b"), (1, "test")]
    assert rest.next_page_token == ""


async def test_a_fork_is_a_graph_of_its_own(service: Service) -> None:
    caller = service.user()
    first = await create(caller)
    await update(caller, Graph(id=first.id, name="second"), "name")
    request = messages.ForkGraphRequest(graph_id=first.id, version=1, name="copy")
    fork: Graph = (await caller.call("ForkGraph", request)).graph
    assert (fork.version, fork.name, fork.forked_from_id, fork.forked_from_version) == (1, "copy", first.id, 1)
    assert fork.nodes == first.nodes
    await caller.call("DeleteGraph", messages.DeleteGraphRequest(graph_id=first.id))
    assert (await get(caller, fork.id)).forked_from_id == first.id
    unnamed = (await caller.call("ForkGraph", messages.ForkGraphRequest(graph_id=fork.id))).graph
    assert unnamed.name == "copy"


async def test_a_deleted_graph_is_gone_with_its_versions(service: Service) -> None:
    caller = service.user()
    first = await create(caller)
    await caller.call("DeleteGraph", messages.DeleteGraphRequest(graph_id=first.id))
    for method, request in (
        ("GetGraph", messages.GetGraphRequest(graph_id=first.id, version=1)),
        ("DeleteGraph", messages.DeleteGraphRequest(graph_id=first.id)),
        ("ListGraphVersions", messages.ListGraphVersionsRequest(graph_id=first.id)),
    ):
        refused = await caller.refused(method, request)
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "GRAPH_NOT_FOUND")


async def test_validation_tells_everything_and_stores_nothing(service: Service) -> None:
    caller = service.user("validator")
    bad = graph([node("a", "GoneBlock"), node("b", "TextBlock", text=1)])
    answer = await caller.call("ValidateGraph", messages.ValidateGraphRequest(graph=bad))
    assert [error.field for error in answer.errors] == ["nodes[0].block_id", "nodes[1].inputs.text"]
    assert not answer.HasField("graph")

    answer = await caller.call("ValidateGraph", messages.ValidateGraphRequest(graph=small_graph()))
    assert (list(answer.errors), list(answer.warnings)) == ([], [])
    assert answer.graph.links[0].static
    assert from_struct(answer.graph.nodes[1].inputs) == {"text": "a"}
    assert len((await caller.call("ListGraphs", messages.ListGraphsRequest())).graphs) == 0


async def test_a_graph_is_drawn(service: Service) -> None:
    caller = service.user()
    first = await create(caller)
    request = messages.RenderGraphRequest(graph_id=first.id, format=messages.PICTURE_FORMAT_MERMAID)
    picture = (await caller.call("RenderGraph", request)).picture
    assert picture.startswith("flowchart LR\n")
    assert 'n0 -. "result → times" .-> n1' in picture


def nested(depth: int) -> Graph:
    return graph([node("p", "PairBlock", a=json.loads("[" * depth + "1" + "]" * depth), b=[1.5, None])])


async def test_a_constant_that_is_too_deep_to_be_shown_is_not_stored(service: Service) -> None:
    caller = service.user("deep")
    made = await create(caller, nested(24))
    shown = (await get(caller, made.id)).nodes[0].inputs_json
    assert json.loads(shown) == json.loads(nested(24).nodes[0].inputs_json)
    for depth in (25, 26):
        refused = await caller.refused("CreateGraph", messages.CreateGraphRequest(graph=nested(depth)))
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.fields == {"nodes[0].inputs.a": "is nested deeper than 24 levels"}
    stored = (await caller.call("ListGraphs", messages.ListGraphsRequest())).graphs
    assert [one.id for one in stored] == [made.id]


async def test_other_services_are_told_the_names_of_graphs(service: Service) -> None:
    made, other = await create(service.user()), await create(service.user("bert"))
    await update(service.user(), Graph(id=made.id, name="renamed"), "name")
    ids = [made.id, other.id, str(uuid.uuid4()), "no id"]

    answer = await service.service().call("GetGraphNames", GetGraphNamesRequest(user_id="anna", graph_ids=ids))
    too_many = GetGraphNamesRequest(user_id="anna", graph_ids=[made.id] * 101)

    assert answer.names == {made.id: "renamed"}
    assert set((await service.service().refused("GetGraphNames", too_many)).fields) == {"graph_ids"}
