"""What can be done with graphs: make, read, change, choose a version, copy, delete, and get one ready to run."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from blockyard.graph.v1.block_pb2 import Block
from blockyard.graph.v1.graph_pb2 import Graph

from services.common.errors import InvalidArgument, Violation
from services.graph.catalogue import Catalogue, Snapshot
from services.graph.children import Children, find_children
from services.graph.credentials import CredentialUse, demands_of, fields_of, uses_of
from services.graph.documents import AUTHORED, copy_fields, read_document, stored_document
from services.graph.errors import (
    GraphInvalid,
    GraphNotFound,
    GraphNotRunnable,
    GraphTooLarge,
    RequestIdReused,
    VersionConflict,
)
from services.graph.layout import Layout, lay_out
from services.graph.records import GraphRow, NewGraph
from services.graph.repository.graphs import GraphRepository
from services.graph.rules.roles import LONGEST_NAME
from services.graph.storage import content_of, graph_of
from services.graph.tools import describe_graphs
from services.graph.validation import Findings, SizeLimits, size_violations, validate

LONGEST_REQUEST_ID = 100
ATTEMPTS = 6
"""How often a change is tried: again on what somebody else has changed meanwhile, and once more if it was leased."""
KEPT_RUNNABLES = 1_000
MOST_USES = 100
"""Places that are told of a credential."""

LEASE_SECONDS = 0.5
"""For how long an active version is leased, and so how long an edit of a busy graph waits at most."""
UNLEASED_SECONDS = 2.0
"""For how long from when an edit begins to wait no lease is given; one that takes longer has to wait once more."""


@dataclass(frozen=True, slots=True)
class Runnable:
    """A graph with the blocks it uses, and a hash of both."""

    graph: Graph
    blocks: Sequence[Block]
    etag: bytes
    active_children: Mapping[UUID, int]
    """Graphs that its nodes run in their active version, however deep, with the number of that."""


@dataclass(frozen=True, slots=True)
class RunnableKey:
    """What a runnable graph depends on: its row, and the catalogue."""

    graph_id: UUID
    version: int
    active_version: int
    latest_version: int
    revision: int


@dataclass(slots=True, eq=False)
class Graphs:
    """All of it for one user at a time: whoever asks is named in every question."""

    repository: GraphRepository
    catalogue: Catalogue
    limits: SizeLimits
    _runnables: OrderedDict[RunnableKey, Runnable] = field(default_factory=OrderedDict)

    async def create(self, user_id: str, graph: Graph, request_id: str) -> tuple[Graph, Sequence[Violation]]:
        """A new graph at version 1, with warnings; the one that the same request made before, if it did."""
        _check_request_id(request_id)
        request_hash = self._request_hash(graph) if request_id else None
        if request_hash is not None:
            made = await self._made_before(user_id, request_id, request_hash)
            if made is not None:
                return made
        whole, warnings = await self._valid(user_id, graph)
        new = NewGraph(uuid4(), user_id, content_of(whole), request_id or None, request_hash)
        if not await self.repository.insert(new) and request_hash is not None:
            # The same request at the same time was faster.
            made = await self._made_before(user_id, request_id, request_hash)
            if made is not None:
                return made
        return await self.get(user_id, new.graph_id, 1), warnings

    async def get(self, user_id: str, graph_id: UUID, version: int = 0) -> Graph:
        """A graph at a version; 0 is the active one."""
        return graph_of(await self._row(user_id, graph_id, version))

    async def page(self, user_id: str, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[GraphRow]:
        """The user's graphs, newest first."""
        return await self.repository.page(user_id, before, limit)

    async def versions(self, user_id: str, graph_id: UUID, before: int | None, limit: int) -> Sequence[GraphRow]:
        """The graph's versions, newest first."""
        rows = await self.repository.versions(user_id, graph_id, before, limit)
        if not rows:
            # No more versions, or no such graph.
            await self._row(user_id, graph_id, 0, with_body=False)
        return rows

    async def update(
        self, user_id: str, graph_id: UUID, change: Graph, names: Sequence[str], expected_latest: int
    ) -> tuple[Graph, Sequence[Violation]]:
        """A new version: the active one, which is what readers see, with the named fields as in the change. None where
        no field is named."""
        for _ in range(ATTEMPTS):
            row = await self._row(user_id, graph_id, 0)
            if expected_latest and row.latest_version != expected_latest:
                raise VersionConflict(f"The newest version is {row.latest_version}, not {expected_latest}.")
            if not names:
                return await self.get(user_id, graph_id, 0), ()
            changed = graph_of(row)
            copy_fields(change, changed, names)
            whole, warnings = await self._valid(user_id, changed)
            content = content_of(whole)
            if await self.repository.add_version(user_id, graph_id, row.latest_version, row.active_version, content):
                return await self.get(user_id, graph_id, row.latest_version + 1), warnings
            await self._run_out(user_id, graph_id)
        raise VersionConflict

    async def activate(self, user_id: str, graph_id: UUID, version: int) -> Graph:
        """The graph, with that version active."""
        if version < 1:
            raise InvalidArgument(violations=[Violation("version", f"expected at least 1, got {version}")])
        for _ in range(ATTEMPTS):
            if await self.repository.activate(user_id, graph_id, version):
                return await self.get(user_id, graph_id, version)
            await self._row(user_id, graph_id, version, with_body=False)
            await self._run_out(user_id, graph_id)
        raise VersionConflict

    async def fork(self, user_id: str, graph_id: UUID, version: int, name: str) -> Graph:
        """A copy of a version as a new graph. What was stored once can be copied, whatever became of its blocks."""
        if len(name) > LONGEST_NAME or "\0" in name:
            problem = f"expected at most {LONGEST_NAME} characters, without NUL"
            raise InvalidArgument(violations=[Violation("name", problem)])
        row = await self._row(user_id, graph_id, version)
        copy = graph_of(row)
        copy.name = name or copy.name
        new = NewGraph(uuid4(), user_id, content_of(copy), forked_from_id=row.graph_id, forked_from_version=row.version)
        await self.repository.insert(new)
        return await self.get(user_id, new.graph_id, 1)

    async def delete(self, user_id: str, graph_id: UUID) -> None:
        """The graph is gone, with its versions."""
        for _ in range(ATTEMPTS):
            if await self.repository.delete(user_id, graph_id):
                return
            await self._row(user_id, graph_id, 0, with_body=False)
            await self._run_out(user_id, graph_id)
        raise VersionConflict

    async def examine(self, user_id: str, graph: Graph) -> Findings:
        """Everything that is wrong with a graph of the user, and what may surprise."""
        too_large = size_violations(graph, self.limits)
        if too_large:
            return Findings(too_large, [], Layout([], []), None)
        snapshot = await self.catalogue.snapshot()
        children = await find_children(self.repository, snapshot, user_id, graph)
        # Thousands of nodes take a while, and other calls go on meanwhile.
        return await asyncio.to_thread(_examine, graph, snapshot, self.limits.constant_depth, children)

    async def layout(self, user_id: str, graph_id: UUID, version: int) -> Layout:
        """A stored graph as it hangs together, also where its blocks are gone."""
        graph = await self.get(user_id, graph_id, version)
        layout, _ = lay_out(stored_document(graph), await self.catalogue.snapshot())
        return layout

    async def with_credentials(self, user_id: str, graph: Graph) -> Graph:
        """The graph, with the fields of what it wants of credentials filled in."""
        snapshot = await self.catalogue.snapshot()
        children = await find_children(self.repository, snapshot, user_id, graph)
        del graph.credentials_fields[:]
        graph.credentials_fields.extend(fields_of([*demands_of(graph, snapshot), *children.credentials]))
        return graph

    async def credential_uses(self, user_id: str, credential_id: UUID) -> list[tuple[GraphRow, CredentialUse]]:
        """Where the newest and the active versions of the user's graphs name a credential, the newest graphs first."""
        rows = await self.repository.naming_credential(user_id, credential_id, MOST_USES)
        found = [(row, use) for row in rows for use in uses_of(graph_of(row)) if use.credential_id == credential_id]
        return found[:MOST_USES]

    async def leased(self, user_id: str, graph_id: UUID) -> tuple[Runnable, float]:
        """The active version, and for how many seconds from the call on it may be run without asking again."""
        # First, and durably: an edit that comes after this waits, so what is read then is active until the lease ends.
        seconds = LEASE_SECONDS if await self.repository.lease(user_id, graph_id, LEASE_SECONDS) else 0.0
        return await self.runnable(user_id, graph_id, 0), seconds

    async def runnable(self, user_id: str, graph_id: UUID, version: int) -> Runnable:
        """A stored graph, judged by the blocks of now. Kept until the graph or the catalogue changes."""
        row = await self._row(user_id, graph_id, version, with_body=False)
        snapshot = await self.catalogue.snapshot()
        key = RunnableKey(graph_id, row.version, row.active_version, row.latest_version, snapshot.revision)
        kept = self._runnables.get(key)
        if kept is None or await self._changed(user_id, kept.active_children):
            graph = await self.get(user_id, graph_id, row.version)
            children = await find_children(self.repository, snapshot, user_id, graph)
            kept = self._runnables[key] = await asyncio.to_thread(_runnable, graph, snapshot, children)
            if len(self._runnables) > KEPT_RUNNABLES:
                self._runnables.popitem(last=False)
        self._runnables.move_to_end(key)
        return kept

    async def _changed(self, user_id: str, children: Mapping[UUID, int]) -> bool:
        """Whether the active version of one of these graphs is another than it was, or is there no more."""
        return bool(children) and await self.repository.active_versions(user_id, list(children)) != children

    async def _run_out(self, user_id: str, graph_id: UUID) -> None:
        """Returns when nobody runs the active version without asking: a start follows the edits before it.

        An edit waits before it is made: one that is called off then leaves nothing, and none is seen that is not run.
        """
        while True:
            left = await self.repository.stop_leasing(user_id, graph_id, LEASE_SECONDS, UNLEASED_SECONDS)
            if not left:
                return
            await asyncio.sleep(left)

    async def _row(self, user_id: str, graph_id: UUID, version: int, with_body: bool = True) -> GraphRow:
        if version < 0:
            raise InvalidArgument(violations=[Violation("version", f"must not be negative, got {version}")])
        row = await self.repository.get(user_id, graph_id, version, with_body)
        if row is None:
            raise GraphNotFound
        return row

    async def _valid(self, user_id: str, graph: Graph) -> tuple[Graph, Sequence[Violation]]:
        findings = await self.examine(user_id, graph)
        if findings.graph is not None:
            return findings.graph, findings.warnings
        if size_violations(graph, self.limits):
            raise GraphTooLarge(violations=findings.errors)
        raise GraphInvalid(violations=findings.errors)

    def _request_hash(self, graph: Graph) -> bytes | None:
        """What makes two requests the same; one that is too large to be taken is refused later, and has none."""
        if size_violations(graph, self.limits):
            return None
        document, _ = read_document(graph, self.limits.constant_depth)
        return hashlib.sha256(document.graph.SerializeToString(deterministic=True)).digest()

    async def _made_before(
        self, user_id: str, request_id: str, request_hash: bytes
    ) -> tuple[Graph, Sequence[Violation]] | None:
        found = await self.repository.made_by_request(user_id, request_id)
        if found is None:
            return None
        graph_id, hash_then = found
        if hash_then != request_hash:
            raise RequestIdReused
        graph = await self.get(user_id, graph_id, 1)
        return graph, (await self.examine(user_id, graph)).warnings


