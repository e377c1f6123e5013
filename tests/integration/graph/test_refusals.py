"""Bad input: each with its code, reason and field, and nothing changed."""

from typing import Any

import grpc
import jwt
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.graph.v1 import block_service_pb2 as block_messages
from blockyard.graph.v1 import graph_service_pb2 as messages
from blockyard.graph.v1.graph_pb2 import Graph, Node
from blockyard.runner.v1 import catalogue_service_pb2 as catalogue_messages

from services.common import identity
from tests import signing
from tests.integration.graph.service import SECRET, Service, graph_service
from tests.unit.graph.building import BLOCKS, graph, link, node, small_graph

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND

UNKNOWN_GRAPH = "018f0000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("written", "fields"),
    [
        (Graph(), {"nodes"}),
        (graph([node("a", "GoneBlock")]), {"nodes[0].block_id"}),
        (graph([node("a", "TextBlock", text="a", color=1)]), {"nodes[0].inputs.color"}),
        (graph([node("a", "TextBlock")]), {"nodes[0].inputs.text"}),
        (graph([node("a", "TextBlock", text=7)]), {"nodes[0].inputs.text"}),
        (graph([node("a", "TextBlock", text="a")], [link("a.text", "b.text")]), {"links[0].sink_node_id"}),
        (graph([node("a", "TextBlock", text="a"), node("a", "TextBlock", text="b")]), {"nodes[1].id"}),
        (graph([Node(id="a", block_id="TextBlock", inputs_json=b"{")]), {"nodes[0].inputs_json"}),
        (graph([Node(id="a", block_id="TextBlock", inputs_json=b"[]")]), {"nodes[0].inputs_json"}),
        (graph([Node(id="a", block_id="TextBlock", inputs_json=b'{"times": NaN}')]), {"nodes[0].inputs_json"}),
        (
            graph(
                [node("all", "CollectBlock", item=1), node("out", "OutputBlock", name="out")],
                [link("all.items", "all.item"), link("all.count", "all.item_$_0"), link("out.output", "out.value")],
            ),
            {"nodes[0]", "links[1].sink_pin", "nodes[1]"},
        ),
    ],
)
async def test_an_invalid_graph_is_refused_with_each_place(service: Service, written: Graph, fields: set[str]) -> None:
    caller = service.user("refused")
    refused = await caller.refused("CreateGraph", messages.CreateGraphRequest(graph=written))
    assert (refused.code, refused.reason, set(refused.fields)) == (INVALID, "GRAPH_INVALID", fields)
    assert len((await caller.call("ListGraphs", messages.ListGraphsRequest())).graphs) == 0


async def test_text_that_is_none_is_refused_by_its_place(service: Service) -> None:
    caller = service.user("refused")
    written = small_graph(name="a\0b", description="\x07")
    written.nodes[0].id = "\0"
    for method, request_type in (
        ("CreateGraph", messages.CreateGraphRequest),
        ("ValidateGraph", messages.ValidateGraphRequest),
    ):
        refused = await caller.refused(method, request_type(graph=written))
        assert (refused.code, refused.reason) == (INVALID, "INVALID_REQUEST")
        assert set(refused.fields) == {"name", "description", "nodes[0].id"}
    asked = await caller.refused("GetGraph", messages.GetGraphRequest(graph_id="a\0b"))
    assert (asked.code, set(asked.fields)) == (INVALID, {"graph_id"})
    assert len((await caller.call("ListGraphs", messages.ListGraphsRequest())).graphs) == 0


async def test_html_is_taken_out_of_names_and_descriptions(service: Service) -> None:
    caller = service.user("cleaned")
    written = small_graph(name="<b>shout</b>", description="a < b<script>alert(1)</script>")
    made = (await caller.call("CreateGraph", messages.CreateGraphRequest(graph=written))).graph
    assert (made.name, made.description) == ("shout", "a < b")
    forked = await caller.call("ForkGraph", messages.ForkGraphRequest(graph_id=made.id, name="<i>copy</i> of Map<Key>"))
    assert forked.graph.name == "copy of Map< Key>"


async def test_ten_megabytes_of_graph_are_refused(service: Service) -> None:
    large = graph([node("a", "TextBlock", text="x" * 10_000_000)])
    refused = await service.user().refused("CreateGraph", messages.CreateGraphRequest(graph=large, request_id="big"))
    assert (refused.code, refused.reason, list(refused.fields)) == (INVALID, "GRAPH_TOO_LARGE", ["graph"])


