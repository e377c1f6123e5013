"""Files of Blockyard's own format, read and written: the graph as its author wrote it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import yaml
from blockyard import values
from blockyard.block.dynamic_pins import base_pin, is_dynamic
from blockyard.block.references import ADVICE, reference_problems
from blockyard.errors import GraphFileError
from blockyard.graph.v1.graph_pb2 import Graph
from blockyard.graph.v1.graph_service_pb2 import GraphFileFormat, RemarkCode
from blockyard.graphs import graph_from_mapping, graph_to_mapping

from services.common.errors import InvalidArgument, Violation
from services.graph.blocks import BlockDefinition
from services.graph.catalogue import Snapshot
from services.graph.documents import AUTHORED, copy_fields, link_ids
from services.graph.errors import GraphInvalid, GraphTooLarge
from services.graph.importing.reading import LARGEST_JSON, LARGEST_YAML, check_yaml
from services.graph.importing.remarks import Remark, Remarks, refusal
from services.graph.importing.secrets import is_credentials, without_secrets

_OURS = re.compile(r"((?:nodes|links)(?:\[\d+\]\S*)?): (.*)", re.DOTALL)
_PARSING = re.compile(r"Failed to parse (\w+) field: ")
_AT = re.compile(r"\.? at \"?Graph\.?([\w.\[\]]*)\"?\.?$")
"""As protobuf's JSON mapping says where something is wrong."""


@dataclass(frozen=True, slots=True)
class GraphFile:
    """A graph as a file, and what was left out of it."""

    data: bytes
    name: str
    remarks: Sequence[Remark]


def read_graph(content: Mapping[str, Any], catalogue: Snapshot, remarks: Remarks) -> Graph:
    """The graph in a file's object. Raises GraphInvalid.

    What stands in a pin for credentials and is no reference is left out: it may be a secret, and is stored nowhere.
    """
    try:
        whole = graph_from_mapping(content)
    except GraphFileError as error:
        raise refusal([_problem(error.message)]) from None
    graph = Graph()
    copy_fields(whole, graph, AUTHORED)
    for index, node in enumerate(graph.nodes):
        constants = orjson.loads(node.inputs_json) if node.inputs_json else {}
        blocks = catalogue.find(node.block_id)
        kept = {
            pin: value
            for pin, value in constants.items()
            if value is None
            or not _takes_credentials(pin, blocks[0] if len(blocks) == 1 else None)
            or (not is_dynamic(pin) and not any(reference_problems(value)))
        }
        for pin in sorted(constants.keys() - kept.keys()):
            path = f"nodes[{index}].inputs.{base_pin(pin)[:100]}"
            remarks.add(
                RemarkCode.REMARK_CODE_CREDENTIALS_TO_FILL, path, f"is no reference, so it was left out: {ADVICE}"
            )
        if kept != constants:
            node.inputs_json = values.encode(kept) if kept else b""
    return graph


def _takes_credentials(pin: str, block: BlockDefinition | None) -> bool:
    """By the block's schema; where the block is not known, by the pin's name."""
    return is_credentials(base_pin(pin), None, None) if block is None else base_pin(pin) in block.credentials


def _problem(message: str) -> Violation:
    """What is wrong, with its place apart from the sentence."""
    ours = _OURS.fullmatch(message)
    if ours:
        return Violation(ours[1], ours[2])
    within, at = _PARSING.match(message), _AT.search(message)
    sentence = _PARSING.sub("", _AT.sub("", message))
    return Violation((at and at[1]) or (within and within[1]) or "file", sentence)


def write_graph(graph: Graph, catalogue: Snapshot, wanted: "GraphFileFormat.ValueType") -> GraphFile:
    """The graph as a file that can be imported, without secrets and credentials."""
    if wanted == GraphFileFormat.GRAPH_FILE_FORMAT_AUTOGPT:
        problem = "agents of AutoGPT are imported only: ask for GRAPH_FILE_FORMAT_YAML or GRAPH_FILE_FORMAT_JSON"
        raise InvalidArgument(violations=[Violation("format", problem)])
    remarks = Remarks()
    shown = Graph()
    shown.CopyFrom(graph)
    for index, node in enumerate(shown.nodes):
        constants = orjson.loads(node.inputs_json) if node.inputs_json else {}
        kept, left_out = without_secrets(constants, catalogue.by_id.get(node.block_id))
        for place in left_out:
            path = f"nodes[{index}].inputs.{place[:200]}"
            remarks.add(RemarkCode.REMARK_CODE_SECRET_LEFT_OUT, path, "is a secret, so it is not part of the file")
        node.ClearField("inputs")
        node.inputs_json = values.encode(kept) if kept else b""
    content = graph_to_mapping(shown)
    _keep_link_ids(content, shown)
    if wanted == GraphFileFormat.GRAPH_FILE_FORMAT_JSON:
        return GraphFile(_json(content), f"{_file_name(graph.name)}.json", remarks.found)
    return GraphFile(_yaml(content), f"{_file_name(graph.name)}.yaml", remarks.found)


def _keep_link_ids(content: dict[str, Any], graph: Graph) -> None:
    """Ids that the service would give again are left to it."""
    anonymous = Graph(links=graph.links)
    for link in anonymous.links:
        link.ClearField("id")
    if [link.id for link in graph.links] == link_ids(anonymous.links):
        return
    for link, written in zip(graph.links, content.get("links", ()), strict=True):
        written["id"] = link.id


def _json(content: Mapping[str, Any]) -> bytes:
    data = (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
    return data if len(data) <= LARGEST_JSON else orjson.dumps(content)


class _Dumper(yaml.CSafeDumper):
    """YAML without aliases, which the import refuses."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(content: Mapping[str, Any]) -> bytes:
    data: bytes = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, encoding="utf-8")
    if len(data) > LARGEST_YAML:
        problem = f"the graph has {len(data):,} bytes as YAML, at most {LARGEST_YAML:,} are taken: ask for JSON"
        raise GraphTooLarge(violations=[Violation("format", problem)])
    try:
        check_yaml(data.decode())
    except GraphInvalid as error:
        problem = f"the graph cannot be imported from YAML, ask for JSON: {error.violations[0].description}"
        raise GraphTooLarge(violations=[Violation("format", problem)]) from None
    return data


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80].strip("-") or "graph"
