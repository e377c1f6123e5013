"""Blockyard's own files: what is exported comes back as it was, but for secrets."""

import json
from typing import Any

import pytest
import yaml
from blockyard.graph.v1.block_pb2 import RetryPolicy
from blockyard.graph.v1.graph_pb2 import ON_ERROR_CONTINUE, ExecutionLimits, Graph, NodeMetadata, Position
from blockyard.graph.v1.graph_service_pb2 import GraphFileFormat
from blockyard.values import BLOB_KEY
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.graph.catalogue import Snapshot
from services.graph.documents import AUTHORED, copy_fields
from services.graph.errors import GraphTooLarge
from services.graph.importing.own_files import GraphFile, write_graph
from tests.unit.graph.agents import agent, agent_link, agent_node, code_name, imported, prepared, refused
from tests.unit.graph.building import TEXT, block, block_id, catalogue, graph, judged, node, small_graph

JSON = GraphFileFormat.GRAPH_FILE_FORMAT_JSON
YAML = GraphFileFormat.GRAPH_FILE_FORMAT_YAML
both = pytest.mark.parametrize("wanted", [JSON, YAML], ids=["json", "yaml"])


def stored(written: Graph) -> Graph:
    """The graph as the service keeps it."""
    whole = judged(written).graph
    assert whole is not None
    return whole


def exported(whole: Graph, wanted: "GraphFileFormat.ValueType" = YAML, blocks: Snapshot | None = None) -> GraphFile:
    return write_graph(whole, blocks or catalogue(), wanted)


def authored(whole: Graph) -> Graph:
    """What of a graph its author set."""
    part = Graph()
    copy_fields(whole, part, AUTHORED)
    return part


def rich_graph() -> Graph:
    whole = small_graph(
        description="Größe: 1\nand more",
        limits=ExecutionLimits(max_node_executions=10**9, max_duration=Duration(seconds=9)),
    )
    text = whole.nodes[1]
    text.metadata.CopyFrom(NodeMetadata(position=Position(x=-1.25, y=1e17), customized_name="yes"))
    text.retry.CopyFrom(RetryPolicy(max_attempts=3, initial_backoff=Duration(nanos=5_000_000), reasons=["TIMEOUT"]))
    text.timeout.CopyFrom(Duration(seconds=60))
    text.on_error = ON_ERROR_CONTINUE
    pair = {
        "a": [2**63, -(2**63), 0.1, 1e300, None, True, "", "null", "2026-01-05", "NaN", "1:30", "=", "<<", "\u2028é😀"]
    }
    whole.nodes.append(node("pair", "PairBlock", **pair, b={"deep": {"": [[], {}]}}))
    return whole


@both
def test_what_is_exported_comes_back_as_it_was(wanted: "GraphFileFormat.ValueType") -> None:
    whole = stored(rich_graph())
    file = exported(whole, wanted)
    made = prepared(file.data)
    assert made.format == wanted
    assert file.remarks == []
    assert made.graphs[0][1] == whole


@both
def test_an_agent_that_was_imported_comes_back_as_it_was(wanted: "GraphFileFormat.ValueType") -> None:
    content = agent(
        [agent_node("u", "an-unknown-block", prompt="Hi"), agent_node("t", block_id("TextBlock"))],
        [agent_link("u.answer", "t.text")],
    )
    whole = imported(content)
    assert imported(exported(whole, wanted).data) == whole


@both
def test_ids_of_links_that_an_author_chose_come_back(wanted: "GraphFileFormat.ValueType") -> None:
    whole = small_graph()
    whole.links[0].id = "mine"
    assert [one.id for one in imported(exported(stored(whole), wanted).data).links] == ["mine", "link-1"]


def test_ids_of_links_that_the_service_made_are_left_to_it() -> None:
    content = json.loads(exported(stored(small_graph()), JSON).data)
    assert ["id" in one for one in content["links"]] == [False, False]


def test_a_file_is_named_after_its_graph() -> None:
    assert exported(graph([], name="Größe & Gewicht (2)"), YAML).name == "gr-e-gewicht-2.yaml"
    assert exported(graph([], name="日本"), JSON).name == "graph.json"


def test_an_agent_cannot_be_exported_as_one() -> None:
    with pytest.raises(InvalidArgument) as caught:
        exported(small_graph(), GraphFileFormat.GRAPH_FILE_FORMAT_AUTOGPT)
    assert [one.field for one in caught.value.violations] == ["format"]


def test_a_graph_that_yaml_is_too_slow_for_is_not_exported_as_yaml() -> None:
    large = graph([node("t", "TextBlock", text="x" * (2 << 20))])
    with pytest.raises(GraphTooLarge):
        exported(large, YAML)
    assert imported(exported(large, JSON).data).nodes[0].inputs_json == large.nodes[0].inputs_json.replace(b": ", b":")


def test_a_graph_of_more_values_than_yaml_may_have_is_exported_as_json_only() -> None:
    many = stored(graph([node("p", "PairBlock", a=[[[[[[[[[[1]]]]]]]]]] * 15_000, b=1)]))
    with pytest.raises(GraphTooLarge) as caught:
        exported(many, YAML)
    assert [one.field for one in caught.value.violations] == ["format"]
    assert imported(exported(many, JSON).data) == many


# What every one of these values must not be found in is the file.
SECRET = "hunter2"


def secrets_of(whole: Graph, blocks: Snapshot | None = None) -> list[tuple[str, str]]:
    """Code and place of each remark of an export that must not have the secret in it."""
    for wanted in (JSON, YAML):
        assert SECRET.encode() not in exported(whole, wanted, blocks).data
    return [(code_name(one.code), one.field) for one in exported(whole, JSON, blocks).remarks]


