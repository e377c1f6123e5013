"""What can be started: graphs with their blocks, from the graph service, compiled once for each version."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import grpc
from blockyard.graph.v1.block_pb2 import Block
from blockyard.runner.v1.catalogue_service_pb2 import GetRunnableBlockRequest, GetRunnableGraphRequest

from services.common.errors import NotFound, Unavailable
from services.execution.errors import BlockNotFound, GraphNotFound, GraphNotRunnable
from services.execution.planning import Limits, Runnable

if TYPE_CHECKING:  # the asynchronous form exists for type checkers alone
    from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceAsyncStub

KEPT = 1_000
"""Compiled graph versions that are kept."""

FRESH_SECONDS = 2.0
"""A version is fixed, but its blocks may have changed in the catalogue: asked again after this time."""

BUSY_SECONDS = 0.25
"""A graph whose active version was wanted within this time is worth a lease, which costs the graph service a write."""

Key = tuple[str, str, int]
"""User, graph, version."""


@dataclass(slots=True, eq=False)
class Known:
    """What the graph service said, how long it holds, and when it was wanted last (monotonic seconds)."""

    holds_until: float
    wanted_at: float
    etag: bytes
    runnable: Runnable


@dataclass(eq=False)
class Question:
    """Callers that want the same at the same time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    begun: int = 0
    """How often it was asked."""
    answer: Runnable | Exception | None = None


@dataclass(frozen=True, slots=True)
class KnownBlock:
    """A block as it is registered, and why no runner can run it now (empty if one can)."""

    block: Block
    absence: str


@dataclass(slots=True, eq=False)
class Catalogue:
    """Asks the graph service and keeps what it said for a moment."""

    stub: "CatalogueServiceAsyncStub"
    limits: Limits
    _known: OrderedDict[Key, Known] = field(default_factory=OrderedDict)
    _questions: WeakValueDictionary[Key, Question] = field(default_factory=WeakValueDictionary)

    async def runnable(self, user_id: str, graph_id: str, version: int) -> Runnable:
        """A user's graph at a version (0: the active one)."""
        key = (user_id, graph_id, version)
        known = self._known.get(key)
        # A start follows the edit before it: which version is active is asked, unless there is a lease of it.
        if known is not None and time.monotonic() < known.holds_until:
            known.wanted_at = time.monotonic()
            return known.runnable
        question = self._questions.get(key)
        if question is None:
            question = self._questions[key] = Question()
        return await self._answer(key, question)

    async def block(self, user_id: str, block_id: str) -> KnownBlock:
        """A block by id or name, to be run on its own for a user. Raises BlockNotFound and Unavailable."""
        try:
            answer = await self.stub.GetRunnableBlock(GetRunnableBlockRequest(block_id=block_id, user_id=user_id))
        except grpc.aio.AioRpcError as error:
            raise _translated(error, BlockNotFound) from error
        return KnownBlock(answer.block, answer.absence)

    async def _answer(self, key: Key, question: Question) -> Runnable:
        """The answer to a question that was asked after this call: all that wait meanwhile share the next one."""
        before = question.begun
        async with question.lock:
            if question.begun == before or question.answer is None:
                question.begun += 1
                question.answer = None
                try:
                    question.answer = await self._ask(key)
                except Exception as error:
                    question.answer = error
                    raise
            if isinstance(question.answer, Exception):
                raise question.answer
            return question.answer

    async def _ask(self, key: Key) -> Runnable:
        user_id, graph_id, version = key
        known = self._known.get(key)
        asked_at = time.monotonic()
        request = GetRunnableGraphRequest(
            graph_id=graph_id,
            version=version,
            user_id=user_id,
            known_etag=known.etag if known else b"",
            wants_lease=not version and known is not None and asked_at - known.wanted_at < BUSY_SECONDS,
        )
        try:
            answer = await self.stub.GetRunnableGraph(request)
        except grpc.aio.AioRpcError as error:
            raise _translated(error, GraphNotFound) from error
        if known is not None and answer.etag == known.etag:
            runnable = known.runnable
        else:
            runnable = Runnable(answer.graph, answer.blocks, self.limits)
        seconds = FRESH_SECONDS if version else answer.lease.ToNanoseconds() / 1e9
        # Wanted until now: a slow answer does not make a busy graph look idle.
        self._known[key] = Known(asked_at + seconds, time.monotonic(), answer.etag, runnable)
        self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return runnable


def _translated(error: grpc.aio.AioRpcError, not_found: type[NotFound]) -> Exception:
    """The graph service's answer as ours: its refusals are the caller's, its absence is passing."""
    code, message = error.code(), error.details() or ""
    if code == grpc.StatusCode.NOT_FOUND:
        return not_found(message)
    if code == grpc.StatusCode.FAILED_PRECONDITION:
        return GraphNotRunnable(message)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return Unavailable("The graph service is away. Try again.")
    return error
