"""Executions that a node of another one waits for. What flows where, and what becomes of a failure there:

parent's turn -> wanted     the node is AWAITING in its state: whoever loads the parent asks again
wanted -> start             an ordinary start, whose request id is of the attempt: repeated, it is the same child. The
                            graph service is away: asked again; the graph cannot be started: the child has failed
child's last turn -> told   a command of the parent, whose request id is of the attempt. Lost on the way: the child's
                            row says that its parent was not told, and is looked for by the clock
parent's end -> stop        a command of each child. Lost, or started meanwhile: found by the clock as well

No lock is held on a parent's row in a turn of its child: two owners could wait for each other so (decision 17).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

import grpc
import msgspec
import orjson
import structlog
from blockyard.block.dynamic_pins import base_pin, fold, is_dynamic
from blockyard.values import BLOB_KEY

from services.common.backoff import delays
from services.common.blobs import BlobStoreAway
from services.common.database import TROUBLE
from services.common.errors import BlockyardError, Unavailable
from services.execution.commands import EndChild, Stop, encode_command
from services.execution.engine import NodeExecution
from services.execution.engine.effects import ExecutionStatus
from services.execution.engine.plan import NodeKind, Plan
from services.execution.engine.state import LiveStatus
from services.execution.errors import ValueMissing, ValueTooLarge
from services.execution.large_values import MARK, REFERENCE, LargeValues
from services.execution.live import Live
from services.execution.loading import CannotLoad
from services.execution.planning import GraphPart, Runnable
from services.execution.records import ExecutionRow, OutputPlace, Parent
from services.execution.refusals import is_lasting
from services.execution.repository.children import ChildRepository
from services.execution.repository.executions import ExecutionRepository
from services.execution.starting import Starter, StartRequest

log = structlog.get_logger()

MOST_NESTED = 20
"""Executions above one another: a graph that runs itself comes to an end."""

RESULT_BYTES = 4 << 20
"""Results of a child that its parent takes, together: as many as a start takes in."""

AT_ONCE = 50
"""Children that are started together, and whose ends are told together."""

LOOK_SECONDS = 10.0
"""How often children are looked for whose parents were not told, or have ended."""

MOST_FOUND = 1_000
"""As many of them are found at once."""

LONGEST_GRAPH_ID = 200
"""Characters. A link may bring any text, and refusals repeat it."""

LATEST_VERSION = 2**31 - 1
"""What a request has room for."""

OWN_PINS = frozenset(
    {
        "user_id",
        "graph_id",
        "graph_version",
        "agent_name",
        "inputs",
        "input_schema",
        "output_schema",
        "nodes_input_masks",
    }
)
"""Pins of the node that say what to run; all others are inputs of the graph that it runs."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A child that is to be started."""

    live: Live
    execution: NodeExecution
    attempt: int

    @property
    def alive(self) -> bool:
        """False if its parent does not wait for it any more, or is not in memory."""
        return not self.live.gone and self.execution.attempt == self.attempt


def is_child(live: Live, execution: NodeExecution) -> bool:
    """Whether a node execution waits for another execution."""
    kind = live.machine.topology.plan.nodes[execution.node].kind
    return kind is NodeKind.CHILD and execution.status is LiveStatus.AWAITING


def request_id(parent: Parent) -> str:
    """Of a child's start: the same for one attempt of a node execution."""
    return f"child of {parent.execution_id} {parent.number} {parent.attempt}"


def end_id(parent: Parent) -> str:
    """Of the command that tells a child's end: the same for one attempt of a node execution."""
    return f"end of child {parent.number} {parent.attempt}"


