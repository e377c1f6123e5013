"""The execution service as the vault asks it: a real server of TaskService that knows the runs a test has begun."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from blockyard.runner.v1.heartbeat_pb2 import Holding
from blockyard.runner.v1.lease_service_pb2 import LeaseCredentialsRequest
from blockyard.runner.v1.task_service_pb2 import (
    CheckRunsRequest,
    CheckRunsResponse,
    FindCredentialUsesRequest,
    FindCredentialUsesResponse,
    RunVerdict,
)
from blockyard.runner.v1.task_service_pb2_grpc import TaskServiceServicer, add_TaskServiceServicer_to_server

Context = grpc.aio.ServicerContext[Any, Any]
Key = tuple[bytes, int, int, int]


def key_of(run: Holding) -> Key:
    return run.execution_id, run.node_execution, run.attempt, run.run_id


@dataclass(eq=False)
class TaskServer(TaskServiceServicer):
    """What is not known here is dead."""

    alive: dict[Key, RunVerdict] = field(default_factory=dict)
    unknown: set[Key] = field(default_factory=set)
    asked: list[CheckRunsRequest] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers wait until it is set."""
    away: bool = False
    address: str = ""
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def begin(self, user: str, credential_ids: Mapping[str, str], *, attempt: int = 1) -> Holding:
        """A run that wants these credentials, by pin."""
        number = next(self.numbers)
        run = Holding(
            execution_id=uuid.uuid4().bytes,
            node_execution=number,
            attempt=attempt,
            partition=3,
            run_id=(1 << 63) + number,
        )
        self.alive[key_of(run)] = RunVerdict(
            alive=True, user_id=user, graph_id="graph-1", node_id=f"node-{number}", credential_ids=credential_ids
        )
        return run

    def end(self, run: Holding) -> None:
        """The node execution has ended, or its task was sent again."""
        del self.alive[key_of(run)]

    async def CheckRuns(self, request: CheckRunsRequest, context: Context) -> CheckRunsResponse:
        self.asked.append(request)
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away for the test")
        await self.gate.wait()
        return CheckRunsResponse(verdicts=[self._verdict(run) for run in request.runs])

    async def FindCredentialUses(
        self, request: FindCredentialUsesRequest, context: Context
    ) -> FindCredentialUsesResponse:
        return FindCredentialUsesResponse()

    def _verdict(self, run: Holding) -> RunVerdict:
        if key_of(run) in self.unknown:
            return RunVerdict(unknown=True, reason="nobody drives its execution at this moment")
        return self.alive.get(key_of(run), RunVerdict(reason="its task was sent again"))


@asynccontextmanager
async def tasks() -> AsyncIterator[TaskServer]:
    """It serves while the context is open."""
    served = TaskServer()
    served.gate.set()
    server = grpc.aio.server()
    add_TaskServiceServicer_to_server(served, server)
    served.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield served
    finally:
        served.gate.set()
        await server.stop(0)


def asking(run: Holding, *pins: str) -> LeaseCredentialsRequest:
    """A runner's request."""
    return LeaseCredentialsRequest(runner_id="default-0123", run=run, pins=pins)
