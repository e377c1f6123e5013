"""Agent files in AutoGPT's format for tests, and what the import makes of files."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest
from blockyard.graph.v1.graph_pb2 import Graph
from blockyard.graph.v1.graph_service_pb2 import GraphFileFormat, RemarkCode

from services.common.errors import BlockyardError
from services.graph.catalogue import Snapshot
from services.graph.importing.conversion import Identities
from services.graph.importing.importer import Prepared, prepare
from services.graph.validation import SizeLimits
from tests.unit.graph.building import catalogue

LIMITS = SizeLimits(nodes=1_000, links=5_000, bytes=4 << 20, constant_depth=24)
SEED = UUID("00000000-0000-4000-8000-000000000001")
UNSPECIFIED = GraphFileFormat.GRAPH_FILE_FORMAT_UNSPECIFIED


def agent_id(name: str) -> str:
    """An id as such files have them."""
    return str(uuid5(NAMESPACE_URL, f"agent {name}"))


def agent_node(name: str, block: str, /, **constants: Any) -> dict[str, Any]:
    """A node; `block` is an id."""
    return {
        "id": agent_id(name),
        "block_id": block,
        "input_default": constants,
        "metadata": {"position": {"x": 10.5, "y": -3}},
        "input_links": [],
        "output_links": [],
        "graph_id": agent_id("graph"),
        "graph_version": 7,
        "webhook_id": None,
    }


def agent_link(source: str, sink: str, /, **more: Any) -> dict[str, Any]:
    """A link between two ends written "node.pin"."""
    source_node, _, source_pin = source.partition(".")
    sink_node, _, sink_pin = sink.partition(".")
    return {
        "id": agent_id(f"link {source} {sink}"),
        "source_id": agent_id(source_node),
        "source_name": source_pin,
        "sink_id": agent_id(sink_node),
        "sink_name": sink_pin,
        **more,
    }


def agent(nodes: Sequence[Any], links: Sequence[Any] = (), /, **more: Any) -> dict[str, Any]:
    """A file's object."""
    return {
        "id": agent_id("graph"),
        "version": 7,
        "is_active": True,
        "name": "Sample",
        "description": "What it is for",
        "nodes": list(nodes),
        "links": list(links),
        **more,
    }


def prepared(content: Any, blocks: Snapshot | None = None, **more: Any) -> Prepared:
    """What the import makes of a file; `content` is its bytes, or an object to be written as JSON."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    wanted = more.get("wanted", UNSPECIFIED)
    return prepare(data, wanted, more.get("name", ""), blocks or catalogue(), LIMITS, Identities(SEED), "anna")


def imported(content: Any, blocks: Snapshot | None = None) -> Graph:
    """The first graph of a file."""
    return prepared(content, blocks).graphs[0][1]


def remarks(content: Any, blocks: Snapshot | None = None) -> list[tuple[str, str]]:
    """Code and place of every remark but those on what may surprise."""
    found = [(code_name(one.code), one.field) for one in prepared(content, blocks).remarks]
    return [(code, field) for code, field in found if code != "MAY_SURPRISE"]


def code_name(code: "RemarkCode.ValueType") -> str:
    """Without the prefix."""
    return RemarkCode.Name(code).removeprefix("REMARK_CODE_")


def refused(content: Any) -> Mapping[str, str]:
    """The problems of a file that must be refused, by place; each is a sentence."""
    with pytest.raises(BlockyardError) as caught:
        prepared(content)
    found = {one.field: one.description for one in caught.value.violations}
    assert found
    assert all(found.values())
    return found
