"""Agent files of AutoGPT as they stand: what of them matters here, with its place in the file, and its type checked.

Keys that are not known are left alone, since files of every age carry others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.graph.importing.reading import kind
from services.graph.importing.remarks import Problems

LONGEST_ID = 1_000
"""Characters of an id, and of a pin with its selectors."""


@dataclass(frozen=True, slots=True)
class AgentNode:
    """A node of an agent."""

    path: str
    id: str
    block_id: str
    inputs: Mapping[str, Any]
    x: float
    y: float
    name: str
    has_webhook: bool
    credentials_optional: bool
    """Whether it may be started without its credentials."""


@dataclass(frozen=True, slots=True)
class AgentLink:
    """A link of an agent. `is_static` is None where the file says nothing."""

    path: str
    source_id: str
    source_pin: str
    sink_id: str
    sink_pin: str
    is_static: bool | None


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent, or a sub-graph of one. `path` is empty for the agent that the file is of."""

    path: str
    id: str
    version: int
    name: str
    description: str
    nodes: Sequence[AgentNode]
    links: Sequence[AgentLink]
    left_out: Sequence[str]
    """Parts of the file that say something and have no place in a graph."""

    def at(self, place: str) -> str:
        """The path of a place in the agent."""
        return f"{self.path}.{place}" if self.path else place


_WITHOUT_A_PLACE = ("instructions", "recommended_schedule_cron", "trigger_setup_info")


def read_agents(content: Mapping[str, Any], problems: Problems) -> list[Agent]:
    """The agent of a file, and behind it all sub-graphs, those of sub-graphs included."""
    agents: list[Agent] = []
    waiting: list[tuple[str, Mapping[str, Any]]] = [("", content)]
    for path, values in waiting:
        reader = _Reader(values, path, problems)
        agents.append(_agent(reader))
        for index, sub_graph in enumerate(reader.list_of("sub_graphs")):
            place = reader.at(f"sub_graphs[{index}]")
            if isinstance(sub_graph, dict):
                waiting.append((place, sub_graph))
            else:
                problems.add(place, f"expected an object, got {kind(sub_graph)}")
    return agents


def _agent(reader: "_Reader") -> Agent:
    nodes = _nodes(reader)
    links = _links(reader, {node.id for node in nodes})
    left_out = [reader.at(part) for part in _WITHOUT_A_PLACE if reader.values.get(part)]
    return Agent(
        path=reader.path,
        id=reader.text("id"),
        version=reader.whole("version"),
        name=reader.text("name"),
        description=reader.text("description"),
        nodes=nodes,
        links=links,
        left_out=left_out,
    )


def _nodes(reader: "_Reader") -> list[AgentNode]:
    nodes: list[AgentNode] = []
    places: dict[str, str] = {}
    if reader.values.get("nodes") in (None, []):
        reader.problems.add(reader.at("nodes"), "a graph needs at least one node")
    for one in reader.objects("nodes"):
        metadata = one.object("metadata")
        position = metadata.object("position")
        node = AgentNode(
            path=one.path,
            id=one.id("id"),
            block_id=one.id("block_id"),
            inputs=one.object("input_default").values,
            x=position.number("x"),
            y=position.number("y"),
            name=metadata.text("customized_name"),
            has_webhook=bool(one.values.get("webhook_id")),
            credentials_optional=metadata.values.get("credentials_optional") is True,
        )
        if node.id and node.id in places:
            reader.problems.add(one.at("id"), f"{node.id!r} is the id of {places[node.id]} already")
        places.setdefault(node.id, one.path)
        nodes.append(node)
    return nodes


def _links(reader: "_Reader", nodes: set[str]) -> list[AgentLink]:
    links: list[AgentLink] = []
    places: dict[str, str] = {}
    for one in reader.objects("links"):
        own_id = one.text("id")
        if own_id and own_id in places:
            reader.problems.add(one.at("id"), f"{own_id[:100]!r} is the id of {places[own_id]} already")
        places.setdefault(own_id, one.path)
        link = AgentLink(
            path=one.path,
            source_id=one.id("source_id"),
            source_pin=one.id("source_name"),
            sink_id=one.id("sink_id"),
            sink_pin=one.id("sink_name"),
            is_static=one.switch("is_static"),
        )
        for key, node_id in (("source_id", link.source_id), ("sink_id", link.sink_id)):
            if node_id and node_id not in nodes:
                reader.problems.add(one.at(key), f"there is no node {node_id!r}")
        links.append(link)
    return links


@dataclass(frozen=True, slots=True)
class _Reader:
    """An object of the file. What has another type than expected is told, and read as if it were not there."""

    values: Mapping[str, Any]
    path: str
    problems: Problems

    def at(self, key: str) -> str:
        """The path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def text(self, key: str) -> str:
        """Text; empty if there is none."""
        value = self.values.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        return str(self._wrong(key, "text", ""))

    def id(self, key: str) -> str:
        """Text that has to be there."""
        value = self.values.get(key)
        if value is None or value == "":
            self.problems.add(self.at(key), "is required")
        elif isinstance(value, str) and len(value) > LONGEST_ID:
            self.problems.add(self.at(key), f"is longer than {LONGEST_ID} characters")
        else:
            return self.text(key)
        return ""

    def whole(self, key: str) -> int:
        """A whole number; 0 if there is none."""
        value = self.values.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value or 0
        return int(self._wrong(key, "a whole number", 0))

    def number(self, key: str) -> float:
        """A finite number; 0 if there is none."""
        value = self.values.get(key)
        if value is None:
            return 0.0
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        return float(self._wrong(key, "a finite number", 0.0))

    def switch(self, key: str) -> bool | None:
        """True or false; None if it is not said."""
        value = self.values.get(key)
        if value is None or isinstance(value, bool):
            return value
        self._wrong(key, "true or false", None)
        return None

    def object(self, key: str) -> "_Reader":
        """An object; an empty one if there is none."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            value = self._wrong(key, "an object", None)
        return _Reader(value or {}, self.at(key), self.problems)

    def list_of(self, key: str) -> Sequence[Any]:
        """A list; an empty one if there is none."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, list):
            value = self._wrong(key, "a list", None)
        return value or []

    def objects(self, key: str) -> list["_Reader"]:
        """The objects of a list."""
        found = []
        for index, item in enumerate(self.list_of(key)):
            path = f"{self.at(key)}[{index}]"
            if isinstance(item, dict):
                found.append(_Reader(item, path, self.problems))
            else:
                self.problems.add(path, f"expected an object, got {kind(item)}")
        return found

    def _wrong(self, key: str, expected: str, instead: Any) -> Any:  # Any: whatever the caller puts in its place
        value = self.values.get(key)
        got = "a number that is not finite" if isinstance(value, float) and not math.isfinite(value) else kind(value)
        self.problems.add(self.at(key), f"expected {expected}, got {got}")
        return instead
