"""Executions, through ExecutionService: starting, following, results, stopping. Values travel as exact JSON."""

import asyncio
import math
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from blockyard import values
from blockyard.calls import Caller
from blockyard.errors import DeadlineExceeded, ExecutionCancelled, ExecutionFailed, results_incomplete
from blockyard.events import Event, fill, follow, list_events, until_end
from blockyard.execution.v1 import execution_pb2
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.records import (
    AbsentResult,
    Execution,
    ExecutionStatus,
    Explanation,
    Json,
    NodeExecution,
    Repair,
    Results,
    absence_name,
    json_object,
)

if TYPE_CHECKING:
    from blockyard.execution.v1.execution_service_pb2_grpc import (
        ExecutionServiceAsyncStub,  # there for type checkers alone
    )

JSON = messages.VALUE_FORMAT_JSON
STOP_DEADLINE = 15.0

Decision = Literal["retry", "complete", "fail", "approve", "reject"]
_DECISIONS = {
    "retry": messages.DECISION_RETRY,
    "complete": messages.DECISION_COMPLETE,
    "fail": messages.DECISION_FAIL,
    "approve": messages.DECISION_APPROVE,
    "reject": messages.DECISION_REJECT,
}

CreditsPolicy = Literal["wait", "fail"]
# Waiting is what a request without a policy means: so one with the same id is the same, whoever sent it.
_CREDITS_POLICIES = {"wait": messages.CREDITS_POLICY_UNSPECIFIED, "fail": messages.CREDITS_POLICY_FAIL}


def credits_policy_number(policy: CreditsPolicy) -> messages.CreditsPolicy.ValueType:
    """As messages have it."""
    return _CREDITS_POLICIES[policy]


UNCHANGED: Final = object()
"""Stands for the data of an approval as it is: None is a value."""