async def test_more_than_a_message_holds_is_refused(service: Service) -> None:
    large = graph([node("a", "TextBlock", text="x" * 20_000_000)])
    refused = await service.user().refused("CreateGraph", messages.CreateGraphRequest(graph=large))
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_too_many_nodes_and_links_are_refused(postgres: PostgresServer) -> None:
    async with graph_service(postgres, graph_nodes=2, graph_links=1) as service:
        await service.register(BLOCKS)
        refused = await service.user().refused("CreateGraph", messages.CreateGraphRequest(graph=small_graph()))
        assert (refused.reason, list(refused.fields)) == ("GRAPH_TOO_LARGE", ["nodes", "links"])
        answer = await service.user().call("ValidateGraph", messages.ValidateGraphRequest(graph=small_graph()))
        assert [error.field for error in answer.errors] == ["nodes", "links"]


async def test_a_hundred_errors_are_counted_where_they_do_not_fit(service: Service) -> None:
    bad = graph([node(f"n{number}", "GoneBlock") for number in range(200)])
    refused = await service.user().refused("CreateGraph", messages.CreateGraphRequest(graph=bad))
    assert "more" in refused.fields[""]
    answer = await service.user().call("ValidateGraph", messages.ValidateGraphRequest(graph=bad))
    assert len(answer.errors) == 200


def calls_on(graph_id: str) -> list[tuple[str, Any]]:
    return [
        ("GetGraph", messages.GetGraphRequest(graph_id=graph_id)),
        ("UpdateGraph", messages.UpdateGraphRequest(graph=small_graph(id=graph_id))),
        ("DeleteGraph", messages.DeleteGraphRequest(graph_id=graph_id)),
        ("ListGraphVersions", messages.ListGraphVersionsRequest(graph_id=graph_id)),
        ("SetActiveVersion", messages.SetActiveVersionRequest(graph_id=graph_id, version=1)),
        ("ForkGraph", messages.ForkGraphRequest(graph_id=graph_id)),
        ("RenderGraph", messages.RenderGraphRequest(graph_id=graph_id)),
    ]


async def test_another_users_graph_is_not_there(service: Service) -> None:
    made = (await service.user("anna").call("CreateGraph", messages.CreateGraphRequest(graph=small_graph()))).graph
    for stranger in (service.user("bert"), service.user("root", "admin")):
        for method, request in calls_on(made.id):
            refused = await stranger.refused(method, request)
            assert (refused.code, refused.reason) == (NOT_FOUND, "GRAPH_NOT_FOUND"), method
    asked = catalogue_messages.GetRunnableGraphRequest(graph_id=made.id, user_id="bert")
    assert (await service.service().refused("GetRunnableGraph", asked)).reason == "GRAPH_NOT_FOUND"
    unchanged = (await service.user("anna").call("GetGraph", messages.GetGraphRequest(graph_id=made.id))).graph
    assert unchanged == made


@pytest.mark.parametrize("graph_id", ["", "42", UNKNOWN_GRAPH, "x" * 10_000])
async def test_what_is_no_graph_is_not_there(service: Service, graph_id: str) -> None:
    for method, request in calls_on(graph_id):
        refused = await service.user().refused(method, request)
        assert (refused.code, refused.reason) == (NOT_FOUND, "GRAPH_NOT_FOUND"), method


