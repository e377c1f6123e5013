"""Import of files and export of graphs.

What a file asks for and this installation lacks does not keep its graph from being stored: it keeps it from running.
Only what is no graph at all is refused.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from uuid import UUID, uuid4, uuid5

from blockyard.graph.v1.graph_pb2 import Graph
from blockyard.graph.v1.graph_service_pb2 import GraphFileFormat, RemarkCode

from services.common.errors import InvalidArgument, Violation
from services.common.structs import TooDeep
from services.graph.catalogue import Snapshot
from services.graph.children import ChildGraph, ChildKey, Children, child_of, find_children, wanted_children
from services.graph.documents import GraphDocument, read_document
from services.graph.errors import GraphTooLarge, RequestIdReused
from services.graph.graphs import LONGEST_REQUEST_ID, Graphs
from services.graph.importing.conversion import Draft, Identities, convert_agents
from services.graph.importing.own_files import GraphFile, read_graph, write_graph
from services.graph.importing.reading import read_file
from services.graph.importing.remarks import Remark, Remarks, refusal
from services.graph.layout import Layout
from services.graph.records import NewGraph
from services.graph.repository.imports import ImportRepository
from services.graph.schema import input_schema, output_schema
from services.graph.storage import content_of
from services.graph.validation import LONGEST_NAME, SizeLimits, size_violations, validate

IMPORTS = UUID("5f2a2a55-7a0f-4a3b-9d5e-3f0c6b7f0a11")
"""Namespace of the ids that imports with a request id make."""

_OF_RUNS = re.compile(r"|nodes\[\d+\](\.block_id|\.inputs(\..*)?)?|links\[\d+\]\.(source|sink)_pin", re.DOTALL)
"""Places of violations that keep a graph from running, and not from being stored: its blocks, its constants, pins."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import has made."""

    graph: Graph
    sub_graphs: Sequence[Graph]
    remarks: Sequence[Remark]
    format: "GraphFileFormat.ValueType"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The graphs of a file, ready to be stored, the one that the file is of first."""

    graphs: Sequence[tuple[UUID, Graph]]
    remarks: Sequence[Remark]
    format: "GraphFileFormat.ValueType"


@dataclass(frozen=True, slots=True, eq=False)
class Importer:
    """Brings graphs in and out, for one user at a time."""

    graphs: Graphs
    repository: ImportRepository

    async def bring_in(
        self, user_id: str, data: bytes, wanted: "GraphFileFormat.ValueType", name: str, request_id: str
    ) -> Imported:
        """Stores the graphs of a file. The same request of the same user again gives the graphs that the first made."""
        _check_words(wanted, name, request_id)
        # With a request id they follow from it, so that a repeat speaks of the graphs which the first one stored.
        seed = uuid5(IMPORTS, f"{user_id}\n{request_id}") if request_id else uuid4()
        snapshot = await self.graphs.catalogue.snapshot()
        # Large files take a while, and other calls go on meanwhile.
        drafted = await asyncio.to_thread(draft_file, data, wanted, name, snapshot, Identities(seed), user_id)
        stored_children = await self._stored_children(user_id, drafted, snapshot)
        prepared = await asyncio.to_thread(judge, drafted, snapshot, self.graphs.limits, stored_children)
        request_hash = hashlib.sha256(b"%d %s\n" % (wanted, name.encode()) + data).digest() if request_id else None
        rows = [NewGraph(graph_id, user_id, content_of(graph)) for graph_id, graph in prepared.graphs]
        rows[0] = replace(rows[0], request_id=request_id or None, request_hash=request_hash)
        if not await self.repository.insert(rows):
            await self._check_repeat(user_id, request_id, rows[0])
        stored = [await self.graphs.get(user_id, row.graph_id, 1) for row in rows]
        for sub_graph in stored[1:]:
            # Together they might be larger than an answer.
            sub_graph.ClearField("nodes")
            sub_graph.ClearField("links")
        return Imported(stored[0], stored[1:], prepared.remarks, prepared.format)

    async def write_out(
        self, user_id: str, graph_id: UUID, version: int, wanted: "GraphFileFormat.ValueType"
    ) -> GraphFile:
        """A version of a graph as a file; 0 is the active one."""
        _check_format(wanted)
        graph = await self.graphs.get(user_id, graph_id, version)
        snapshot = await self.graphs.catalogue.snapshot()
        return await asyncio.to_thread(write_graph, graph, snapshot, wanted)

    async def _stored_children(
        self, user_id: str, drafted: "Drafted", snapshot: Snapshot
    ) -> Mapping[ChildKey, ChildGraph]:
        """The graphs that nodes of the file run, and that are not in the file."""
        own = {str(draft.graph_id) for draft in drafted.drafts}
        found: dict[ChildKey, ChildGraph] = {}
        for draft in drafted.drafts:
            if any(graph_id not in own for graph_id, _ in wanted_children(draft.graph, snapshot)):
                found.update((await find_children(self.graphs.repository, snapshot, user_id, draft.graph)).found)
        return found

    async def _check_repeat(self, user_id: str, request_id: str, row: NewGraph) -> None:
        found = await self.graphs.repository.made_by_request(user_id, request_id)
        if found is None or found != (row.graph_id, row.request_hash):
            raise RequestIdReused


@dataclass(frozen=True, slots=True)
class Drafted:
    """The graphs of a file before they are judged, the one that the file is of first."""

    drafts: Sequence[Draft]
    remarks: Remarks
    format: "GraphFileFormat.ValueType"


def prepare(
    data: bytes,
    wanted: "GraphFileFormat.ValueType",
    name: str,
    catalogue: Snapshot,
    limits: SizeLimits,
    ids: Identities,
    user_id: str,
) -> Prepared:
    """What is to be stored of a file whose nodes run no graphs but those in it. Raises GraphInvalid or
    GraphTooLarge."""
    return judge(draft_file(data, wanted, name, catalogue, ids, user_id), catalogue, limits, {})


def draft_file(
    data: bytes,
    wanted: "GraphFileFormat.ValueType",
    name: str,
    catalogue: Snapshot,
    ids: Identities,
    user_id: str,
) -> Drafted:
    """The graphs of a file. Raises GraphInvalid or GraphTooLarge."""
    content = read_file(data, wanted)
    remarks = Remarks()
    if content.format == GraphFileFormat.GRAPH_FILE_FORMAT_AUTOGPT:
        drafts = convert_agents(content.values, catalogue, ids, user_id, remarks)
    else:
        drafts = [Draft("", ids.of("graph "), read_graph(content.values, catalogue, remarks))]
    if name:
        drafts[0].graph.name = name
    return Drafted(drafts, remarks, content.format)


def judge(drafted: Drafted, catalogue: Snapshot, limits: SizeLimits, stored: Mapping[ChildKey, ChildGraph]) -> Prepared:
    """What is to be stored, judged by the blocks of now, and by the graphs that are stored already. Raises GraphInvalid
    or GraphTooLarge."""
    by_id = {str(draft.graph_id): draft for draft in drafted.drafts}
    runs = {
        graph_id: [key[0] for key in wanted_children(draft.graph, catalogue) if key[0] in by_id]
        for graph_id, draft in by_id.items()
    }
    children = dict(stored)
    judged: dict[str, tuple[Graph, Remarks]] = {}
    # Those that others run come first: what their nodes take and give follows from them.
    for graph_id in TopologicalSorter(runs).static_order():
        remarks = Remarks()
        graph = _judged(by_id[graph_id], catalogue, limits, remarks, Children(children))
        judged[graph_id] = graph, remarks
        children[graph_id, 1] = child_of(graph)
    for graph_id in by_id:
        for remark in judged[graph_id][1].found:
            drafted.remarks.add(remark.code, remark.field, remark.description)
    graphs = [(draft.graph_id, judged[graph_id][0]) for graph_id, draft in by_id.items()]
    return Prepared(graphs, drafted.remarks.found, drafted.format)


def _judged(draft: Draft, catalogue: Snapshot, limits: SizeLimits, remarks: Remarks, children: Children) -> Graph:
    """The graph as it is stored. What keeps it from running, and what may surprise, becomes remarks."""
    too_large = size_violations(draft.graph, limits)
    if too_large:
        raise GraphTooLarge(violations=_placed(draft, too_large))
    document, malformed = read_document(draft.graph, limits.constant_depth)
    try:
        findings = validate(document, catalogue, malformed, children)
        graph = findings.graph or _unfinished(document, findings.layout)
    except TooDeep:
        problem = "the value of an input node is nested too deeply to be shown in the graph's schema of inputs"
        raise refusal([Violation(draft.at("nodes"), problem)]) from None
    unreadable = set(malformed)
    refused = [one for one in findings.errors if one in unreadable or not _OF_RUNS.fullmatch(one.field)]
    if refused:
        raise refusal(_placed(draft, refused))
    # One that is known and cannot be placed now is there, and only keeps the graph from running.
    unknown = {draft.at(f"{node.path}.block_id") for node in findings.layout.nodes if node.block is None}
    for error in _placed(draft, findings.errors):
        is_unknown = error.field in unknown
        code = RemarkCode.REMARK_CODE_BLOCK_UNKNOWN if is_unknown else RemarkCode.REMARK_CODE_NOT_RUNNABLE
        remarks.add(code, error.field, error.description)
    for warning in _placed(draft, findings.warnings):
        remarks.add(RemarkCode.REMARK_CODE_MAY_SURPRISE, warning.field, warning.description)
    return graph


def _placed(draft: Draft, violations: Sequence[Violation]) -> list[Violation]:
    return [Violation(draft.at(one.field), one.description) for one in violations]


def _unfinished(document: GraphDocument, layout: Layout) -> Graph:
    """A graph that cannot run, with all that is known of it filled in."""
    graph = Graph()
    graph.CopyFrom(document.graph)
    for node, placed in zip(graph.nodes, layout.nodes, strict=True):
        node.block_id = placed.block.id if placed.block else node.block_id
    by_index = {placed.index: placed for placed in layout.links}
    for index, link in enumerate(graph.links):
        # A link to a node that is not there is refused, but only after this.
        if index in by_index:
            link.id = by_index[index].message.id
            link.static = by_index[index].static
    named = Layout([node for node in layout.nodes if isinstance(node.constants.get("name"), str)], layout.links)
    graph.input_schema.CopyFrom(input_schema(named))
    graph.output_schema.CopyFrom(output_schema(named))
    return graph


def _check_words(wanted: "GraphFileFormat.ValueType", name: str, request_id: str) -> None:
    _check_format(wanted)
    for field, text, longest in (("name", name, LONGEST_NAME), ("request_id", request_id, LONGEST_REQUEST_ID)):
        if len(text) > longest or "\0" in text:
            problem = f"expected at most {longest} characters, without NUL"
            raise InvalidArgument(violations=[Violation(field, problem)])


def _check_format(wanted: "GraphFileFormat.ValueType") -> None:
    if wanted not in GraphFileFormat.values():
        expected = ", ".join(GraphFileFormat.keys())
        raise InvalidArgument(violations=[Violation("format", f"expected one of {expected}, got {wanted}")])