class ExecutionsClient:
    """The caller's executions."""

    def __init__(self, stub: "ExecutionServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._call = call

    async def start(
        self,
        graph_id: str = "",
        inputs: Mapping[str, Json] | None = None,
        *,
        preset: str = "",
        version: int = 0,
        request_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        credentials: Mapping[str, str] | None = None,
        credits_policy: CreditsPolicy = "wait",
    ) -> "ExecutionHandle":
        """Starts an execution; once this returns it ends, whatever dies. Version 0 is the active one.

        `preset` is the id of a preset whose inputs and credentials count where this call gives none of that name; the
        graph may then be left out, and version 0 is the preset's.

        `credentials` are ids by the name of the graph's field, or for one node by "<node id>.<pin>"; what is not named
        is found if exactly one of the caller's fits, else CredentialsMissing names the fields. When the caller's
        credits run out it waits for more, or fails, by `credits_policy`.

        The same `request_id` twice is one execution; without one, each call draws its own and is safely repeated.
        """
        request = messages.StartExecutionRequest(
            graph_id=graph_id,
            graph_version=version,
            inputs_json=values.encode(dict(inputs or {})),
            request_id=request_id or str(uuid.uuid4()),
            labels=labels or {},
            priority=priority,
            credentials=credentials or {},
            credits_policy=_CREDITS_POLICIES[credits_policy],
            preset_id=preset,
        )
        answer = await self._call(self._stub.StartExecution, request, messages.StartExecutionResponse, repeatable=True)
        return self.handle(answer.execution.id)

    def handle(self, execution_id: str) -> "ExecutionHandle":
        """The handle of an execution that was started before. Makes no call."""
        return ExecutionHandle(execution_id, self)

    async def get(self, execution_id: str) -> Execution:
        """An execution as it stands."""
        request = messages.GetExecutionRequest(execution_id=execution_id, value_format=JSON)
        answer = await self._call(self._stub.GetExecution, request, messages.GetExecutionResponse, repeatable=True)
        return Execution.from_proto(answer.execution)

    async def list(
        self,
        *,
        graph_id: str = "",
        statuses: Sequence[ExecutionStatus] = (),
        labels: Mapping[str, str] | None = None,
        page_size: int = 0,
    ) -> AsyncIterator[Execution]:
        """The caller's executions, newest first, without inputs."""
        token = ""
        while True:
            request = messages.ListExecutionsRequest(
                page_size=page_size,
                page_token=token,
                graph_id=graph_id,
                statuses=[execution_pb2.ExecutionStatus.ValueType(status.value) for status in statuses],
                labels=labels or {},
            )
            answer = await self._call(
                self._stub.ListExecutions, request, messages.ListExecutionsResponse, repeatable=True
            )
            for execution in answer.executions:
                yield Execution.from_proto(execution)
            token = answer.next_page_token
            if not token:
                return

    async def stop(self, execution_id: str) -> Execution:
        """Stops an execution. One that has ended is returned unchanged."""
        request = messages.StopExecutionRequest(execution_id=execution_id)
        answer = await self._call(
            self._stub.StopExecution,
            request,
            messages.StopExecutionResponse,
            repeatable=True,
            deadline=max(self._call.deadline, STOP_DEADLINE),
        )
        return Execution.from_proto(answer.execution)

    async def stop_all(self, graph_id: str = "") -> int:
        """Stops all of the caller's executions, or all of one graph; gives how many had not ended."""
        request = messages.StopExecutionsRequest(graph_id=graph_id)
        answer = await self._call(self._stub.StopExecutions, request, messages.StopExecutionsResponse, repeatable=True)
        return answer.stopping

    async def nodes(self, execution_id: str, node_id: str = "", page_size: int = 0) -> AsyncIterator[NodeExecution]:
        """The node executions in order of their outcome; those that have none yet come last."""
        token = ""
        while True:
            request = messages.ListNodeExecutionsRequest(
                execution_id=execution_id,
                node_id=node_id,
                page_size=page_size,
                page_token=token,
                value_format=JSON,
            )
            answer = await self._call(
                self._stub.ListNodeExecutions, request, messages.ListNodeExecutionsResponse, repeatable=True
            )
            for node_execution in answer.node_executions:
                yield NodeExecution.from_proto(node_execution)
            token = answer.next_page_token
            if not token:
                return

    async def results(self, execution_id: str, *, absent_as_none: bool = False) -> Results:
        """The values that the graph's outputs have been given so far, by name.

        Where a value cannot be had, gone from the blob store or larger than a message, raises ResultsIncomplete, which
        has all the others. With `absent_as_none`, None stands in its place instead.
        """
        results: dict[str, list[Json]] = {}
        absent: list[AbsentResult] = []
        token = ""
        while True:
            request = messages.GetExecutionResultsRequest(
                execution_id=execution_id, value_format=JSON, page_token=token
            )
            answer = await self._call(
                self._stub.GetExecutionResults, request, messages.GetExecutionResultsResponse, repeatable=True
            )
            for one in answer.absent_values:
                index = len(results.get(one.output, ())) + one.index  # theirs is in the list of that answer
                absent.append(AbsentResult(one.output, index, absence_name(one.absence), one.message))
            for name, given in json_object(answer.results_json).items():
                results.setdefault(name, []).extend(given)
            token = answer.next_page_token
            if not token:
                break
        if absent and not absent_as_none:
            raise results_incomplete(results, absent)
        return results

    def watch(self, execution_id: str, after: int = 0) -> AsyncGenerator[Event]:
        """Events after a sequence, those to come included, without gaps; ends with the execution."""
        return follow(self._stub, self._call, execution_id, after)

    def events(self, execution_id: str, after: int = 0) -> AsyncGenerator[Event]:
        """The events after a sequence that are there now."""
        return list_events(self._stub, self._call, execution_id, after)

    def between(self, execution_id: str, after: int, last: int) -> AsyncGenerator[Event]:
        """The events after sequence `after` up to `last`, however long the service is away; raises HistoryGap where
        some are no longer kept."""
        return fill(self._stub, self._call, execution_id, after, last, longest_outage=math.inf)

    async def wait(self, execution_id: str, timeout: float | None = None) -> Execution:
        """Waits until the execution has ended. Raises DeadlineExceeded after `timeout` seconds; it goes on then."""
        execution = await self.get(execution_id)
        if execution.status.ended:
            return execution
        try:
            async with asyncio.timeout(timeout):
                await until_end(self._stub, self._call, execution_id, execution.last_event_sequence)
        except TimeoutError as error:
            raise DeadlineExceeded(f"execution {execution_id} has not ended after {timeout:g} seconds") from error
        return await self.get(execution_id)

    async def explain(self, execution_id: str) -> Explanation:
        """What an execution waits for, who holds it, and when it is looked at next."""
        request = messages.ExplainExecutionRequest(execution_id=execution_id)
        answer = await self._call(
            self._stub.ExplainExecution, request, messages.ExplainExecutionResponse, repeatable=True
        )
        return Explanation.from_proto(answer)

    async def resume_node(
        self,
        execution_id: str,
        node_execution: int,
        decision: Decision,
        *,
        outputs: Results | None = None,
        data: Any = UNCHANGED,
        message: str = "",
        request_id: str | None = None,
    ) -> None:
        """Decides what becomes of a node execution that waits for a person.

        One whose outcome is not known is run again, taken as completed with `outputs` (by pin), or as failed with
        `message`. One that waits for an approval is approved, with other `data` (a JSON value) where the node lets it
        be changed, or rejected, both with a `message` to the graph; or taken as failed.
        """
        request = messages.ResumeNodeRequest(
            execution_id=execution_id,
            node_execution=node_execution,
            decision=_DECISIONS[decision],
            outputs_json=values.encode(dict(outputs)) if outputs is not None else b"",
            data_json=values.encode(data) if data is not UNCHANGED else b"",
            message=message,
            request_id=request_id or str(uuid.uuid4()),
        )
        await self._call(self._stub.ResumeNode, request, messages.ResumeNodeResponse, repeatable=True)

    async def repair_streams(self) -> Repair:
        """Makes streams of NATS that are missing, and says what else is missing yet. For administrators. Call it again
        until it is `whole`: what belongs into the streams comes within seconds."""
        answer = await self._call(
            self._stub.RepairStreams,
            messages.RepairStreamsRequest(),
            messages.RepairStreamsResponse,
            repeatable=True,
            deadline=max(self._call.deadline, STOP_DEADLINE),
        )
        return Repair.from_proto(answer)


@dataclass(frozen=True, slots=True)
class ExecutionHandle:
    """One execution, to follow and to ask for its result."""

    id: str
    _executions: ExecutionsClient

    async def get(self) -> Execution:
        """The execution as it stands."""
        return await self._executions.get(self.id)

    def watch(self, after: int = 0) -> AsyncGenerator[Event]:
        """Events after a sequence, those to come included, without gaps; ends with the execution."""
        return self._executions.watch(self.id, after)

    def nodes(self, node_id: str = "") -> AsyncIterator[NodeExecution]:
        """Its node executions, or those of one node."""
        return self._executions.nodes(self.id, node_id)

    async def wait(self, timeout: float | None = None) -> Execution:
        """Waits until it has ended, however it ends."""
        return await self._executions.wait(self.id, timeout)

    async def result(self, timeout: float | None = None, *, absent_as_none: bool = False) -> Results:
        """Waits until it has completed, and gives the lists of values by name of the output.

        Raises ExecutionFailed or ExecutionCancelled if it ended otherwise, and ResultsIncomplete if a value cannot be
        had; with `absent_as_none`, None stands in the place of such a value instead.
        """
        execution = await self.wait(timeout)
        reason = f": {execution.status_message}" if execution.status_message else ""
        if execution.status is ExecutionStatus.FAILED:
            raise ExecutionFailed(self.id, f"execution {self.id} failed{reason}")
        if execution.status is ExecutionStatus.CANCELLED:
            raise ExecutionCancelled(self.id, f"execution {self.id} was stopped{reason}")
        return await self.results(absent_as_none=absent_as_none)

    async def results(self, *, absent_as_none: bool = False) -> Results:
        """What the outputs have been given so far. Raises ResultsIncomplete if a value of them cannot be had; with
        `absent_as_none`, None stands in the place of such a value instead."""
        return await self._executions.results(self.id, absent_as_none=absent_as_none)

    async def stop(self) -> Execution:
        """Stops it. If it has ended, it is returned unchanged."""
        return await self._executions.stop(self.id)

    async def explain(self) -> Explanation:
        """What it waits for, who holds it, and when it is looked at next."""
        return await self._executions.explain(self.id)
