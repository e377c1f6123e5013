"""The schemas of a graph's inputs and results."""

from typing import Any

from blockyard.graph.v1.graph_pb2 import Graph

from services.common.structs import from_struct
from tests.unit.graph.building import graph, judged, link, node


def schemas(written: Graph) -> tuple[dict[str, Any], dict[str, Any]]:
    whole = judged(written).graph
    assert whole is not None
    return from_struct(whole.input_schema), from_struct(whole.output_schema)


def test_each_input_node_is_a_property_of_its_blocks_type() -> None:
    inputs, _ = schemas(
        graph(
            [
                node("a", "NumberInputBlock", name="count", title="How many", description="Of them"),
                node("b", "InputBlock", name="anything"),
            ]
        )
    )
    assert inputs == {
        "type": "object",
        "properties": {
            "count": {"type": "integer", "title": "How many", "description": "Of them"},
            "anything": {"title": "anything"},
        },
        "required": ["anything", "count"],
    }


def test_an_input_with_a_default_is_not_required() -> None:
    inputs, _ = schemas(
        graph([node("a", "NumberInputBlock", name="count", value=0), node("b", "ToggleInputBlock", name="on")])
    )
    assert inputs["required"] == []
    assert inputs["properties"]["count"]["default"] == 0
    assert inputs["properties"]["on"] == {"type": "boolean", "title": "on", "default": False}


def test_a_dropdowns_options_are_the_only_values() -> None:
    inputs, _ = schemas(graph([node("a", "DropdownInputBlock", name="size", options=["S", "M"])]))
    assert inputs["properties"]["size"] == {"type": "string", "title": "size", "enum": ["S", "M"]}


def test_an_input_that_a_link_feeds_is_not_required() -> None:
    inputs, _ = schemas(
        graph([node("t", "TextBlock", text="a"), node("a", "InputBlock", name="fed")], [link("t.text", "a.value")])
    )
    assert inputs["required"] == []


def test_each_result_is_a_list() -> None:
    _, outputs = schemas(graph([node("a", "OutputBlock", name="sum", description="All of it", value=1)]))
    assert outputs == {
        "type": "object",
        "properties": {"sum": {"type": "array", "items": {}, "title": "sum", "description": "All of it"}},
    }