@dataclass(slots=True, eq=False)
class Children:
    """Starts, tells and stops children for the executions that this replica drives."""

    starter: Starter
    rows: ChildRepository
    executions: ExecutionRepository
    held: Callable[[], list[int]]
    """Partitions held here."""
    commanded: Callable[[UUID, int], None]
    """Tells the owner of an execution that there is a command."""
    large_values: LargeValues
    _wanted: dict[tuple[bytes, int], Wanted] = field(default_factory=dict)
    _ended: deque[UUID] = field(default_factory=deque)
    """Children that have ended here."""
    _parents: deque[UUID] = field(default_factory=deque)
    """Executions that have ended here, and may have children."""
    _starts: asyncio.Event = field(default_factory=asyncio.Event)
    _ends: asyncio.Event = field(default_factory=asyncio.Event)

    # What the driver says

    def want(self, live: Live, execution: NodeExecution) -> None:
        """A node execution waits for a child, which may be there already."""
        self._wanted[(live.key, execution.number)] = Wanted(live, execution, execution.attempt)
        self._starts.set()

    def holds(self, live: Live) -> bool:
        """Whether an execution has to stay in memory: who else would start its children?"""
        # Of most executions, and at most times, nothing is wanted.
        return bool(self._wanted) and any((live.key, number) in self._wanted for number in live.machine.state.live)

    def ended(self, live: Live) -> None:
        """An execution has ended, and its rows say so."""
        if live.parent is not None:
            self._ended.append(live.execution_id)
        if any(node.kind is NodeKind.CHILD for node in live.machine.topology.plan.nodes):
            self._parents.append(live.execution_id)
        if self._ended or self._parents:
            self._ends.set()

    # The work

    async def run(self) -> None:
        """Starts children, until it is cancelled. Those that cannot be started now are tried again."""
        pauses = delays()
        pause: float | None = None
        while True:
            # Not wait_for: a cancellation that comes with the event would be lost.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._starts.wait()
            self._starts.clear()
            if await self._start_wanted():
                pauses, pause = delays(), 0.0
            elif self._wanted:
                pause = next(pauses)
            if not self._wanted:
                pause = None

    async def tell(self) -> None:
        """Tells ends, and stops what is forsaken, until it is cancelled. A start that waits delays neither."""
        while True:
            await self._ends.wait()
            self._ends.clear()
            await self._tell_ends()
            await self._stop_forsaken()

    async def look(self) -> None:
        """Looks by the clock for what was lost on its way, until it is cancelled."""
        while True:
            partitions = self.held()
            try:
                found = await self.rows.untold(partitions, MOST_FOUND) if partitions else []
                self._ended += (one.execution_id for one in found if one.ended)
                await self._stop([one.execution_id for one in found if not one.ended])
            except TROUBLE as error:
                log.warning("children cannot be looked for", error=repr(error))
            if self._ended:
                self._ends.set()
            await asyncio.sleep(LOOK_SECONDS)

    # Starts

    async def _start_wanted(self) -> bool:
        """Starts some of the children that are wanted. False if none could be started now."""
        some = list(islice(self._wanted.items(), AT_ONCE))
        settled = await asyncio.gather(*(self._start(wanted) for _, wanted in some))
        for (place, wanted), is_settled in zip(some, settled, strict=True):
            if self._wanted.get(place) is wanted:
                del self._wanted[place]
                if not is_settled:
                    # Behind the others: one that has to wait is not in their way.
                    self._wanted[place] = wanted
        return any(settled)

    async def _start(self, wanted: Wanted) -> bool:
        """Starts a child, or tells its parent why it cannot be. False if neither can be done now."""
        live, execution = wanted.live, wanted.execution
        if not wanted.alive:
            return True
        parent = Parent(live.execution_id, execution.number, wanted.attempt, live.root)
        try:
            refusal = await self._start_child(live, execution, parent)
            if refusal:
                await self._refuse(live, parent, refusal)
        except Unavailable:
            return False
        except (grpc.aio.AioRpcError, BlobStoreAway, *TROUBLE) as error:
            log.warning("a child cannot be started now", execution_id=str(live.execution_id), error=repr(error))
            return False
        if live.machine.ended:
            self._parents.append(live.execution_id)
            self._ends.set()
        return True

    async def _start_child(self, live: Live, execution: NodeExecution, parent: Parent) -> str:
        """Starts a child. Returns why there can be none, or ""; what may be better in a moment is raised."""
        if live.depth + 1 > MOST_NESTED:
            return f"limit reached: {MOST_NESTED} graphs that run one another"
        try:
            await self._start_wanted_run(live, execution, parent)
        except (Unavailable, BlobStoreAway, *TROUBLE):
            raise
        except ValueError as error:
            return str(error)
        except BlockyardError as error:
            violations = (f"{each.field}: {each.description}" for each in error.violations)
            return f"the graph cannot be run: {'; '.join(violations) or error}"
        except grpc.aio.AioRpcError as error:
            if not is_lasting(error):
                raise
            return f"the graph cannot be run: {error.details()}"
        except Exception as error:
            # What cannot be started here must not end the start of all others.
            log.exception("a child cannot be started at all", execution_id=str(live.execution_id))
            return f"the graph cannot be run: {error!r}"
        return ""

    async def _start_wanted_run(self, live: Live, execution: NodeExecution, parent: Parent) -> None:
        """Starts what a node wants to be run. A ValueError says what it does not say well."""
        node = live.machine.topology.plan.nodes[execution.node]
        inputs = live.machine.topology.inputs(execution.node, execution.values)
        graph_id, version = live.graph_id, live.graph_version
        if not node.child_plan:
            graph_id, version, inputs = _wanted_run(await self._whole(orjson.loads(inputs)))
        request = StartRequest(
            user_id=live.user_id,
            credits_policy=live.credits_policy,
            inputs={},
            request_id=request_id(parent),
            graph_id=graph_id,
            graph_version=version,
            priority=live.priority,
        )
        if node.child_plan:
            runnable: Runnable | GraphPart = GraphPart(graph_id, version, node.child_plan)
        else:
            runnable = await self.starter.catalogue.runnable(live.user_id, graph_id, version)
        inputs = await self._with_whole_inputs(inputs, runnable)
        await self.starter.start_child(request, runnable, inputs, parent, live.depth + 1, live.stored_credentials)

    async def _with_whole_inputs(self, inputs: bytes, runnable: Runnable | GraphPart) -> bytes:
        """The inputs, of which those that the graph takes parts of are no references to the blob store."""
        if MARK not in inputs:
            return inputs
        values = msgspec.json.decode(inputs, type=dict[str, msgspec.Raw])
        for name in _taken_apart(runnable.plan) & values.keys():
            if bytes(values[name]).startswith(REFERENCE):
                values[name] = msgspec.Raw(await self.large_values.whole(bytes(values[name])))
        return msgspec.json.encode(values)

    async def _whole(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values of a node's pins. Those that are looked into here are no references to the blob store then."""
        looked_into = OWN_PINS | {base_pin(pin) for pin in values if is_dynamic(pin)}
        for pin in looked_into & values.keys():
            value = values[pin]
            if isinstance(value, dict) and BLOB_KEY in value:
                values[pin] = orjson.loads(await self.large_values.whole(orjson.dumps(value)))
        return values

    async def _refuse(self, live: Live, parent: Parent, message: str) -> None:
        """There will be no child: its parent is told so."""
        earlier = await self.executions.by_request(live.user_id, request_id(parent))
        if earlier is not None and earlier.parent == parent:
            # It was started, and its end will be told: a limit or a deleted graph refuses the repeated start alone.
            return
        kind, body = encode_command(EndChild(parent.number, parent.attempt, [], True, message, b""))
        partition = await self.executions.command(parent.execution_id, kind, body, end_id(parent))
        if partition is not None:
            self.commanded(parent.execution_id, partition)

    # Ends

    async def _tell_ends(self) -> None:
        while self._ended:
            some = list(_taken(self._ended, AT_ONCE))
            await asyncio.gather(*(self._tell_end(execution_id) for execution_id in some))

    async def _tell_end(self, execution_id: UUID) -> None:
        try:
            row = await self.rows.ended(execution_id)
            if row is None or row.parent is None:
                return
            kind, body = encode_command(await self._end_of(row, row.parent))
            parent_id = row.parent.execution_id
            partition = await self.rows.tell(execution_id, parent_id, kind, body, end_id(row.parent))
        except (BlobStoreAway, *TROUBLE) as error:
            # The clock finds it again.
            log.warning("a parent cannot be told of its child's end", execution_id=str(execution_id), error=repr(error))
            return
        if partition is not None:
            self.commanded(parent_id, partition)

    async def _end_of(self, row: ExecutionRow, parent: Parent) -> EndChild:
        """How a child has ended, as its parent takes it in."""
        outputs: list[tuple[str, int, bytes]] = []
        counts: dict[str, int] = {}
        size = 0
        failure = ""
        taken_apart: Collection[str] | None = None
        async for output in self.executions.outputs(row.execution_id, OutputPlace()):
            name, value = output.place.name, output.value
            if value.startswith(REFERENCE) and taken_apart is None:
                taken_apart = await self._results_taken_apart(row.user_id, parent)
            if value.startswith(REFERENCE) and taken_apart and name in taken_apart:
                try:
                    value = await self.large_values.whole(value)
                except (ValueMissing, ValueTooLarge) as error:
                    failure = f"result {name!r}: {error}"
            outputs.append((name, counts.get(name, 0), value))
            counts[name] = counts.get(name, 0) + 1
            size += len(value)
            if size > RESULT_BYTES:
                failure = f"its results are larger than {RESULT_BYTES >> 20} MiB together"
                outputs.clear()
                break
        if row.status is ExecutionStatus.CANCELLED:
            failure = row.status_message or "it was cancelled"
        elif row.status is ExecutionStatus.FAILED:
            failure = row.status_message
        message = f"execution {row.execution_id} of graph {row.graph_id}: {failure}" if failure else ""
        stats = msgspec.json.encode({"child_execution_id": str(row.execution_id)})
        return EndChild(parent.number, parent.attempt, outputs, bool(failure), message, stats)

    async def _results_taken_apart(self, user_id: str, parent: Parent) -> Collection[str]:
        """Results that a parent's links lead parts of away: it cannot take them of what is in the blob store."""
        row = await self.executions.get(parent.execution_id, user_id)
        if row is None:
            return frozenset()
        try:
            plan = (await self.starter.loader.topology(row.plan_hash)).plan
        except CannotLoad:
            # Nor can the parent be driven then.
            return frozenset()
        return frozenset(
            base_pin(link.source_pin)
            for link in plan.links
            if plan.nodes[link.source].kind is NodeKind.CHILD and is_dynamic(link.source_pin)
        )

    # Stops

    async def _stop_forsaken(self) -> None:
        while self._parents:
            parent_id = self._parents.popleft()
            try:
                await self._stop(await self.rows.unended_of(parent_id))
            except TROUBLE as error:
                log.warning("children cannot be stopped", execution_id=str(parent_id), error=repr(error))

    async def _stop(self, execution_ids: list[UUID]) -> None:
        if not execution_ids:
            return
        kind, body = encode_command(Stop("the execution that it is a part of has ended"))
        for execution_id, partition in (await self.executions.command_each(execution_ids, kind, body)).items():
            self.commanded(execution_id, partition)


def _wanted_run(values: dict[str, Any]) -> tuple[str, int, bytes]:
    """Which graph to run, in which version (0: the active one), and its inputs as a JSON object."""
    # A link may lead to a part of one of them, such as "inputs_#_x".
    own = fold({pin: value for pin, value in values.items() if base_pin(pin) in OWN_PINS})
    graph_id, version = own.get("graph_id"), own.get("graph_version") or 0
    if not isinstance(graph_id, str) or not graph_id:
        raise ValueError("graph_id: expected the id of the graph to run")
    if len(graph_id) > LONGEST_GRAPH_ID:
        raise ValueError(f"graph_id: expected the id of the graph to run, got {len(graph_id):,} characters")
    if type(version) is not int or not 0 <= version <= LATEST_VERSION:
        raise ValueError("graph_version: expected the number of a version, or 0 for the active one")
    constants = own.get("inputs") or {}
    if not isinstance(constants, dict):
        raise ValueError(f"inputs: expected an object, got {type(constants).__name__}")
    linked = {pin: value for pin, value in values.items() if base_pin(pin) not in OWN_PINS}
    return graph_id, version, orjson.dumps(fold({**constants, **linked}))


def _taken_apart(plan: Plan) -> set[str]:
    """Inputs of a graph that links lead parts of away."""
    sources = {plan.nodes[link.source] for link in plan.links if is_dynamic(link.source_pin)}
    return {msgspec.json.decode(node.constants)["name"] for node in sources if node.kind is NodeKind.INPUT}


def _taken(line: deque[UUID], most: int) -> Iterator[UUID]:
    while line and most:
        most -= 1
        yield line.popleft()
