"""Which node executions go to runners, and when: fair over users, within limits, no more than runners can soon take.

What is queued here is also in rows, by way of facts: after a loss of memory it is found again. A task that was sent is
kept in `in_flight` until the engine drops it (an outcome, a stop) or it counts as lost (rule 5) and is queued again.
"""

import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from blockyard.runner.v1.task_pb2 import Task, TaskBatch

from services.execution.engine import NodeExecution
from services.execution.engine.plan import Effect, PlanNode
from services.execution.engine.state import LiveStatus
from services.execution.live import Live
from services.execution.purse import Purse
from services.execution.runners import Place, Runners

MESSAGE_BYTES = 256 << 10
"""A message takes no further task when it has so many bytes."""

UNKNOWN_SEQUENCE = -1


@dataclass(slots=True, eq=False)
class Sent:
    """A task that went out, or may have: an attempt of a node execution."""

    live: Live
    number: int
    attempt: int
    pool: str
    sends: int
    sent_at: float
    sequence: int = UNKNOWN_SEQUENCE
    """Of its message in the stream; UNKNOWN_SEQUENCE until that is known."""
    answered: bool = False
    """True once its end has come, and waits to be taken in: its runner is free, so it does not count in the window."""
    missing_since: float = 0.0
    """Since when no live runner holds it, though it was delivered; 0 if that is not so."""
    runs: set[int] = field(default_factory=set)
    """Runs of it that were judged to be alive: they may have been given secrets."""
    void_runs: frozenset[int] = frozenset()
    """Such runs of what was sent before it: they are given none any more."""
    expected: int = 0
    """Credits that it is expected to cost."""


@dataclass(slots=True, eq=False)
class Lane:
    """What waits of one user's graph."""

    graph_id: str
    waiting: list[tuple[int, int, Live, int, int, int]] = field(default_factory=list)
    """A heap of (-priority, order, execution, number, attempt, sends so far)."""


@dataclass(slots=True, eq=False)
class Pool:
    """What waits for one pool, by user."""

    users: dict[str, dict[str, Lane]] = field(default_factory=dict)
    turns: deque[str] = field(default_factory=deque)
    """Users with something waiting, in order of their turn."""
    in_flight: int = 0
    queued_at: dict[int, float] = field(default_factory=dict)
    """Since when each waits, by its place in the order of all: the first has waited longest."""

    @property
    def waiting(self) -> int:
        """Number of tasks that wait."""
        return len(self.queued_at)


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Bounds of what is in flight. 0 is no limit."""

    window: float
    user: int
    graph: int
    tasks_per_message: int
    batch_below_us: float


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message of tasks."""

    pool: str
    batch: TaskBatch
    sent: list[Sent]


