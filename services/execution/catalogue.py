"""What can be started: graphs with their blocks, from the graph service, compiled once for each version."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import grpc
from blockyard.graph.v1.block_pb2 import Block
from blockyard.runner.v1.catalogue_service_pb2 import (
    GetRunnableBlockRequest,
    GetRunnableGraphRequest,
    GetRunnableGraphResponse,
)
from blockyard.values import parse
from grpc_status import rpc_status

from services.common.error_status import reason_of
from services.common.errors import NotFound, Unavailable
from services.execution.errors import BlockNotFound, GraphNotFound, GraphNotRunnable, PresetNotFound
from services.execution.planning import Limits, Runnable

if TYPE_CHECKING:  # the asynchronous form exists for type checkers alone
    from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceAsyncStub

KEPT = 1_000
"""Compiled graph versions that are kept."""

FRESH_SECONDS = 2.0
"""A version is fixed, but its blocks may have changed in the catalogue: asked again after this time."""

BUSY_SECONDS = 0.25
"""A graph whose active version was wanted within this time is worth a lease, which costs the graph service a write."""

Key = tuple[str, str, int, str]
"""User, graph, version, preset; the latter is empty, or graph and version may be."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Inputs and credentials that a start is given where it has none of that name."""

    inputs: dict[str, Any]
    credentials: dict[str, str]


NO_PRESET = Preset({}, {})


@dataclass(frozen=True, slots=True)
class Found:
    """A graph as it can be started, and the preset that it is started with."""

    runnable: Runnable
    preset: Preset


@dataclass(slots=True, eq=False)
class Known:
    """What the graph service said, how long it holds, and when it was wanted last (monotonic seconds)."""

    holds_until: float
    wanted_at: float
    etag: bytes
    found: Found


@dataclass(eq=False)
class Question:
    """Callers that want the same at the same time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    begun: int = 0
    """How often it was asked."""
    answer: Found | Exception | None = None


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
    _runnables: WeakValueDictionary[bytes, Runnable] = field(default_factory=WeakValueDictionary)
    """By etag."""

    async def runnable(self, user_id: str, graph_id: str, version: int) -> Runnable:
        """A user's graph at a version (0: the active one)."""
        return (await self.to_start(user_id, graph_id, version, "")).runnable

    async def to_start(self, user_id: str, graph_id: str, version: int, preset_id: str) -> Found:
        """A user's graph at a version (0: the preset's, else the active one), and a preset of theirs if one is named;
        without a graph, the preset's."""
        key = (user_id, graph_id, version, preset_id)
        known = self._known.get(key)
        # A start follows the edit before it: which version is active is asked, unless there is a lease of it; and so is
        # what a preset says.
        if known is not None and time.monotonic() < known.holds_until:
            known.wanted_at = time.monotonic()
            return known.found
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

    async def _answer(self, key: Key, question: Question) -> Found:
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

    async def _ask(self, key: Key) -> Found:
        user_id, graph_id, version, preset_id = key
        known = self._known.get(key)
        asked_at = time.monotonic()
        request = GetRunnableGraphRequest(
            graph_id=graph_id,
            version=version,
            user_id=user_id,
            known_etag=known.etag if known else b"",
            preset_id=preset_id,
            wants_lease=not version
            and not preset_id
            and known is not None
            and asked_at - known.wanted_at < BUSY_SECONDS,
        )
        try:
            answer = await self.stub.GetRunnableGraph(request)
        except grpc.aio.AioRpcError as error:
            raise _translated(error, GraphNotFound) from error
        is_known = known is not None and answer.etag == known.etag
        runnable = known.found.runnable if known is not None and is_known else self._compiled(answer)
        seconds = FRESH_SECONDS if version else answer.lease.ToNanoseconds() / 1e9
        # Wanted until now: a slow answer does not make a busy graph look idle.
        # A preset comes with every answer, and may be large: nobody would be served what was kept of it.
        holds_until = 0.0 if preset_id else asked_at + seconds
        self._known[key] = Known(holds_until, time.monotonic(), answer.etag, Found(runnable, NO_PRESET))
        self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return Found(runnable, _preset(answer) if preset_id else NO_PRESET)

    def _compiled(self, answer: GetRunnableGraphResponse) -> Runnable:
        """Once for all presets of a graph."""
        runnable = self._runnables.get(answer.etag)
        if runnable is None:
            runnable = self._runnables[answer.etag] = Runnable(answer.graph, answer.blocks, self.limits)
        return runnable


def _preset(answer: GetRunnableGraphResponse) -> Preset:
    inputs: dict[str, Any] = parse(answer.preset.inputs_json)
    return Preset(inputs, dict(answer.preset.credentials))


def _translated(error: grpc.aio.AioRpcError, not_found: type[NotFound]) -> Exception:
    """The graph service's answer as ours: its refusals are the caller's, its absence is passing."""
    code, message = error.code(), error.details() or ""
    if code == grpc.StatusCode.NOT_FOUND:
        status = rpc_status.from_call(error)
        named = reason_of(status) if status is not None else None
        return PresetNotFound(message) if named == "PRESET_NOT_FOUND" else not_found(message)
    if code == grpc.StatusCode.FAILED_PRECONDITION:
        return GraphNotRunnable(message)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return Unavailable("The graph service is away. Try again.")
    return error
