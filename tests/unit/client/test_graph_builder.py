"""Building graphs: constants, links, parts of pins, names of nodes."""

import json
from typing import Any

import pytest
from blockyard.graph.v1 import graph_pb2
from blockyard.graphs import Graph


def constants(graph: Graph, node_id: str) -> dict[str, Any]:
    node = next(node for node in graph.to_proto().nodes if node.id == node_id)
    decoded: dict[str, Any] = json.loads(node.inputs_json or b"{}")
    return decoded


def links(graph: Graph) -> list[str]:
    return [
        f"{link.source_node_id}.{link.source_pin} -> {link.sink_node_id}.{link.sink_pin}"
        for link in graph.to_proto().links
    ]


def test_a_pin_as_an_input_becomes_a_link_and_a_value_a_constant() -> None:
    graph = Graph("shout")
    text = graph.input("text", default="hello", description="What to shout")
    shout = graph.add("TextProcessingBlock", text=text, operation="upper")
    graph.output("result", shout["processed_text"])

    assert [node.id for node in graph] == ["text", "text_processing", "output_result"]
    assert [node.block_id for node in graph.to_proto().nodes] == [
        "AgentInputBlock",
        "TextProcessingBlock",
        "AgentOutputBlock",
    ]
    assert constants(graph, "text") == {"name": "text", "value": "hello", "description": "What to shout"}
    assert constants(graph, "text_processing") == {"operation": "upper"}
    assert links(graph) == [
        "text.result -> text_processing.text",
        "text_processing.processed_text -> output_result.value",
    ]


def test_pins_inside_dictionaries_and_lists_become_dynamic_pins() -> None:
    graph = Graph("collections")
    row = graph.input("row")
    graph.add("CreateDictionaryBlock", values={"city": row["city"], "first": row[0], "fixed": 1})
    graph.add("CombineTextsBlock", input=["a", row["b"], {"deep": row["c"]}])

    assert constants(graph, "create_dictionary") == {"values": {"fixed": 1}}
    assert constants(graph, "combine_texts") == {"input": ["a", None, None]}
    assert links(graph) == [
        "row.result_#_city -> create_dictionary.values_#_city",
        "row.result_$_0 -> create_dictionary.values_#_first",
        "row.result_#_b -> combine_texts.input_$_1",
        "row.result_#_c -> combine_texts.input_$_2_#_deep",
    ]


def test_a_loop_is_closed_by_feeding_later() -> None:
    graph = Graph("loop")
    total = graph.add("CalculatorBlock", "total", operation="Add", a=0)
    total.feed(b=total["result"])
    assert links(graph) == ["total.result -> total.b"]


def test_integers_of_64_bits_stay_exact() -> None:
    graph = Graph("large")
    graph.add("StoreValueBlock", "store", input=2**63 - 1)
    assert constants(graph, "store") == {"input": 2**63 - 1}


def test_options_of_a_node() -> None:
    graph = Graph("options")
    graph.add("DelayBlock", "slow").with_retry(3, backoff=0.5).with_timeout(2.5).continue_on_error().named("Slow one")
    graph.limit(node_executions=10, seconds=60)
    node = graph.to_proto().nodes[0]
    assert (node.retry.max_attempts, node.retry.initial_backoff.ToTimedelta().total_seconds()) == (3, 0.5)
    assert node.timeout.ToTimedelta().total_seconds() == 2.5
    assert node.on_error == graph_pb2.ON_ERROR_CONTINUE
    assert node.metadata.customized_name == "Slow one"
    assert graph.to_proto().limits.max_node_executions == 10
    assert graph.to_proto().limits.max_duration.seconds == 60


def test_ids_are_made_unique_and_legal() -> None:
    graph = Graph("names")
    graph.add("NoOperationBlock")
    graph.add("NoOperationBlock")
    pin = graph.input("Größe in cm")
    assert [node.id for node in graph] == ["no_operation", "no_operation_2", pin.node_id]
    assert pin.node_id == "Gr_e_in_cm"


def test_an_id_twice_is_refused() -> None:
    graph = Graph("twice")
    graph.add("NoOperationBlock", "same")
    with pytest.raises(ValueError, match="has a node 'same' already"):
        graph.add("NoOperationBlock", "same")


def test_a_pin_of_another_graph_is_refused() -> None:
    other = Graph("other").input("text")
    with pytest.raises(ValueError, match="no node of graph 'mine'"):
        Graph("mine").add("NoOperationBlock", value=other)


def test_typed_inputs_use_their_blocks() -> None:
    graph = Graph("typed")
    graph.input("colour", type="dropdown", options=["red", "blue"])
    assert graph.to_proto().nodes[0].block_id == "AgentDropdownInputBlock"
    assert constants(graph, "colour") == {"name": "colour", "options": ["red", "blue"]}


def test_a_block_class_is_placed_by_its_name() -> None:
    class ShoutBlock:
        pass

    graph = Graph("class")
    assert graph.add(ShoutBlock).id == "shout"
