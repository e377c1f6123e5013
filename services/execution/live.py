"""An execution in memory, and what arrives for it."""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from services.execution.credentials import by_node, decode_references, references_json
from services.execution.engine import Fact, Machine
from services.execution.records import ExecutionRow, NewExecution, Parent


class NotBegun(Exception):
    """A new execution was not stored with a first turn, for certain: it may still be stored without one."""


@dataclass(slots=True, eq=False)
class Beginning:
    """A new execution whose row is stored with its first turn, in one transaction."""

    new: NewExecution
    stored: "asyncio.Future[ExecutionRow]"
    """Its row after that turn; or NotBegun, or what a database says that may have stored it or not."""

    def done(self, row: ExecutionRow) -> None:
        """It is stored."""
        # Who asked may have gone meanwhile, and has cancelled the future then.
        with contextlib.suppress(asyncio.InvalidStateError):
            self.stored.set_result(row)

    def failed(self, error: Exception) -> None:
        """It is not stored, or nobody knows."""
        with contextlib.suppress(asyncio.InvalidStateError):
            self.stored.set_exception(error)


@dataclass(slots=True, eq=False)
class Live:
    """An execution that this replica drives."""

    key: bytes
    """The 16 bytes of its id, as messages carry it."""
    execution_id: UUID
    partition: int
    user_id: str
    graph_id: str
    graph_version: int
    priority: int
    traceparent: str
    machine: Machine
    parent: Parent | None = None
    depth: int = 0
    """Executions above this one."""
    commands_through: int = 0
    last_ms: int = 0
    """Time of its last turn: turns never go back in time."""
    beginning: Beginning | None = None
    """Until its row is stored."""
    begun: bool = False
    """True once its start is a fact, or on its way to be one: it happens once."""
    facts: int = 0
    """Facts since the last snapshot."""
    reloaded: bool = False
    """True until the first commit after it was loaded from rows: that one sets the count of loads back."""
    stored_status: int = 1
    timer_ms: int = 0
    """Due time of the earliest timer that the driver has been asked for; 0 if none."""
    credentials: Mapping[str, bytes] = field(default_factory=dict)
    """References as a task carries them, by node id; of the nodes that have some."""
    stored_credentials: str | None = None
    """All of them as its row has them: those of graphs that it runs included."""
    credits_policy: int = 0
    """A CreditsPolicy."""
    gone: bool = False
    """True once it is not in memory any more: what still refers to it is stale."""

    @property
    def root(self) -> UUID:
        """The topmost execution above it, or itself."""
        return self.parent.root if self.parent is not None else self.execution_id

    def fail_to_begin(self, error: Exception) -> None:
        """Its first turn is not stored, or nobody knows: tells whoever waits for it."""
        if self.beginning is not None:
            self.beginning.failed(error)

    @property
    def request(self) -> tuple[str, str] | None:
        """User and request id that are stored with its first turn, if they are."""
        if self.beginning is None or self.beginning.new.request_id is None:
            return None
        return self.user_id, self.beginning.new.request_id

    @staticmethod
    def of(row: ExecutionRow, machine: Machine) -> "Live":
        """The execution of a row."""
        return Live(
            key=row.execution_id.bytes,
            execution_id=row.execution_id,
            partition=row.partition,
            user_id=row.user_id,
            graph_id=row.graph_id,
            graph_version=row.graph_version,
            priority=row.priority,
            traceparent=row.traceparent,
            machine=machine,
            parent=row.parent,
            depth=row.depth,
            stored_status=row.status,
            credentials=references_of(row),
            stored_credentials=row.credentials,
            credits_policy=row.credits_policy,
        )


def references_of(row: ExecutionRow) -> dict[str, bytes]:
    """What tasks of an execution carry of credentials, by node id."""
    if row.credentials is None:
        return {}
    nodes = by_node(decode_references(row.credentials), row.graph_id)
    return {node_id: references_json(pins) for node_id, pins in nodes.items()}


@dataclass(slots=True, eq=False)
class Receipt:
    """A message of RESULTS: acknowledged when all of its items are committed, void or passed on."""

    acknowledge: Callable[[], None]
    hand_back: Callable[[], None]
    hand_back_later: Callable[[float], None]
    """For what cannot be taken in for so many seconds."""
    runner_id: str
    batch: int
    remaining: int


@dataclass(slots=True, eq=False)
class Arrival:
    """Something for an execution that may become a fact of its next turn."""

    key: bytes
    fact: Fact
    receipt: Receipt | None = None
    command: int = 0
    """Number of the command behind it."""
    answer: Callable[[bool, str], None] | None = None
    """Of a claim: called once the outcome is committed."""
    place: int = 0
    """Among all arrivals of its inbox."""


@dataclass(slots=True, eq=False)
class Inbox:
    """Arrivals that wait for a turn: one of each execution in turn, an execution's own in the order they came."""

    work: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when something has come."""
    _waiting: OrderedDict[bytes, deque[Arrival]] = field(default_factory=OrderedDict)
    """By execution, in the order of their turn."""
    _count: int = 0
    newest: int = 0
    """Place of the one that came last."""

    def __len__(self) -> int:
        return self._count

    def add(self, arrival: Arrival) -> None:
        """Puts it behind what waits of its execution."""
        self.newest += 1
        arrival.place = self.newest
        self._waiting.setdefault(arrival.key, deque()).append(arrival)
        self._count += 1
        self.work.set()

    def add_first(self, key: bytes, arrivals: Sequence[Arrival]) -> None:
        """Puts them before what waits of their execution."""
        if arrivals:
            self._waiting.setdefault(key, deque()).extendleft(reversed(arrivals))
            self._count += len(arrivals)
            self.work.set()

    @property
    def oldest(self) -> int:
        """Place of the one that waits for longest; looks at each execution, so it is for rare occasions."""
        return min((line[0].place for line in self._waiting.values()), default=self.newest + 1)

    def take(self) -> Arrival:
        """The first one of the execution whose turn it is, which then goes to the end of the line."""
        key, line = self._waiting.popitem(last=False)
        arrival = line.popleft()
        if line:
            self._waiting[key] = line
        self._count -= 1
        return arrival
