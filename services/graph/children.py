"""Graphs that nodes of a graph run: what they take and give, which the pins of those nodes follow from."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import orjson
from blockyard.graph.v1.block_pb2 import BlockType
from blockyard.graph.v1.graph_pb2 import Graph, Node

from services.common.structs import from_struct
from services.graph.catalogue import Snapshot
from services.graph.credentials import CredentialsDemand, demands_of
from services.graph.records import GraphRow
from services.graph.storage import graph_of

AGENT_EXECUTOR = "e189baac-8c20-45a1-94a7-55177ea42565"
"""The block that runs another graph."""

MOST_FOLLOWED = 200
"""Graphs that are looked through for one that runs itself, unless a graph's own nodes run more of them."""

ChildKey = tuple[str, int]
"""A graph's id and its version, 0 for the active one, as a node names them."""


@dataclass(frozen=True, slots=True)
class ChildGraph:
    """A graph that a node runs."""

    graph_id: str
    version: int
    name: str
    description: str
    inputs: Mapping[str, Any]
    """JSON schemas of its inputs."""
    required: Set[str]
    outputs: Mapping[str, Any]
    """JSON schemas of its results, each a list of values."""

    def input_schema(self) -> dict[str, Any]:
        """The schema of its inputs, with the graph's own words."""
        return {
            "type": "object",
            "title": self.name,
            "description": self.description,
            "properties": dict(self.inputs),
            "required": sorted(self.required),
        }


@dataclass(frozen=True, slots=True)
class Children:
    """The graphs that the nodes of one graph run. What is not among them is not there for its user."""

    found: Mapping[ChildKey, ChildGraph] = field(default_factory=dict)
    recursive: Set[ChildKey] = frozenset()
    """Those that run the graph itself, or run graphs that do."""
    credentials: Sequence[CredentialsDemand] = ()
    """What the nodes of these graphs want, and of those that they run, however deep."""
    active: Mapping[UUID, int] = field(default_factory=dict)
    """The graphs that are run in their active version, however deep, with the number of that."""


NO_CHILDREN = Children()


class GraphSource(Protocol):
    """What graphs are read from: see repository/graphs.py."""

    async def get(self, user_id: str, graph_id: UUID, version: int = 0, with_body: bool = True) -> GraphRow | None:
        """A graph at a version, 0 for the active one; None if the user has none such."""


def child_of(graph: Graph) -> ChildGraph:
    """A graph as another one sees it that runs it. The graph is whole: it has its schemas."""
    inputs, outputs = from_struct(graph.input_schema), from_struct(graph.output_schema)
    return ChildGraph(
        graph_id=graph.id,
        version=graph.version,
        name=graph.name,
        description=graph.description,
        inputs=inputs.get("properties", {}),
        required=frozenset(inputs.get("required", ())),
        outputs=outputs.get("properties", {}),
    )


def wanted_child(constants: Mapping[str, Any]) -> ChildKey | None:
    """Which graph a node's constants name; None if they name none."""
    graph_id, version = constants.get("graph_id"), constants.get("graph_version") or 0
    if not isinstance(graph_id, str) or not graph_id:
        return None
    return _normal(graph_id), version if isinstance(version, int) and version > 0 else 0


def wanted_children(graph: Graph, catalogue: Snapshot) -> list[ChildKey]:
    """The graphs that the nodes of a graph name, each once."""
    named = (wanted_child(_constants(node)) for node in graph.nodes if _runs_a_graph(node, catalogue))
    return list(dict.fromkeys(key for key in named if key is not None))


async def find_children(
    source: GraphSource,
    catalogue: Snapshot,
    user_id: str,
    graph: Graph,
    known: Mapping[ChildKey, ChildGraph] | None = None,
) -> Children:
    """The graphs that a graph's nodes run. `known` need not be read: they are not stored yet."""
    found = dict(known or {})
    credentials: list[CredentialsDemand] = []
    active: dict[UUID, int] = {}
    own_id = _normal(graph.id) if graph.id else None
    below: dict[ChildKey, list[ChildKey]] = {}
    waiting = own = [key for key in wanted_children(graph, catalogue) if key not in found]
    while waiting:
        following: list[ChildKey] = []
        for key in waiting:
            row = await _read(source, user_id, key)
            below[key] = []
            if row is None:
                continue
            child = graph_of(row)
            if not key[1]:
                active[row.graph_id] = row.version
            credentials += demands_of(child, catalogue, "" if child.id == own_id else child.id)
            if key in own:
                found[key] = child_of(child)
            below[key] = wanted_children(child, catalogue)
            following += below[key]
        unread = [key for key in dict.fromkeys(following) if key not in below]
        waiting = unread[: max(MOST_FOLLOWED - len(below), 0)]
    recursive = frozenset(key for key in own if own_id and _leads_to(own_id, key, below))
    return Children(found, recursive, tuple(credentials), active)


def _leads_to(graph_id: str, start: ChildKey, below: Mapping[ChildKey, Sequence[ChildKey]]) -> bool:
    seen = {start}
    waiting = [start]
    while waiting:
        key = waiting.pop()
        if key[0] == graph_id:
            return True
        following = [one for one in below.get(key, ()) if one not in seen]
        seen.update(following)
        waiting += following
    return False


async def _read(source: GraphSource, user_id: str, key: ChildKey) -> GraphRow | None:
    try:
        graph_id = UUID(key[0])
    except ValueError:
        return None
    # A version is a number of 32 bits where graphs are stored.
    return await source.get(user_id, graph_id, key[1]) if key[1] < 1 << 31 else None


def _runs_a_graph(node: Node, catalogue: Snapshot) -> bool:
    if node.block_id == AGENT_EXECUTOR:
        return True
    return any(block.type == BlockType.BLOCK_TYPE_AGENT for block in catalogue.find(node.block_id))


def _constants(node: Node) -> dict[str, Any]:
    """What does not parse is told of by whoever reads the whole graph."""
    try:
        constants = orjson.loads(node.inputs_json) if node.inputs_json else from_struct(node.inputs)
    except ValueError:
        return {}
    return constants if isinstance(constants, dict) else {}


def _normal(graph_id: str) -> str:
    try:
        return str(UUID(graph_id))
    except ValueError:
        return graph_id
