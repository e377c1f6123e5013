"""What is read from a request, and what of it is no JSON."""

import json
from typing import Any

import pytest
from blockyard.graph.v1.graph_pb2 import Graph, Node

from services.common.structs import to_struct
from services.graph.documents import copy_fields, link_ids, nests_within, read_document, with_both_forms
from tests.unit.graph.building import errors, graph, link, node


def read(inputs_json: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    written = Graph(nodes=[Node(id="n", block_id="b", inputs_json=inputs_json)])
    document, violations = read_document(written, 25)
    return document.constants[0], {violation.field: violation.description for violation in violations}


def test_integers_of_64_bits_stay_exact() -> None:
    constants, violations = read(b'{"least": -9223372036854775808, "most": 18446744073709551615}')
    assert constants == {"least": -(2**63), "most": 2**64 - 1}
    assert violations == {}


def test_the_json_form_wins_over_the_struct() -> None:
    both = Node(id="n", inputs_json=b'{"a": 1}', inputs=to_struct({"a": 2, "b": 3}))
    document, _ = read_document(Graph(nodes=[both]), 25)
    assert document.constants == ({"a": 1},)
    assert not document.graph.nodes[0].HasField("inputs")


def test_integral_numbers_of_a_struct_become_integers() -> None:
    written = Node(id="n", inputs=to_struct({"a": 2, "b": 2.5, "c": [3]}))
    document, _ = read_document(Graph(nodes=[written]), 25)
    assert json.loads(document.graph.nodes[0].inputs_json) == {"a": 2, "b": 2.5, "c": [3]}
    assert isinstance(document.constants[0]["a"], int)


def test_floats_that_are_not_finite_become_text() -> None:
    written = Node(id="n", inputs=to_struct({"a": float("nan"), "b": [float("-inf")]}))
    document, violations = read_document(Graph(nodes=[written]), 25)
    assert document.constants == ({"a": "NaN", "b": ["-Infinity"]},)
    assert violations == []


@pytest.mark.parametrize(
    ("inputs_json", "problem"),
    [
        (b"{", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b'{"a": NaN}', '"NaN"'),
        (b'{"a": 18446744073709551616}', "does not fit into 64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "does not fit into 64 bits"),
        (b"[1]", "expected a JSON object with a value for each pin, got a list"),
        (b"null", "got null"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is nested too deeply"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(inputs_json: bytes, problem: str) -> None:
    constants, violations = read(inputs_json)
    assert constants == {}
    assert list(violations) == ["nodes[0].inputs_json"]
    assert problem in violations["nodes[0].inputs_json"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"blockyard:blob": {"key": "k"}}, "reserved"),
        ("\ud800", "JSON"),
        (json.loads("[" * 26 + "]" * 26), "is nested deeper than 25 levels"),
    ],
)
def test_a_constant_that_cannot_be_stored_is_told_by_its_pin(value: Any, problem: str) -> None:
    constants, violations = read(json.dumps({"good": 1, "bad": value}).encode())
    assert constants == {"good": 1}
    assert problem in violations["nodes[0].inputs.bad"]


def test_an_unread_constant_is_not_missed_once_more() -> None:
    found = errors(graph([node("t", "TextBlock", text={"blockyard:blob": 1})]))
    assert list(found) == ["nodes[0].inputs.text"]
    assert "reserved" in found["nodes[0].inputs.text"]


def test_nesting_is_counted_by_lists_and_objects() -> None:
    assert nests_within(1, 0)
    assert nests_within([{"a": 1}], 2)
    assert not nests_within([{"a": []}], 2)


def test_links_without_an_id_get_the_next_free_one() -> None:
    links = [link("a.x", "b.y"), link("a.x", "b.y", id="link-2"), link("a.x", "b.y")]
    assert link_ids(links) == ["link-1", "link-2", "link-3"]


def test_fields_are_replaced_and_not_merged() -> None:
    target = Graph(name="old", description="kept", nodes=[Node(id="a"), Node(id="b")])
    copy_fields(Graph(nodes=[Node(id="c")]), target, ["name", "nodes"])
    assert target == Graph(description="kept", nodes=[Node(id="c")])


def test_answers_have_constants_in_both_forms() -> None:
    nodes = [Node(id="a", inputs_json=b'{"x":[1,"b"]}')]
    with_both_forms(nodes)
    assert nodes[0].inputs == to_struct({"x": [1, "b"]})