class Dispatcher:
    """Queues and counts; sends nothing itself."""

    def __init__(self, limits: DispatchLimits, runners: Runners, owner: str) -> None:
        self._limits = limits
        self._runners = runners
        self._owner = owner
        self._pools: dict[str, Pool] = {}
        self._order = itertools.count()
        self._by_user: dict[str, int] = {}
        self._by_graph: dict[str, int] = {}
        self._duration_us: dict[str, float] = {}
        self._paused: dict[Live, list[tuple[int, int, int]]] = {}
        """What came to its turn of executions of which nothing is sent now: (number, attempt, sends so far)."""
        self._void_runs: dict[Place, frozenset[int]] = {}
        """Of tasks that wait to be sent again."""
        self.in_flight: dict[Place, Sent] = {}
        self.purse: Purse | None = None
        """Credits of users; None where they are not counted."""
        self.share = 1.0
        """Part of all partitions that this replica holds: its part of slots and limits."""
        self.newest_sequence = 0
        """Tasks that are out already may be in the stream TASKS up to here."""

    # In

    def queue(self, live: Live, number: int, attempt: int, sends: int = 0) -> None:
        """A node execution wants a runner."""
        node = live.machine.topology.plan.nodes[live.machine.state.live[number].node]
        pool = self._pools.setdefault(node.pool, Pool())
        lanes = pool.users.get(live.user_id)
        if lanes is None:
            lanes = pool.users[live.user_id] = {}
            pool.turns.append(live.user_id)
        lane = lanes.get(live.graph_id)
        if lane is None:
            lane = lanes[live.graph_id] = Lane(live.graph_id)
        order = next(self._order)
        heapq.heappush(lane.waiting, (-live.priority, order, live, number, attempt, sends))
        pool.queued_at[order] = time.monotonic()

    def adopt(self, live: Live, execution: NodeExecution, now: float) -> None:
        """A loaded execution's task may be out already."""
        node = live.machine.topology.plan.nodes[execution.node]
        self._enter(Sent(live, execution.number, execution.attempt, node.pool, 1, now, self.newest_sequence))

    def forget(self, place: Place) -> Sent | None:
        """The engine wants no runs of this node execution now. Returns what was in flight of it."""
        self._void_runs.pop(place, None)
        sent = self.in_flight.pop(place, None)
        if sent is not None and not sent.answered:
            self._leave(sent)
        return sent

    def answered(self, place: Place, attempt: int) -> None:
        """The end of what was sent has come, though it cannot be taken in yet."""
        sent = self.in_flight.get(place)
        if sent is not None and sent.attempt == attempt and not sent.answered:
            sent.answered = True
            self._leave(sent)

    def pause(self, live: Live) -> None:
        """Nothing of this execution is sent until it is resumed."""
        self._paused[live] = []

    def resume(self, live: Live) -> None:
        """What is queued of this execution is sent again."""
        for number, attempt, sends in self._paused.pop(live, ()):
            if number in live.machine.state.live:
                self.queue(live, number, attempt, sends)

    def forget_all_of(self, lives: Collection[Live]) -> None:
        """Nothing of these is in flight any more, as far as is known: whatever their states say by now."""
        for live in lives:
            self._paused.pop(live, None)
        for place in [place for place, sent in self.in_flight.items() if sent.live in lives]:
            self.forget(place)

    def close(self) -> None:
        """Nothing is sent by this one any more: its tasks count for nobody's credits."""
        for place in list(self.in_flight):
            self.forget(place)

    def again(self, sent: Sent) -> None:
        """What was sent is lost, refused or handed back: it waits again."""
        if self.in_flight.get((sent.live.key, sent.number)) is sent:
            self.forget((sent.live.key, sent.number))
            if sent.runs or sent.void_runs:
                self._void_runs[(sent.live.key, sent.number)] = sent.void_runs | sent.runs
            if sent.live.gone or sent.number not in sent.live.machine.state.live:
                return
            self.queue(sent.live, sent.number, sent.attempt, sent.sends)

    def took(self, block_id: str, duration_us: int) -> None:
        """A run of a block took so long: quick ones share messages."""
        known = self._duration_us.get(block_id)
        self._duration_us[block_id] = duration_us if known is None else known + 0.1 * (duration_us - known)

    # Out

    def take(self, now: float) -> list[Outgoing]:
        """Messages that may go out now; their tasks count as in flight from here."""
        outgoing: list[Outgoing] = []
        for name, pool in self._pools.items():
            if pool.waiting:
                outgoing.extend(self._messages(name, pool, now))
        return outgoing

    def waiting(self) -> dict[str, int]:
        """Number of tasks that wait here, by pool."""
        return {name: pool.waiting for name, pool in self._pools.items()}

    def waiting_longest(self) -> dict[str, float]:
        """Seconds for which the oldest task has waited here, by pool; 0 where none does."""
        now = time.monotonic()
        return {name: now - next(iter(pool.queued_at.values()), now) for name, pool in self._pools.items()}

    def waiting_of(self, user_id: str) -> set[Live]:
        """Executions of a user with tasks that wait here."""
        lanes = (lane for pool in self._pools.values() for lane in pool.users.get(user_id, {}).values())
        return {entry[2] for lane in lanes for entry in lane.waiting if not entry[2].gone}

    def waiting_in(self, partitions: Collection[int]) -> dict[int, list[tuple[bytes, int, int]]]:
        """(execution, number, attempt) of all that waits here, by partition."""
        lanes = (lane for pool in self._pools.values() for lanes in pool.users.values() for lane in lanes.values())
        queued = ((live, number, attempt) for lane in lanes for _, _, live, number, attempt, _ in lane.waiting)
        paused = ((live, number, attempt) for live, tasks in self._paused.items() for number, attempt, _ in tasks)
        waiting: dict[int, list[tuple[bytes, int, int]]] = {partition: [] for partition in partitions}
        for live, number, attempt in itertools.chain(queued, paused):
            if live.partition in waiting and self._wanted(live, number, attempt) is not None:
                waiting[live.partition].append((live.key, number, attempt))
        return waiting

    def room(self, pool: str) -> int:
        """How many more tasks may be in flight for a pool now."""
        slots = self._runners.slots(pool)
        if slots == 0:
            return 0
        known = self._pools.get(pool)
        return max(1, math.ceil(self._limits.window * slots * self.share)) - (known.in_flight if known else 0)

    def _messages(self, name: str, pool: Pool, now: float) -> Iterator[Outgoing]:
        room = self.room(name)
        if room <= 0:
            return
        message: Outgoing | None = None
        size = 0
        for live, execution, sends in self._next(pool):
            node = live.machine.topology.plan.nodes[execution.node]
            task = self._task(live, execution, node)
            sent = Sent(live, execution.number, execution.attempt, name, sends + 1, now)
            if self._void_runs:
                sent.void_runs = self._void_runs.pop((live.key, execution.number), frozenset())
            self._enter(sent)
            room -= 1
            if self._travels_alone(node):
                yield Outgoing(name, TaskBatch(tasks=[task]), [sent])
            else:
                if message is None:
                    message = Outgoing(name, TaskBatch(), [])
                    size = 0
                message.batch.tasks.append(task)
                message.sent.append(sent)
                size += len(task.inputs) + len(task.tools) + 200
                if len(message.sent) >= self._limits.tasks_per_message or size > MESSAGE_BYTES:
                    yield message
                    message = None
            if room <= 0:
                break
        if message is not None:
            yield message

    def _next(self, pool: Pool) -> Iterator[tuple[Live, NodeExecution, int]]:
        """What goes next: one of each user in turn. Those that nobody wants any more fall out here."""
        skipped = 0
        while pool.turns and skipped < len(pool.turns):
            user = pool.turns[0]
            lane = self._best_lane(user, pool.users[user])
            if lane is None:
                pool.turns.rotate(-1)
                skipped += 1
                continue
            _, order, live, number, attempt, sends = heapq.heappop(lane.waiting)
            del pool.queued_at[order]
            self._tidy(pool, user, lane)
            if live in self._paused:
                self._paused[live].append((number, attempt, sends))
                continue
            execution = self._wanted(live, number, attempt)
            if execution is not None:
                skipped = 0
                yield live, execution, sends

    def _wanted(self, live: Live, number: int, attempt: int) -> NodeExecution | None:
        """The node execution, if what waits of it is still to be sent."""
        execution = None if live.gone else live.machine.state.live.get(number)
        if execution is None or execution.attempt != attempt or (live.key, number) in self.in_flight:
            return None
        return execution if execution.status in (LiveStatus.QUEUED, LiveStatus.RUNNING) else None

    def _best_lane(self, user: str, lanes: dict[str, Lane]) -> Lane | None:
        """The user's lane whose first is foremost, of those below their limits."""
        if self._limits.user and self._by_user.get(user, 0) >= self._part(self._limits.user):
            return None
        if self.purse is not None and not self.purse.may_send(user):
            return None
        if not self._limits.graph and len(lanes) == 1:
            return next(iter(lanes.values()))
        open_lanes = [
            lane
            for lane in lanes.values()
            if not self._limits.graph
            or not lane.graph_id  # runs of single blocks, of all users: they have no graph in common
            or self._by_graph.get(lane.graph_id, 0) < self._part(self._limits.graph)
        ]
        return min(open_lanes, key=lambda lane: lane.waiting[0][:2], default=None)

    def _part(self, limit: int) -> int:
        return max(1, math.ceil(limit * self.share))

    def _tidy(self, pool: Pool, user: str, lane: Lane) -> None:
        """The user has had a turn; empty lanes and users go."""
        if not lane.waiting:
            del pool.users[user][lane.graph_id]
        pool.turns.popleft()
        if pool.users[user]:
            pool.turns.append(user)
        else:
            del pool.users[user]

    def _travels_alone(self, node: PlanNode) -> bool:
        """Tasks that must not be repeated, and those that take long: nothing should wait behind them."""
        if node.effect is Effect.ONCE:
            return True
        known = self._duration_us.get(node.block_id)
        if known is None:
            return node.effect is not Effect.PURE
        return known > self._limits.batch_below_us

    def _task(self, live: Live, execution: NodeExecution, node: PlanNode) -> Task:
        topology = live.machine.topology
        return Task(
            execution_id=live.key,
            node_execution=execution.number,
            attempt=execution.attempt,
            partition=live.partition,
            owner=self._owner,
            block_id=node.block_id,
            schema_hash=node.schema_hash,
            inputs=topology.inputs(execution.node, execution.values),
            selectors=topology.places[execution.node].selectors,
            timeout_ms=node.timeout_ms,
            effect=int(node.effect),  # type: ignore[arg-type]  # the engine's enum has the numbers of the proto's
            user_id=live.user_id,
            graph_id=live.graph_id,
            graph_version=live.graph_version,
            node_id=node.id,
            traceparent=live.traceparent,
            tools=node.tools,
            root_execution_id=live.parent.root.bytes if live.parent is not None else b"",
            credentials=live.credentials.get(node.id, b"") if live.credentials else b"",
        )

    def _enter(self, sent: Sent) -> None:
        self.forget((sent.live.key, sent.number))
        self.in_flight[(sent.live.key, sent.number)] = sent
        self._pools.setdefault(sent.pool, Pool()).in_flight += 1
        self._count(sent, 1)
        if self.purse is not None:
            node = sent.live.machine.state.live[sent.number].node
            block_id = sent.live.machine.topology.plan.nodes[node].block_id
            sent.expected = self.purse.reserve(sent.live.user_id, block_id)

    def _leave(self, sent: Sent) -> None:
        self._pools[sent.pool].in_flight -= 1
        self._count(sent, -1)
        if self.purse is not None:
            self.purse.release(sent.live.user_id, sent.expected)

    def _count(self, sent: Sent, change: int) -> None:
        for counts, name in ((self._by_user, sent.live.user_id), (self._by_graph, sent.live.graph_id)):
            counts[name] = counts.get(name, 0) + change
            if not counts[name]:
                del counts[name]
