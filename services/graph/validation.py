"""Everything that is wrong with a graph, and all that may surprise, found at once; and the graph made whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blockyard.graph.v1.graph_pb2 import Graph

from services.common.errors import Violation
from services.graph.catalogue import Snapshot
from services.graph.documents import GraphDocument
from services.graph.layout import Layout, lay_out
from services.graph.rules.flow import flow_warnings
from services.graph.rules.links import link_violations
from services.graph.rules.nodes import node_violations
from services.graph.rules.policies import limits_violations
from services.graph.rules.roles import role_violations
from services.graph.schema import input_schema, output_schema

LONGEST_NAME = 200
LONGEST_DESCRIPTION = 10_000


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """How large a graph may be."""

    nodes: int
    links: int
    bytes: int
    constant_depth: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What validation found. `graph` is made whole, and there only if there are no errors."""

    errors: Sequence[Violation]
    warnings: Sequence[Violation]
    layout: Layout
    graph: Graph | None


def size_violations(graph: Graph, limits: SizeLimits) -> list[Violation]:
    """What is too large about a graph; one that is, is not looked at any further."""
    found = []
    if graph.ByteSize() > limits.bytes:
        found.append(Violation("graph", f"has {graph.ByteSize()} bytes, at most {limits.bytes} are taken"))
    if len(graph.nodes) > limits.nodes:
        found.append(Violation("nodes", f"has {len(graph.nodes)} nodes, at most {limits.nodes} are taken"))
    if len(graph.links) > limits.links:
        found.append(Violation("links", f"has {len(graph.links)} links, at most {limits.links} are taken"))
    return found


def validate(document: GraphDocument, catalogue: Snapshot, malformed: Sequence[Violation] = ()) -> Findings:
    """Judge a document by the blocks of now. `malformed` is what reading the document has found already."""
    layout, unresolved = lay_out(document, catalogue)
    errors = [
        *_text_violations(document.graph),
        *limits_violations(document.graph.limits, "limits"),
        *malformed,
        *unresolved,
        *(violation for node in layout.nodes for violation in node_violations(layout, node)),
        *role_violations(layout),
        *link_violations(layout),
    ]
    errors = _without_echoes(errors, malformed)
    if errors:
        return Findings(errors, [], layout, None)
    return Findings([], list(flow_warnings(layout)), layout, _whole(document, layout))


def _text_violations(graph: Graph) -> Iterator[Violation]:
    for field, text, longest in (
        ("name", graph.name, LONGEST_NAME),
        ("description", graph.description, LONGEST_DESCRIPTION),
    ):
        if len(text) > longest:
            yield Violation(field, f"is longer than {longest} characters")
        if "\0" in text:
            yield Violation(field, "holds a NUL character")
    if not graph.nodes:
        yield Violation("nodes", "a graph needs at least one node")


def _without_echoes(errors: Sequence[Violation], malformed: Sequence[Violation]) -> list[Violation]:
    """A constant that could not be read is left out of the document: that it is missing there goes without saying."""
    unread = {violation.field.removesuffix("_json") for violation in malformed}
    first = set(malformed)
    return [
        error
        for error in errors
        if error in first or not any(error.field == path or error.field.startswith(f"{path}.") for path in unread)
    ]


def _whole(document: GraphDocument, layout: Layout) -> Graph:
    """The graph with ids of blocks and links, static flags and schemas filled in."""
    graph = Graph()
    graph.CopyFrom(document.graph)
    for node, placed in zip(graph.nodes, layout.nodes, strict=True):
        node.block_id = placed.block.id if placed.block else node.block_id
    for link, placed_link in zip(graph.links, layout.links, strict=True):
        link.id = placed_link.message.id
        link.static = placed_link.source.block is not None and placed_link.source.block.message.static_output
    graph.input_schema.CopyFrom(input_schema(layout))
    graph.output_schema.CopyFrom(output_schema(layout))
    return graph