def _examine(graph: Graph, snapshot: Snapshot, deepest: int, children: Children) -> Findings:
    document, malformed = read_document(graph, deepest)
    return validate(document, snapshot, malformed, children)


def _runnable(graph: Graph, snapshot: Snapshot, children: Children) -> Runnable:
    findings = validate(stored_document(graph), snapshot, children=children)
    if findings.graph is None:
        first = findings.errors[0]
        more = f" (and {len(findings.errors) - 1} more)" if len(findings.errors) > 1 else ""
        raise GraphNotRunnable(
            f"The graph cannot run with the blocks of now: {first.field}: {first.description}{more}",
            violations=findings.errors,
        )
    copy_fields(findings.graph, graph, [*AUTHORED, "input_schema", "output_schema"])
    graph.credentials_fields.extend(fields_of([*demands_of(graph, snapshot), *children.credentials]))
    describe_graphs(graph, findings.layout)
    used = {node.block.id: node.block.message for node in findings.layout.nodes if node.block is not None}
    digest = hashlib.sha256(graph.SerializeToString(deterministic=True))
    for block in used.values():
        digest.update(hashlib.sha256(block.SerializeToString(deterministic=True)).digest())
    return Runnable(graph, list(used.values()), digest.digest(), children.active)


def _check_request_id(request_id: str) -> None:
    if len(request_id) > LONGEST_REQUEST_ID or "\0" in request_id:
        problem = f"expected at most {LONGEST_REQUEST_ID} characters, without NUL"
        raise InvalidArgument(violations=[Violation("request_id", problem)])
