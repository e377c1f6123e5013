"""ExecutionService: translate, authorise, delegate, answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID

from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import Execution, ExecutionStatus
from blockyard.execution.v1.execution_service_pb2_grpc import ExecutionServiceServicer
from grpc.aio import ServicerContext

from services.common.bus import Bus
from services.common.errors import InvalidArgument, Violation
from services.common.identity import current_caller
from services.common.paging import decode_page_token, encode_page_token, page_size
from services.execution import translation
from services.execution.block_plans import BLOCK_NODE
from services.execution.block_runs import BlockRuns
from services.execution.block_setup import Setup
from services.execution.commands import Stop, encode_command
from services.execution.deciding import Decider, may_decide
from services.execution.engine.effects import ExecutionStatus as Status
from services.execution.errors import ExecutionNotFound, NodeExecutionNotFound, NodeNotWaiting
from services.execution.history import ANSWER_BYTES, History
from services.execution.inspection import Inspector
from services.execution.purse import Purse
from services.execution.records import ExecutionFilter, ExecutionRow, OutputPlace, Progress, Watched
from services.execution.repairing import Repair
from services.execution.repository.children import ChildRepository
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.leases import LeaseRepository
from services.execution.secret_inputs import SecretInputs, Secrets
from services.execution.starting import Starter, StartRequest
from services.execution.telling import timestamp
from services.execution.watching import Watchers, watch

MOST_RESULTS = 100_000
"""Results in an answer, if that many fit into it."""

LONG_WORK = 64 << 10
"""Bytes of JSON that take more than some milliseconds to be made a Struct."""

STOP_SECONDS = 10.0
"""Longest time that a stop waits for the end of the execution."""

BLOCK_SECONDS = 600.0
"""Longest time that the run of a block is waited for. It goes on after that."""


@dataclass(slots=True, eq=False)
class Parts:
    """What the API works with."""

    starter: Starter
    block_runs: BlockRuns
    executions: ExecutionRepository
    children: ChildRepository
    leases: LeaseRepository
    inspector: Inspector
    decider: Decider
    history: History
    secret_inputs: SecretInputs
    watchers: Watchers
    bus: Bus
    token_secret: str
    repair: Repair
    purse: Purse | None
    """None where credits are not counted."""
    local: Callable[[int], bool]
    """Whether a partition is held here."""
    commanded: Callable[[UUID, int], None]
    """Tells the owner (execution, partition) that there is a command."""
    holder: Callable[[UUID, int], str]
    """The runner that has told this replica that it holds a node execution; empty if none has."""


Answer = TypeVar("Answer")

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class ExecutionApi(ExecutionServiceServicer):
    """The public methods; every caller sees its own executions only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def StartExecution(
        self, request: messages.StartExecutionRequest, context: Context
    ) -> messages.StartExecutionResponse:
        """Starts an execution."""
        path = "inputs_json" if request.inputs_json else "inputs"
        row = await self._parts.starter.start(
            StartRequest(
                user_id=current_caller().user_id,
                graph_id=translation.graph_id(request.graph_id),
                graph_version=request.graph_version,
                inputs=translation.json_object(request.inputs, request.inputs_json, path),
                request_id=request.request_id,
                labels=dict(request.labels),
                priority=request.priority,
                credentials=dict(request.credentials),
                credits_policy=request.credits_policy,
                preset_id=translation.preset_id(request.preset_id),
            )
        )
        exact = messages.VALUE_FORMAT_JSON if request.inputs_json else messages.VALUE_FORMAT_STRUCT
        return messages.StartExecutionResponse(execution=await self._shown(row, None, exact))

    async def GetExecution(
        self, request: messages.GetExecutionRequest, context: Context
    ) -> messages.GetExecutionResponse:
        """Gets one execution."""
        row = await self._own(request.execution_id)
        progress = await self._progress(row)
        return messages.GetExecutionResponse(execution=await self._shown(row, progress, request.value_format))

    async def ListExecutions(
        self, request: messages.ListExecutionsRequest, context: Context
    ) -> messages.ListExecutionsResponse:
        """Lists the caller's executions, newest first."""
        user_id = current_caller().user_id
        statuses = translation.statuses(request.statuses)
        labels = dict(request.labels)
        graph_id = translation.graph_id(request.graph_id)
        parent = translation.execution_id(request.parent_execution_id) if request.parent_execution_id else None
        scope = f"ListExecutions {user_id} {graph_id} {statuses} {sorted(labels.items())} {parent or ''}"
        size = page_size(request.page_size)
        before = None
        if request.page_token:
            before = UUID(str(decode_page_token(self._parts.token_secret, scope, request.page_token)[0]))
        of = ExecutionFilter(user_id, graph_id, statuses, labels, parent)
        rows = await self._parts.executions.page(of, before, size + 1)
        unended = [row.execution_id for row in rows[:size] if row.status < Status.COMPLETED]
        progress = await self._parts.executions.progress(unended) if unended else {}
        answer = messages.ListExecutionsResponse(
            executions=[
                translation.execution_message(row, progress.get(row.execution_id), 0, with_inputs=False)
                for row in rows[:size]
            ]
        )
        if len(rows) > size:
            last = str(rows[size - 1].execution_id)
            answer.next_page_token = encode_page_token(self._parts.token_secret, scope, [last])
        return answer

    async def StopExecution(
        self, request: messages.StopExecutionRequest, context: Context
    ) -> messages.StopExecutionResponse:
        """Stops an execution and waits for its end."""
        row = await self._own(request.execution_id)
        if request.graph_id and translation.graph_id(request.graph_id) != row.graph_id:
            raise ExecutionNotFound("That graph has no such execution.")
        progress = await self._progress(row)
        if row.status < Status.COMPLETED:
            if await self._stop(row.execution_id):
                row = await self._ended(row, progress, context, STOP_SECONDS)
            else:
                # It has ended since it was read.
                row = await self._own(request.execution_id)
            progress = await self._progress(row)
        return messages.StopExecutionResponse(execution=await self._shown(row, progress, 0))

    async def StopExecutions(
        self, request: messages.StopExecutionsRequest, context: Context
    ) -> messages.StopExecutionsResponse:
        """Asks all of the caller's executions to stop."""
        executions, user_id = self._parts.executions, current_caller().user_id
        found = await executions.unended_of(user_id, translation.graph_id(request.graph_id))
        stopping = await executions.command_each(found, *encode_command(_stop(user_id)))
        for execution_id, partition in stopping.items():
            self._parts.commanded(execution_id, partition)
        return messages.StopExecutionsResponse(stopping=len(stopping))

    async def ListNodeExecutions(
        self, request: messages.ListNodeExecutionsRequest, context: Context
    ) -> messages.ListNodeExecutionsResponse:
        """Lists node executions: outcomes in their order, then what is alive."""
        row = await self._own(request.execution_id)
        scope = f"ListNodeExecutions {row.execution_id} {request.node_id}"
        size = page_size(request.page_size, default=100)
        position = (0, 0, 0)
        if request.page_token:
            phase, first, second = decode_page_token(self._parts.token_secret, scope, request.page_token)
            position = (int(phase), int(first), int(second))
        answer = messages.ListNodeExecutionsResponse()
        secrets = await self._parts.secret_inputs.of(row.plan_hash)
        room = ANSWER_BYTES
        async for found in self._parts.history.node_executions(row, request.node_id, position, size + 1):
            found.row = secrets.of_node(found.row)
            node = await _aside(found.size, translation.node_message, row.execution_id, found, request.value_format)
            room -= node.ByteSize()
            held = len(answer.node_executions)
            if held == size or (held and room < 0):
                answer.next_page_token = encode_page_token(self._parts.token_secret, scope, position)
                break
            answer.node_executions.append(node)
            position = found.position
        children = await self._parts.children.of(row.execution_id, [node.number for node in answer.node_executions])
        for node in answer.node_executions:
            if node.number in children:
                node.child_execution_id = str(children[node.number])
        return answer

    async def GetExecutionResults(
        self, request: messages.GetExecutionResultsRequest, context: Context
    ) -> messages.GetExecutionResultsResponse:
        """Gets the results so far."""
        row = await self._own(request.execution_id)
        scope = f"GetExecutionResults {row.execution_id}"
        size = page_size(request.page_size, default=MOST_RESULTS, largest=MOST_RESULTS)
        place = OutputPlace()
        if request.page_token:
            name, number, *position = decode_page_token(self._parts.token_secret, scope, request.page_token)
            place = OutputPlace(str(name), tuple(map(int, position)), int(number))
        answer = messages.GetExecutionResultsResponse(status=_status(row))
        page = translation.ResultPage(request.value_format)
        async for result in self._parts.history.results(row.execution_id, place):
            has_room = await _aside(len(result.value), page.add, result, ANSWER_BYTES)
            place = result.place if has_room else place
            # Whether there is more is not looked at: a large value would be fetched for the next page alone.
            if not has_room or page.count == size:
                end: list[str | int] = [place.name, place.number, *place.position]
                answer.next_page_token = encode_page_token(self._parts.token_secret, scope, end)
                break
        page.write(answer)
        return answer

    async def ListEvents(self, request: messages.ListEventsRequest, context: Context) -> messages.ListEventsResponse:
        """Lists events after a sequence."""
        row = await self._own(request.execution_id)
        _check_sequence(request.after_sequence)
        size = page_size(request.page_size, default=1000, largest=10_000)
        events, complete = await self._parts.history.events(row.execution_id, request.after_sequence, size)
        return messages.ListEventsResponse(events=events, complete=complete)

    async def WatchExecution(
        self, request: messages.WatchExecutionRequest, context: Context
    ) -> AsyncIterator[messages.WatchExecutionResponse]:
        """Streams events until the execution's last."""
        watched = await self._watched(request.execution_id)
        _check_sequence(request.after_sequence)
        parts = self._parts
        async for events in watch(
            watched, request.after_sequence, parts.watchers, parts.bus, parts.executions, parts.local
        ):
            async for portion in parts.history.portions(events):
                yield messages.WatchExecutionResponse(events=portion)

    async def ExplainExecution(
        self, request: messages.ExplainExecutionRequest, context: Context
    ) -> messages.ExplainExecutionResponse:
        """Says what an execution waits for."""
        row = await self._own(request.execution_id)
        owners = await self._parts.leases.owners()
        owner, _ = owners.get(row.partition, ("", ""))
        answer = messages.ExplainExecutionResponse(
            execution=await self._shown(row, await self._progress(row), 0), owner=owner
        )
        if row.status >= Status.COMPLETED:
            answer.summary = f"It has ended: {row.status.name}."
            return answer
        answer.next_look_time.FromDatetime(row.wake_at)
        if row.parked:
            answer.summary = f"It is parked, and will be tried again: {row.parked}"
            return answer
        waits = await self._parts.inspector.waits(row) if row.status != Status.QUEUED else []
        balance = await self._parts.purse.balance(row.user_id) if self._parts.purse is not None else None
        if balance is not None and balance <= 0:
            # Whatever waits for a runner waits for credits first.
            answer.waiting.add(reason=f"credits of {row.user_id}: the balance is {balance}")
        for wait in waits:
            waiting = answer.waiting.add(node_execution=wait.number, node_id=wait.node_id, reason=wait.reason)
            if wait.number:
                waiting.runner = self._parts.holder(row.execution_id, wait.number)
            if wait.wake_ms:
                waiting.wake_time.CopyFrom(timestamp(wait.wake_ms))
        holder = f"replica {owner}" if owner else "no replica at this moment; the next one to take over its partition"
        what = "; ".join(dict.fromkeys(f"{wait.node_id}: {wait.reason}" for wait in waits[:5])) or "its first turn"
        if balance is not None and balance <= 0:
            what = f"credits of its owner, whose balance is {balance}; {what}"
        answer.summary = f"It waits for {what}. It is driven by {holder}."
        return answer

    async def ResumeNode(self, request: messages.ResumeNodeRequest, context: Context) -> messages.ResumeNodeResponse:
        """Decides what becomes of a node execution that is AMBIGUOUS, or that waits for an approval."""
        parts = self._parts
        row = await self._own(request.execution_id)
        given = parts.decider.read(request)
        if request.request_id and await parts.executions.has_command(row.execution_id, request.request_id):
            # Repeated by a client that has not got the answer.
            return messages.ResumeNodeResponse()
        if row.status >= Status.COMPLETED:
            raise NodeNotWaiting("The execution has ended.")
        node = await parts.inspector.find(row, request.node_execution)
        if node is None:
            raise NodeExecutionNotFound(f"Node execution {request.node_execution} is not alive in this execution.")
        if not may_decide(node):
            name = node.place.node.id
            raise NodeNotWaiting(f"Node execution {request.node_execution} of {name} is {node.status.name}.")
        kind, body = encode_command(await parts.decider.command(request, given, row, node))
        partition = await parts.executions.command(row.execution_id, kind, body, request.request_id or None)
        if partition is None:
            raise NodeNotWaiting("The execution has ended.")
        parts.commanded(row.execution_id, partition)
        return messages.ResumeNodeResponse()

    async def RunBlock(self, request: messages.RunBlockRequest, context: Context) -> messages.RunBlockResponse:
        """Runs one block and waits for its end."""
        path = "inputs_json" if request.inputs_json else "inputs"
        inputs = translation.json_object(request.inputs, request.inputs_json, path)
        user_id = current_caller().user_id
        started = await self._parts.block_runs.start(
            StartRequest(
                user_id,
                inputs,
                request.request_id,
                block_id=request.block_id,
                credentials=dict(request.credentials),
            )
        )
        if isinstance(started, Setup):
            return messages.RunBlockResponse(setup_requirements=translation.setup_message(started))
        row = started
        if row.status < Status.COMPLETED:
            row = await self._ended(row, Progress(), context, BLOCK_SECONDS)
        answer = messages.RunBlockResponse(
            execution=translation.execution_message(row, await self._progress(row), 0, with_inputs=False)
        )
        if row.status >= Status.COMPLETED:
            async for found in self._parts.history.node_executions(row, BLOCK_NODE, (0, 0, 0), 1):
                found.row = replace(found.row, inputs=b"{}")
                node = await _aside(found.size, translation.node_message, row.execution_id, found, request.value_format)
                answer.node_execution.CopyFrom(node)
        return answer

    async def RepairStreams(
        self, request: messages.RepairStreamsRequest, context: Context
    ) -> messages.RepairStreamsResponse:
        """Makes streams that are missing, and says what else is."""
        return translation.repair_message(await self._parts.repair.run())

    async def _own(self, text: str) -> ExecutionRow:
        row = await self._parts.executions.get(translation.execution_id(text), current_caller().user_id)
        if row is None:
            raise ExecutionNotFound
        return row

    async def _watched(self, text: str) -> Watched:
        recent = self._parts.watchers.recent.of(translation.execution_id(text).bytes)
        if recent is not None and recent.watched.user_id == current_caller().user_id:
            return recent.watched
        return (await self._own(text)).watched

    async def _shown(self, row: ExecutionRow, progress: Progress | None, value_format: int) -> Execution:
        """An execution as clients see it, with its inputs, of which secret ones are hidden."""
        secrets = await self._parts.secret_inputs.of(row.plan_hash)
        return await _aside(len(row.inputs), _with_inputs, row, progress, value_format, secrets)

    async def _progress(self, row: ExecutionRow) -> Progress:
        """How far it has come; the row of one that has not ended says how far it had when its status changed last."""
        if row.status < Status.COMPLETED:
            found = await self._parts.executions.progress([row.execution_id])
            if row.execution_id in found:
                return found[row.execution_id]
        return Progress(row.last_event, row.node_executions)

    async def _stop(self, execution_id: UUID) -> bool:
        """Stores the command; False if the execution has ended."""
        kind, body = encode_command(_stop(current_caller().user_id))
        partition = await self._parts.executions.command(execution_id, kind, body)
        if partition is None:
            return False
        self._parts.commanded(execution_id, partition)
        return True

    async def _ended(self, row: ExecutionRow, progress: Progress, context: Context, longest: float) -> ExecutionRow:
        """The execution once it has ended, or as it stands when the time is over, in seconds: what was asked for is
        durable anyway. Part of the time is left for the answer."""
        remaining = context.time_remaining()
        seconds = longest if remaining is None else min(longest, max(remaining * 0.8, remaining - 2.0))
        parts = self._parts
        try:
            async with asyncio.timeout(seconds):
                async for _ in watch(
                    row.watched, progress.last_event, parts.watchers, parts.bus, parts.executions, parts.local
                ):
                    pass
        except TimeoutError:
            pass
        return await self._own(str(row.execution_id))


async def _aside(size: int, function: Callable[..., Answer], *args: Any) -> Answer:
    """What a function makes of so many bytes; in a thread if they are many, so that turns go on meanwhile."""
    if size < LONG_WORK:
        return function(*args)
    return await asyncio.to_thread(function, *args)


def _with_inputs(row: ExecutionRow, progress: Progress | None, value_format: int, secrets: Secrets) -> Execution:
    inputs = secrets.masked(row.inputs)
    shown = row if inputs is row.inputs else replace(row, inputs=inputs)
    return translation.execution_message(shown, progress, value_format)


def _stop(user_id: str) -> Stop:
    return Stop(f"stopped by {user_id}")


def _status(row: ExecutionRow) -> ExecutionStatus.ValueType:
    return int(row.status)  # type: ignore[return-value]  # the engine's enum has the numbers of the proto's


def _check_sequence(after: int) -> None:
    if after < 0:
        raise InvalidArgument(violations=[Violation("after_sequence", f"must not be negative, got {after}")])
