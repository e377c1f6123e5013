"""An agent file as graphs: new ids for graphs, nodes and links, nodes that run a graph of the file point at its new id,
and AutoGPT's rule for failures kept, by which a failed node does not fail the execution."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

from blockyard import values
from blockyard.block.dynamic_pins import ToolPin, base_pin, read_tool_pin
from blockyard.graph.v1.block_pb2 import BlockType
from blockyard.graph.v1.graph_pb2 import ON_ERROR_CONTINUE, Graph, Link, Node, NodeMetadata, Position
from blockyard.graph.v1.graph_service_pb2 import RemarkCode

from services.graph.blocks import BlockDefinition
from services.graph.catalogue import Snapshot
from services.graph.importing.agents import Agent, AgentLink, AgentNode, read_agents
from services.graph.importing.constants import fitting_constants
from services.graph.importing.remarks import Problems, Remarks
from services.graph.importing.sub_graphs import Called, called_agents, wanted_graph
from services.graph.rules.nodes import LONGEST_NAME as LONGEST_NODE_NAME
from services.graph.validation import LONGEST_DESCRIPTION, LONGEST_NAME


@dataclass(frozen=True, slots=True)
class Draft:
    """A graph of a file, before it is judged. `path` is empty for the one that the file is of."""

    path: str
    graph_id: UUID
    graph: Graph

    def at(self, place: str) -> str:
        """The path in the file of a place in the graph."""
        return f"{self.path}.{place}" if self.path and place else self.path or place


@dataclass(frozen=True, slots=True)
class Identities:
    """New ids. Made from a seed and a place in the file, so that the same import made again gives the same ones."""

    seed: UUID

    def of(self, path: str) -> UUID:
        """The id of what stands at a path."""
        return uuid5(self.seed, path)


def convert_agents(
    content: Mapping[str, Any], catalogue: Snapshot, ids: Identities, user_id: str, remarks: Remarks
) -> list[Draft]:
    """The graphs of an agent file, the agent first. Raises GraphInvalid with everything that makes it no agent."""
    problems = Problems()
    agents = read_agents(content, problems)
    called = called_agents(agents, problems)
    problems.refuse()
    drafts = [_Conversion(agent, called, catalogue, ids, user_id, remarks, problems).draft() for agent in agents]
    problems.refuse()
    return drafts


MCP_TOOL = "a0a4b1c2-d3e4-4f56-a7b8-c9d0e1f2a3b4"
ARGUMENTS_PIN = "tool_arguments"
"""The block that calls a tool of an MCP server, and its pin for the tool's arguments."""


