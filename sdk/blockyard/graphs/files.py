"""Graph files, JSON and YAML: the protobuf JSON mapping of blockyard.graph.v1.Graph with the names of the contract.

A node's `inputs` are plain values there, and integers of 64 bits stay exact. `block_id` is a block's id or class name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from blockyard import values
from blockyard.errors import GraphFileError
from blockyard.graph.v1 import graph_pb2
from blockyard.graphs.builder import Graph

MAX_FILE_BYTES = 8 << 20

_MADE_BY_SERVICE = (
    "id",
    "version",
    "active_version",
    "latest_version",
    "user_id",
    "input_schema",
    "output_schema",
    "credentials_fields",
    "forked_from_id",
    "forked_from_version",
    "create_time",
    "update_time",
)


def load_graph(path: Path | str) -> graph_pb2.Graph:
    """The graph in a file. Raises GraphFileError that says where the file is wrong."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GraphFileError(f"{path}: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise GraphFileError(f"{path}: {len(data):,} bytes; a graph file has at most {MAX_FILE_BYTES:,}")
    try:
        return graph_from_mapping(_parse(path, data))
    except GraphFileError as error:
        raise GraphFileError(f"{path}: {error.message}") from error


def save_graph(graph: Graph | graph_pb2.Graph, path: Path | str) -> None:
    """Writes a graph to a file: YAML for .yaml and .yml, else JSON."""
    path = Path(path)
    content = graph_to_mapping(graph.to_proto() if isinstance(graph, Graph) else graph)
    if path.suffix in (".yaml", ".yml"):
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    else:
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    path.write_text(text, encoding="utf-8")


def graph_from_mapping(content: Any) -> graph_pb2.Graph:
    """The graph that a parsed file holds."""
    if not isinstance(content, Mapping):
        raise GraphFileError(f"a graph is an object with nodes and links, this is {_kind(content)}")
    if "nodes" not in content:
        raise GraphFileError("this is no graph of Blockyard: it has no nodes")
    nodes = content["nodes"]
    if not isinstance(nodes, list):
        raise GraphFileError(f"nodes: expected a list, got {_kind(nodes)}")
    plain = {**content, "nodes": [_without_inputs(index, node) for index, node in enumerate(nodes)]}
    graph = graph_pb2.Graph()
    try:
        ParseDict(plain, graph)
    except ParseError as error:
        raise GraphFileError(_readable(str(error))) from error
    for index, node in enumerate(nodes):
        if node.get("inputs"):
            graph.nodes[index].inputs_json = _encode_inputs(index, node["inputs"])
    return graph


def graph_to_mapping(graph: graph_pb2.Graph) -> dict[str, Any]:
    """What a file holds of a graph: what its author wrote, without what the service made of it."""
    content: dict[str, Any] = MessageToDict(graph, preserving_proto_field_name=True)
    for name in _MADE_BY_SERVICE:
        content.pop(name, None)
    for node, proto in zip(content.get("nodes", []), graph.nodes, strict=True):
        node.pop("inputs_json", None)
        if proto.inputs_json:
            node["inputs"] = values.decode(proto.inputs_json)
    for link in content.get("links", []):
        link.pop("id", None)
        link.pop("static", None)
    return content


def _parse(path: Path, data: bytes) -> Any:
    try:
        text = data.decode("utf-8-sig")
        if path.suffix in (".yaml", ".yml"):
            return yaml.safe_load(text)
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise GraphFileError(f"not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise GraphFileError(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise GraphFileError(f"not YAML: {where}{error.problem}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise GraphFileError(f"cannot be read: {error or 'nested too deeply'}") from error


def _without_inputs(index: int, node: Any) -> dict[str, Any]:
    if not isinstance(node, Mapping):
        raise GraphFileError(f"nodes[{index}]: expected an object, got {_kind(node)}")
    for name in ("id", "block_id"):
        if not isinstance(node.get(name, ""), str):
            raise GraphFileError(f"nodes[{index}].{name}: expected text, got {_kind(node[name])}; quote it in YAML")
    inputs = node.get("inputs")
    if inputs is not None and not isinstance(inputs, Mapping):
        raise GraphFileError(f"nodes[{index}].inputs: expected an object, got {_kind(inputs)}")
    return {name: value for name, value in node.items() if name != "inputs"}


def _encode_inputs(index: int, inputs: Mapping[str, Any]) -> bytes:
    try:
        return values.encode(dict(inputs))
    except (ValueError, TypeError) as error:
        raise GraphFileError(f"nodes[{index}].inputs: {error}") from error


def _readable(message: str) -> str:
    """Protobuf's own message without its preamble and its listing of all fields."""
    message = message.split("\n Available Fields", 1)[0].strip()
    return message.replace('Message type "blockyard.graph.v1.', 'a "').rstrip(".")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")
