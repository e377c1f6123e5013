"""What can be started: graphs with their blocks, from the graph service, compiled once for each version."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from blockyard.common.v1.errors_pb2 import ErrorReason
from blockyard.runner.v1.catalogue_service_pb2 import GetRunnableGraphRequest

from services.common.errors import FailedPrecondition, NotFound, Unavailable
from services.execution.planning import Limits, Runnable

if TYPE_CHECKING:  # the asynchronous form exists for type checkers alone
    from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceAsyncStub

KEPT = 1_000
"""Compiled graph versions that are kept."""

FRESH_SECONDS = 2.0
"""A version is fixed, but its blocks may have changed in the catalogue: asked again after this time."""


class GraphNotFound(NotFound):
    """There is no such graph, or no such version of it, or it belongs to somebody else."""

    reason = ErrorReason.ERROR_REASON_GRAPH_NOT_FOUND


class GraphNotRunnable(FailedPrecondition):
    """The graph can no longer run, since a block that it uses is gone or has changed."""

    reason = ErrorReason.ERROR_REASON_GRAPH_NOT_RUNNABLE


@dataclass(slots=True, eq=False)
class Catalogue:
    """Asks the graph service and keeps what it said for a moment."""

    stub: "CatalogueServiceAsyncStub"
    limits: Limits
    _known: OrderedDict[tuple[str, str, int], tuple[float, Runnable]] = field(default_factory=OrderedDict)

    async def runnable(self, user_id: str, graph_id: str, version: int) -> Runnable:
        """A user's graph at a version (0: the active one)."""
        key = (user_id, graph_id, version)
        known = self._known.get(key)
        # Which version is active is always asked: a start follows the edit before it.
        if version and known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        request = GetRunnableGraphRequest(graph_id=graph_id, version=version, user_id=user_id)
        asked = time.monotonic()
        try:
            answer = await self.stub.GetRunnableGraph(request)
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error
        runnable = known[1] if known is not None else None
        if runnable is None or runnable.source != answer.SerializeToString(deterministic=True):
            runnable = Runnable(answer.graph, answer.blocks, self.limits)
            runnable.source = answer.SerializeToString(deterministic=True)
        self._known[key] = (asked, runnable)
        self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return runnable


def _translated(error: grpc.aio.AioRpcError) -> Exception:
    """The graph service's answer as ours: its refusals are the caller's, its absence is passing."""
    code, message = error.code(), error.details() or ""
    if code == grpc.StatusCode.NOT_FOUND:
        return GraphNotFound(message)
    if code == grpc.StatusCode.FAILED_PRECONDITION:
        return GraphNotRunnable(message)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return Unavailable("The graph service is away. Try again.")
    return error