@dataclass(frozen=True, slots=True)
class _Conversion:
    """Of one agent or sub-graph."""

    agent: Agent
    called: Called
    catalogue: Snapshot
    ids: Identities
    user_id: str
    remarks: Remarks
    problems: Problems

    def draft(self) -> Draft:
        """The graph."""
        agent = self.agent
        for path in agent.left_out:
            self.remarks.add(RemarkCode.REMARK_CODE_PART_LEFT_OUT, path, "has no place in a graph, so it was left out")
        blocks = {node.id: self.catalogue.by_id.get(node.block_id) for node in agent.nodes}
        new_ids = {node.id: str(self.ids.of(node.path)) for node in agent.nodes}
        links = self._kept_links(blocks)
        linked: dict[str, set[str]] = {}
        for link in links:
            linked.setdefault(link.sink_id, set()).update((link.sink_pin, base_pin(link.sink_pin)))
        graph = Graph(
            name=self._text(agent.name, agent.at("name"), LONGEST_NAME),
            description=self._text(agent.description, agent.at("description"), LONGEST_DESCRIPTION),
            nodes=[
                self._node(node, blocks[node.id], new_ids[node.id], linked.get(node.id, set())) for node in agent.nodes
            ],
            links=[self._link(link, blocks[link.source_id], new_ids) for link in links],
        )
        return Draft(agent.path, self.ids.of(f"graph {agent.path}"), graph)

    def _node(self, node: AgentNode, block: BlockDefinition | None, node_id: str, linked: Collection[str]) -> Node:
        constants = fitting_constants(node, block, linked, self.remarks)
        constants.update(self._called_graph(node))
        if node.has_webhook:
            path = f"{node.path}.webhook_id"
            self.remarks.add(
                RemarkCode.REMARK_CODE_PART_LEFT_OUT,
                path,
                "names a webhook of another installation, so it was left out",
            )
        name = self._text(node.name, f"{node.path}.metadata.customized_name", LONGEST_NODE_NAME)
        return Node(
            id=node_id,
            block_id=node.block_id,
            inputs_json=self._encoded(node, constants),
            metadata=NodeMetadata(
                position=Position(x=node.x, y=node.y),
                customized_name=name,
                credentials_optional=node.credentials_optional,
            ),
            on_error=ON_ERROR_CONTINUE,
        )

    def _encoded(self, node: AgentNode, constants: Mapping[str, Any]) -> bytes:
        for pin, value in constants.items():
            try:
                values.encode({pin: value})
            except ValueError as error:
                self.problems.add(f"{node.path}.input_default.{pin[:100]}", str(error))
                return b""
        return values.encode(constants) if constants else b""

    def _called_graph(self, node: AgentNode) -> dict[str, Any]:
        """What a node that runs a graph has to name: the new id, the version of a new graph, and who runs it here."""
        graph_id, _ = wanted_graph(node)
        if not graph_id:
            return {}
        owner = {"user_id": self.user_id} if "user_id" in node.inputs else {}
        found = self.called.get(node.path)
        if found is None:
            self.remarks.add(
                RemarkCode.REMARK_CODE_SUB_GRAPH_MISSING,
                f"{node.path}.input_default.graph_id",
                f"the graph {graph_id[:100]!r} is not in the file: import it too, and name its new id here",
            )
            return owner
        return {"graph_id": str(self.ids.of(f"graph {found.path}")), "graph_version": 1, **owner}

    def _kept_links(self, blocks: Mapping[str, BlockDefinition | None]) -> Sequence[AgentLink]:
        kept: dict[tuple[str, str, str, str], AgentLink] = {}
        for written in self.agent.links:
            link = _to_arguments(written, blocks[written.sink_id])
            key = (link.source_id, link.source_pin, link.sink_id, link.sink_pin)
            if _is_note(blocks[link.source_id]) or _is_note(blocks[link.sink_id]):
                self.remarks.add(RemarkCode.REMARK_CODE_LINK_LEFT_OUT, link.path, "one of its nodes is a note")
            elif key in kept:
                self.remarks.add(RemarkCode.REMARK_CODE_LINK_LEFT_OUT, link.path, f"is the same as {kept[key].path}")
            else:
                kept[key] = link
        return list(kept.values())

    def _link(self, link: AgentLink, source: BlockDefinition | None, new_ids: Mapping[str, str]) -> Link:
        gives_static = source is not None and source.message.static_output
        if source is not None and gives_static and not link.is_static:
            says = "does not say whether it is" if link.is_static is None else "says false"
            self.remarks.add(
                RemarkCode.REMARK_CODE_STATIC_CHANGED,
                f"{link.path}.is_static",
                f"the link is static, as every link from {source.name}; the file {says}",
            )
        return Link(
            id=str(self.ids.of(link.path)),
            source_node_id=new_ids[link.source_id],
            source_pin=self._source_pin(link, new_ids),
            sink_node_id=new_ids[link.sink_id],
            sink_pin=link.sink_pin,
            keep=bool(link.is_static) and not gives_static,
        )

    def _source_pin(self, link: AgentLink, new_ids: Mapping[str, str]) -> str:
        """The pin of a tool names the node that it leads to; older files name the tool in its place."""
        tool = read_tool_pin(link.source_pin)
        if tool is None:
            return link.source_pin
        named = tool.node
        if named not in new_ids:
            self.remarks.add(
                RemarkCode.REMARK_CODE_TOOL_PIN_RENAMED,
                f"{link.path}.source_name",
                f"names the tool {named[:100]!r}, and now the node that the link leads to",
            )
        return str(ToolPin(new_ids.get(named, new_ids[link.sink_id]), tool.pin))

    def _text(self, text: str, path: str, longest: int) -> str:
        shorter = text.replace("\0", "")[:longest]
        if shorter != text:
            self.remarks.add(
                RemarkCode.REMARK_CODE_TEXT_SHORTENED,
                path,
                f"was made shorter: at most {longest:,} characters are taken, and no NUL among them",
            )
        return shorter


def _to_arguments(link: AgentLink, sink: BlockDefinition | None) -> AgentLink:
    """The link; one that files lead to an argument of an MCP tool by its own name ends at the pin that has them all."""
    if sink is None or sink.id != MCP_TOOL or base_pin(link.sink_pin) in sink.inputs:
        return link
    return replace(link, sink_pin=f"{ARGUMENTS_PIN}_#_{link.sink_pin}")


def _is_note(block: BlockDefinition | None) -> bool:
    return block is not None and block.type == BlockType.BLOCK_TYPE_NOTE
