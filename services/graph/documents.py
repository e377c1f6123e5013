"""A graph as its author wrote it, read from a request: what clients may set, with constants as exact JSON.

What a graph means, and whether it may be stored, is for the rules.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from blockyard import values
from blockyard.graph.v1.graph_pb2 import Graph, Link, Node
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct

from services.common.errors import Violation
from services.common.structs import from_struct, to_struct

AUTHORED = ("name", "description", "nodes", "links", "limits")
"""The fields of a graph that its author sets; the service makes the rest."""

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


@dataclass(frozen=True, slots=True)
class GraphDocument:
    """A graph with `inputs_json` for every node that has constants, and these constants as values beside it."""

    graph: Graph
    constants: tuple[dict[str, Any], ...]


def read_document(graph: Graph, deepest: int) -> tuple[GraphDocument, list[Violation]]:
    """The document in a request, and what in it is no JSON."""
    violations: list[Violation] = []
    document = Graph(name=graph.name, description=graph.description)
    if graph.HasField("limits"):
        document.limits.CopyFrom(graph.limits)
    constants = []
    for index, node in enumerate(graph.nodes):
        found = read_inputs(node.inputs, node.inputs_json, f"nodes[{index}].", deepest, violations)
        constants.append(found)
        document.nodes.append(_node(node, found))
    for link in graph.links:
        copy = document.links.add()
        copy.CopyFrom(link)
        copy.ClearField("static")
    return GraphDocument(document, tuple(constants)), violations


def stored_document(graph: Graph) -> GraphDocument:
    """The document of a graph that was read before."""
    constants = tuple(orjson.loads(node.inputs_json) if node.inputs_json else {} for node in graph.nodes)
    document = Graph()
    copy_fields(graph, document, AUTHORED)
    return GraphDocument(document, constants)


def copy_fields(source: Graph, target: Graph, names: Sequence[str]) -> None:
    """Let these fields of the target be as in the source."""
    FieldMask(paths=names).MergeMessage(source, target, True, True)


def with_both_forms(nodes: Sequence[Node]) -> None:
    """Fill in `inputs` from `inputs_json`, for clients that read the one or the other."""
    for node in nodes:
        if node.inputs_json:
            node.inputs.CopyFrom(to_struct(orjson.loads(node.inputs_json)))


def link_ids(links: Sequence[Link]) -> list[str]:
    """An id for each link: its own, or the next free one of link-1, link-2 and so on."""
    taken = {link.id for link in links}
    ids = []
    number = 0
    for link in links:
        own = link.id
        while not own:
            number += 1
            own = "" if f"link-{number}" in taken else f"link-{number}"
        ids.append(own)
    return ids


def _node(node: Node, constants: dict[str, Any]) -> Node:
    copy = Node()
    copy.CopyFrom(node)
    copy.ClearField("inputs")
    copy.inputs_json = values.encode(constants) if constants else b""
    return copy


def read_inputs(struct: Struct, data: bytes, path: str, deepest: int, violations: list[Violation]) -> dict[str, Any]:
    """The values of twin fields (`inputs`, `inputs_json`), of a node or a preset: the JSON form wins where it is set.
    What cannot be stored is told and left out. `path` is what stands before both names."""
    read = _parse(data, f"{path}inputs_json", violations) if data else from_struct(struct)
    kept = {}
    for pin, value in read.items():
        reason = _unfit(pin, value, deepest)
        if reason:
            violations.append(Violation(f"{path}inputs.{pin[:100]}", reason))
        else:
            # As it will be read back: floats that are not finite are text from here on.
            kept[pin] = orjson.loads(values.encode(value))
    return kept


def _unfit(pin: str, value: Any, deepest: int) -> str:
    if not nests_within(value, deepest):
        return f"is nested deeper than {deepest} levels"
    try:
        values.encode({pin: value})
    except ValueError as error:
        return str(error)
    return ""


def _parse(data: bytes, path: str, violations: list[Violation]) -> dict[str, Any]:
    try:
        # Not orjson: it turns integers beyond 64 bits into floats without a word.
        value = json.loads(data, parse_int=_integer, parse_constant=_refuse_constant)
    except RecursionError:
        violations.append(Violation(path, "is nested too deeply"))
        return {}
    except ValueError as error:
        violations.append(Violation(path, f"is no JSON: {error}"))
        return {}
    if isinstance(value, dict):
        return value
    violations.append(Violation(path, f"expected a JSON object with a value for each pin, got {_kind(value)}"))
    return {}


def _integer(digits: str) -> int:
    # The length first: Python takes its time over numbers of thousands of digits.
    if len(digits) > 20 or not _SMALLEST <= int(digits) <= _LARGEST:
        raise ValueError(f"the integer {digits[:30]} does not fit into 64 bits")
    return int(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is not part of JSON; the text "{name}" stands for it')


def nests_within(value: Any, deepest: int) -> bool:
    """Whether lists and objects are nested no deeper than that. Not recursive, so that depth is no danger."""
    level = [value]
    for _ in range(deepest):
        inside: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inside.extend(item.values())
            elif isinstance(item, list):
                inside.extend(item)
        if not inside:
            return True
        level = inside
    return not any(isinstance(item, dict | list) for item in level)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "something else")