async def test_an_unknown_version_is_not_there(service: Service) -> None:
    caller = service.user()
    made = (await caller.call("CreateGraph", messages.CreateGraphRequest(graph=small_graph()))).graph
    for method, request in (
        ("GetGraph", messages.GetGraphRequest(graph_id=made.id, version=2)),
        ("SetActiveVersion", messages.SetActiveVersionRequest(graph_id=made.id, version=2)),
        ("ForkGraph", messages.ForkGraphRequest(graph_id=made.id, version=2)),
        ("RenderGraph", messages.RenderGraphRequest(graph_id=made.id, version=2)),
    ):
        refused = await caller.refused(method, request)
        assert (refused.code, refused.reason) == (NOT_FOUND, "GRAPH_NOT_FOUND"), method
    for version in (-1, -(2**31)):
        refused = await caller.refused("GetGraph", messages.GetGraphRequest(graph_id=made.id, version=version))
        assert (refused.code, list(refused.fields)) == (INVALID, ["version"])


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("ListGraphs", messages.ListGraphsRequest(page_size=-1), "page_size"),
        ("ListBlocks", block_messages.ListBlocksRequest(page_size=-1), "page_size"),
        ("CreateGraph", messages.CreateGraphRequest(graph=small_graph(), request_id="x" * 101), "request_id"),
        ("CreateGraph", messages.CreateGraphRequest(graph=small_graph(), request_id="\0"), "request_id"),
        (
            "UpdateGraph",
            messages.UpdateGraphRequest(graph=small_graph(), expected_latest_version=-1),
            "expected_latest_version",
        ),
        (
            "SetActiveVersion",
            messages.SetActiveVersionRequest(graph_id=UNKNOWN_GRAPH),
            "version",
        ),
        ("ForkGraph", messages.ForkGraphRequest(graph_id=UNKNOWN_GRAPH, name="\0"), "name"),
        (
            "RenderGraph",
            messages.RenderGraphRequest(graph_id=UNKNOWN_GRAPH, format=9),  # type: ignore[arg-type]  # no such one
            "format",
        ),
    ],
)
async def test_a_malformed_request_names_its_field(service: Service, method: str, request_: Any, field: str) -> None:
    refused = await service.user().refused(method, request_)
    assert (refused.code, refused.reason, list(refused.fields)) == (INVALID, "INVALID_REQUEST", [field])


async def test_page_tokens_are_good_for_one_question_alone(service: Service) -> None:
    caller = service.user("pager")
    for _ in range(2):
        await caller.call("CreateGraph", messages.CreateGraphRequest(graph=small_graph()))
    own = (await caller.call("ListGraphs", messages.ListGraphsRequest(page_size=1))).next_page_token
    searched = block_messages.ListBlocksRequest(page_size=1, query="block")
    of_search = (await caller.call("ListBlocks", searched)).next_page_token
    for method, request in (
        ("ListGraphs", messages.ListGraphsRequest(page_token="made up")),
        ("ListGraphs", messages.ListGraphsRequest(page_token=own[:-1])),
        ("ListGraphs", messages.ListGraphsRequest(page_token=of_search)),
        ("ListBlocks", block_messages.ListBlocksRequest(page_token=of_search, query="other")),
    ):
        refused = await caller.refused(method, request)
        assert (refused.code, refused.reason) == (INVALID, "PAGE_TOKEN_INVALID")
    refused = await service.user("thief").refused("ListGraphs", messages.ListGraphsRequest(page_token=own))
    assert refused.reason == "PAGE_TOKEN_INVALID"


async def test_a_call_without_a_good_token_is_refused(service: Service) -> None:
    claims = {"iss": "blockyard", "aud": "blockyard", "sub": "anna", "role": "user", "exp": 4_000_000_000}
    tokens = {
        None: "TOKEN_MISSING",
        "no token": "TOKEN_INVALID",
        identity.user_token(SECRET, "anna", "user", -3600): "TOKEN_EXPIRED",
        identity.user_token("another secret of forty characters, at least", "anna", "user", 60): "TOKEN_INVALID",
        signing.service_token("execution"): "TOKEN_INVALID",
        jwt.encode(claims, "", algorithm="none"): "TOKEN_INVALID",
        jwt.encode({**claims, "role": "owner"}, SECRET, algorithm="HS256"): "TOKEN_INVALID",
    }
    for token, reason in tokens.items():
        refused = await service.holder_of(token).refused("ListGraphs", messages.ListGraphsRequest())
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)


async def test_a_viewer_may_look_and_not_write(service: Service) -> None:
    viewer = service.user("vera", "viewer")
    await viewer.call("ListGraphs", messages.ListGraphsRequest())
    await viewer.call("ValidateGraph", messages.ValidateGraphRequest(graph=small_graph()))
    refused = await viewer.refused("CreateGraph", messages.CreateGraphRequest(graph=small_graph()))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


async def test_users_have_no_business_with_the_catalogue_service(service: Service) -> None:
    for method, request in (
        ("RegisterBlocks", catalogue_messages.RegisterBlocksRequest(runner_id="r")),
        ("GetRunnableGraph", catalogue_messages.GetRunnableGraphRequest(user_id="anna")),
    ):
        refused = await service.user("root", "admin").refused(method, request)
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
