"""Loads executions: snapshot and tail of facts, replayed. Each turn's effects must be what they were (rule 14)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ParamSpec, Protocol, TypeVar

import msgspec

from services.execution.engine import RULES, Fact, Machine, Started, State, Topology
from services.execution.engine.plan import decode_plan
from services.execution.live import Live
from services.execution.records import ExecutionRow, Head, Snapshot, StoredTurn
from services.execution.repository.turns import TurnRepository

KNOWN_TOPOLOGIES = 1_000
"""Plans whose topology is kept."""

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

_facts = msgspec.msgpack.Decoder(list[Fact])
_state = msgspec.msgpack.Decoder(State)


class CannotLoad(Exception):
    """The execution's history cannot be replayed by this release; the message says why."""


def encode_facts(facts: list[Fact]) -> bytes:
    """Facts of a turn as they are stored."""
    return _encoder.encode(facts)


_encoder = msgspec.msgpack.Encoder()


def seed_of(key: bytes) -> int:
    """The execution's stand-in for randomness: the last 8 bytes of its id, which are random."""
    return int.from_bytes(key[8:], "big")


def started(inputs: bytes) -> Started:
    """The fact that begins an execution with these inputs (JSON object)."""
    values = msgspec.json.decode(inputs, type=dict[str, msgspec.Raw])
    return Started({name: bytes(value) for name, value in values.items()})


class Loader:
    """Makes machines from rows. Read-only: whoever may look at an execution may load it."""

    def __init__(self, turns: TurnRepository) -> None:
        self._turns = turns
        self._topologies: dict[bytes, Topology] = {}

    def knows(self, plan_hash: bytes) -> Topology | None:
        """The topology of a plan that was used before."""
        return self._topologies.get(plan_hash)

    def remember(self, plan_hash: bytes, topology: Topology) -> None:
        """Keeps a topology for further executions of its plan."""
        if len(self._topologies) >= KNOWN_TOPOLOGIES:
            self._topologies.pop(next(iter(self._topologies)))
        self._topologies[plan_hash] = topology

    async def topology(self, plan_hash: bytes) -> Topology:
        """The topology of a stored plan."""
        return await self._topology(plan_hash, _here)

    async def _topology(self, plan_hash: bytes, work: "Work") -> Topology:
        known = self._topologies.get(plan_hash)
        if known is None:
            data = await self._turns.plan(plan_hash)
            if data is None:
                raise CannotLoad(f"its plan {plan_hash.hex()} is not stored")
            known = await work(_topology_of, plan_hash, data)
            self.remember(plan_hash, known)
        return known

    def fresh(self, row: ExecutionRow, topology: Topology) -> Live:
        """An execution that has had no turn yet."""
        return Live.of(row, Machine(topology, State(seed_of(row.execution_id.bytes))))

    async def load(self, row: ExecutionRow, head: Head | None) -> Live:
        """The execution as of its last committed turn, for who drives it: replayed where the turns are taken.

        `head` is what was read of it together with others.
        """
        return await self._load(row, _here, head)

    async def load_aside(self, row: ExecutionRow) -> Live:
        """The same for who only looks at it: replayed in a thread, so that turns go on meanwhile."""
        return await self._load(row, asyncio.to_thread)

    async def _load(self, row: ExecutionRow, work: "Work", head: Head | None = None) -> Live:
        if row.rules != RULES:
            raise CannotLoad(f"it runs by rules {row.rules} of the engine, this release knows {RULES}")
        topology = await self._topology(row.plan_hash, work)
        if head is None:
            head = Head(await self._turns.snapshot(row.execution_id, RULES), [], is_whole=False)
        live = self.fresh(row, topology)
        if head.snapshot is not None:
            await work(_restore, live, head.snapshot)
        await work(_replay, live, head.turns)
        if not head.is_whole:
            async for turns in self._turns.turns_after(row.execution_id, live.machine.state.turn):
                await work(_replay, live, turns)
        live.reloaded = True
        live.begun = live.machine.state.turn > 0
        return live


class Work(Protocol):
    """Where the work of a load is done."""

    def __call__(
        self, function: Callable[Arguments, Answer], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Awaitable[Answer]: ...


async def _here(function: Callable[Arguments, Answer], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
    return function(*args, **kwargs)


def _topology_of(plan_hash: bytes, data: bytes) -> Topology:
    try:
        return Topology(decode_plan(data))
    except Exception as error:
        raise CannotLoad(f"its plan {plan_hash.hex()} cannot be read: {error!r}") from error


def _restore(live: Live, snapshot: Snapshot) -> None:
    try:
        live.machine = Machine(live.machine.topology, _state.decode(snapshot.state))
    except msgspec.MsgspecError as error:
        raise CannotLoad(f"its snapshot of turn {snapshot.turn} cannot be read: {error}") from error
    live.commands_through = snapshot.commands_through


def _replay(live: Live, turns: Sequence[StoredTurn]) -> None:
    for turn in turns:
        try:
            facts = _facts.decode(turn.facts)
            effects = live.machine.apply(facts, turn.now_ms)
        except Exception as error:
            raise CannotLoad(f"turn {turn.turn} cannot be replayed: {error!r}") from error
        if effects.checksum() != turn.checksum:
            raise CannotLoad(f"turn {turn.turn} has other effects on replay than when it was recorded")
        live.commands_through = turn.commands_through
        live.last_ms = turn.now_ms
        live.facts += len(facts)