def test_secret_pins_are_left_out() -> None:
    whole = stored(graph([node("c", "ChoiceBlock", operation="Add", x=1, secret=SECRET)]))
    assert secrets_of(whole) == [("SECRET_LEFT_OUT", "nodes[0].inputs.secret")]
    assert json.loads(imported(exported(whole).data).nodes[0].inputs_json) == {"operation": "Add", "x": 1}


def test_secrets_inside_of_objects_and_lists_are_left_out() -> None:
    secret = {"type": "string", "secret": True}
    configuration = {"type": "object", "properties": {"host": TEXT, "word": secret}}
    deep = block(
        "DeepBlock",
        {
            "config": {"anyOf": [configuration, {"type": "null"}]},
            "list": {"type": "array", "items": configuration},
            "password": {"type": "string", "writeOnly": True, "format": "password"},
            "maybe": {"anyOf": [{"type": "string", "format": "password"}, {"type": "null"}], "default": None},
            "key": {"credentials_provider": ["openai"], "default": None},
        },
        {},
    )
    whole = graph(
        [
            node(
                "d",
                deep.id,
                config={"host": "h", "word": SECRET},
                list=[{"word": SECRET, "host": "i"}],
                password=SECRET,
                maybe=SECRET,
                **{"list_$_1": {"word": SECRET}, "list_$_2_#_word": SECRET, "config_#_host": "h", "key_#_id": SECRET},
            )
        ]
    )
    assert [field for _, field in secrets_of(whole, Snapshot.of([deep]))] == [
        "nodes[0].inputs.config.word",
        "nodes[0].inputs.list[0].word",
        "nodes[0].inputs.password",
        "nodes[0].inputs.maybe",
        "nodes[0].inputs.list_$_1.word",
        "nodes[0].inputs.list_$_2_#_word",
        "nodes[0].inputs.key_#_id",
    ]


def test_credentials_are_left_out() -> None:
    reference = {"id": SECRET, "provider": "openai", "type": "api_key"}
    whole = graph([node("p", "PairBlock", a=reference, b={"credentials": {"id": SECRET}})])
    assert secrets_of(whole) == [
        ("SECRET_LEFT_OUT", "nodes[0].inputs.a"),
        ("SECRET_LEFT_OUT", "nodes[0].inputs.b.credentials"),
    ]


@pytest.mark.parametrize(
    "pin", ["credentials", "api_key", "openai_api_key", "password", "client_secret", "access_token", "headers"]
)
def test_of_an_unknown_block_what_is_named_like_a_secret_is_left_out(pin: str) -> None:
    value = {"Authorization": SECRET} if pin == "headers" else SECRET
    whole = graph([node("u", "an-unknown-block", **{pin: value, "max_tokens": 5, "tokens": ["a"]})])
    assert len(secrets_of(whole)) == 1
    kept = json.loads(imported(exported(whole).data).nodes[0].inputs_json)
    assert (kept["max_tokens"], kept["tokens"]) == (5, ["a"])


def test_a_graph_of_unknown_blocks_is_imported_from_own_files_too() -> None:
    whole = graph([node("u", "an-unknown-block", prompt="Hi")])
    made = prepared(exported(whole).data)
    assert [(code_name(one.code), one.field) for one in made.remarks] == [("BLOCK_UNKNOWN", "nodes[0].block_id")]


def test_the_name_of_a_request_is_taken_instead_of_the_file_s() -> None:
    assert prepared(exported(small_graph()).data, name="other").graphs[0][1].name == "other"


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"nodes": [{"id": "a", "block_id": "TextBlock", "inputs": []}]}, "nodes[0].inputs"),
        ({"nodes": [7]}, "nodes[0]"),
        ({"nodes": {}}, "nodes"),
        ({"nodes": []}, "nodes"),
        ({"nodes": [{"id": "a b", "block_id": "TextBlock"}]}, "nodes[0].id"),
        ({"nodes": [{"id": "a"}] * 2}, "nodes[1].id"),
        ({"nodes": [{"id": "a"}], "links": [{"source_node_id": "x", "sink_node_id": "a"}]}, "links[0].source_node_id"),
        ({"nodes": [{"id": "a", "colour": "red"}]}, "nodes[0]"),
        ({"nodes": [{"id": "a"}], "links": 7}, "links"),
        ({"nodes": [{"id": "a", "timeout": "soon"}]}, "nodes[0].timeout"),
        ({"nodes": [{"id": "a", "timeout": "0s"}]}, "nodes[0].timeout"),
        ({"nodes": [{"id": "a"}], "name": "n" * 201}, "name"),
    ],
)
def test_what_is_wrong_in_an_own_file_is_told_with_its_place(content: dict[str, Any], field: str) -> None:
    assert field in refused(content)


YAML_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)
CONSTANTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | YAML_TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        # Nobody but a runner writes that one.
        | st.dictionaries(YAML_TEXT.filter(lambda key: key != BLOB_KEY), inner, max_size=3)
    ),
    max_leaves=10,
)


@both
@given(value=CONSTANTS, name=YAML_TEXT)
@settings(deadline=None, max_examples=200)
def test_any_constant_comes_back_as_it_was(wanted: "GraphFileFormat.ValueType", value: Any, name: str) -> None:
    whole = judged(graph([node("p", "PairBlock", a=[value], b=name)], [])).graph
    assert whole is not None
    file = exported(whole, wanted)
    if not file.remarks:
        assert imported(file.data).nodes[0].inputs_json == whole.nodes[0].inputs_json


def test_yaml_is_written_without_aliases() -> None:
    same = {"a": [1]}
    whole = stored(graph([node("p", "PairBlock", a=same, b=same)]))
    file = exported(whole, YAML)
    assert b"&" not in file.data
    assert yaml.safe_load(file.data)["nodes"][0]["inputs"] == {"a": same, "b": same}
