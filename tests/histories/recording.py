"""A recorded history: what the rows of an execution held, turn by turn, and what it came to.

Plan, inputs, facts and snapshot are the bytes that the database has. What was told stands beside them to be read when a
replay differs; the checksum of each turn is what decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from services.execution.engine import RULES, Effects, Event, Fact, Machine, State, Topology
from services.execution.engine.machine import BOUNDS
from services.execution.engine.plan import decode_plan, encode_plan
from services.execution.loading import encode_facts, started
from tests.histories.scenarios import SEED, Scenario

FOLDER = Path(__file__).parent
MOST_TOLD = 12
"""Events of a turn that are written down to be read."""

_facts = msgspec.msgpack.Decoder(list[Fact])
_state = msgspec.msgpack.Decoder(State)


class Result(msgspec.Struct, frozen=True):
    """A result of the execution, in the order in which results were recorded."""

    name: str
    number: int
    position: tuple[int, ...]
    value: str


class RecordedTurn(msgspec.Struct, frozen=True):
    """A row of `turns`."""

    turn: int
    now_ms: int
    facts: bytes
    checksum: int
    told: tuple[str, ...]


class RecordedSnapshot(msgspec.Struct, frozen=True):
    """A row of `snapshots`."""

    turn: int
    state: bytes


class History(msgspec.Struct, frozen=True):
    """An execution from its start to its end."""

    rules: int
    bounds: dict[str, int]
    """When turns are full: part of the rules, and too large to be reached here in bytes and events."""
    seed: int
    plan: bytes
    inputs: str
    status: int
    message: str
    results: tuple[Result, ...]
    snapshots: tuple[RecordedSnapshot, ...]
    turns: tuple[RecordedTurn, ...]


class HistoryDiffers(Exception):
    """This release does not come to what another one has recorded."""


def files() -> list[Path]:
    """All recorded histories, of every release."""
    return sorted(FOLDER.glob("*/*.json"))


def read(path: Path) -> History:
    """The history in a file."""
    return msgspec.json.decode(path.read_bytes(), type=History)


def write(path: Path, history: History) -> None:
    """Puts a history into a file that can be read, and compared line by line."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(history), indent=1) + b"\n")


# Recording


def record(scenario: Scenario) -> History:
    """Drives the scenario's facts through the machine as they would come from rows."""
    plan = encode_plan(scenario.plan)
    machine = Machine(Topology(decode_plan(plan)), State(SEED))
    turns: list[RecordedTurn] = []
    results: list[Result] = []
    states: list[RecordedSnapshot] = []
    for facts, now_ms in scenario.history:
        data = encode_facts(list(facts))
        effects = machine.apply(_facts.decode(data), now_ms)
        turns.append(RecordedTurn(machine.state.turn, now_ms, data, effects.checksum(), _told(machine, effects)))
        results += _results(effects)
        if not machine.ended:
            states.append(RecordedSnapshot(machine.state.turn, msgspec.msgpack.encode(machine.state)))
    if not machine.ended:
        raise ValueError("the scenario leaves its execution unended")
    return History(
        rules=scenario.plan.rules,
        bounds=asdict(BOUNDS),
        seed=SEED,
        plan=plan,
        inputs=scenario.inputs.decode(),
        status=machine.state.status,
        message=machine.state.message,
        results=tuple(results),
        snapshots=_worth_keeping(states),
        turns=tuple(turns),
    )


def _worth_keeping(states: Sequence[RecordedSnapshot]) -> tuple[RecordedSnapshot, ...]:
    """The largest; and of each field of the state that is empty there, the first that has something in it."""
    kept = [max(states, key=lambda each: len(each.state))]
    for field in State.__struct_fields__:
        if not any(getattr(state_of(each), field) for each in kept):
            kept += [each for each in states if getattr(state_of(each), field)][:1]
    return tuple(sorted(kept, key=lambda each: each.turn))


# Replaying


def facts_of(turn: RecordedTurn) -> list[Fact]:
    """The facts as this release reads them."""
    return _facts.decode(turn.facts)


def replay(path: Path, history: History) -> Iterator[Effects]:
    """The effects of all turns, each compared with what was recorded, and then the end."""
    if started(history.inputs.encode()) != facts_of(history.turns[0])[0]:
        raise HistoryDiffers(_differs(path, history, "its inputs are read in another way"))
    machine = Machine(Topology(decode_plan(history.plan)), State(history.seed))
    yield from _replay(path, history, machine, history.turns, history.results)


def state_of(snapshot: RecordedSnapshot) -> State:
    """The state as this release reads it."""
    return _state.decode(snapshot.state)


def replay_from_snapshot(path: Path, history: History, snapshot: RecordedSnapshot) -> Iterator[Effects]:
    """The effects of the turns after a snapshot."""
    machine = Machine(Topology(decode_plan(history.plan)), state_of(snapshot))
    after = [turn for turn in history.turns if turn.turn > snapshot.turn]
    numbers = machine.state.numbers
    later = [result for result in history.results if result.number > numbers]
    yield from _replay(path, history, machine, after, later)


def _replay(
    path: Path, history: History, machine: Machine, turns: Sequence[RecordedTurn], expected: Sequence[Result]
) -> Iterator[Effects]:
    if history.rules != RULES:
        raise HistoryDiffers(_differs(path, history, f"this release knows rules {RULES} alone"))
    if history.bounds != asdict(BOUNDS):
        raise HistoryDiffers(_differs(path, history, f"turns had the bounds {history.bounds}, now {asdict(BOUNDS)}"))
    results: list[Result] = []
    for turn in turns:
        effects = machine.apply(facts_of(turn), turn.now_ms)
        results += _results(effects)
        if effects.checksum() != turn.checksum or machine.state.turn != turn.turn:
            raise HistoryDiffers(_differs(path, history, _difference(turn, _told(machine, effects))))
        yield effects
    state = machine.state
    if (state.status, state.message, results) != (history.status, history.message, list(expected)):
        what = f"it ends with status {state.status} {state.message!r} and {len(results)} results, not as recorded"
        raise HistoryDiffers(_differs(path, history, what))


def _difference(turn: RecordedTurn, told: Sequence[str]) -> str:
    if tuple(told) == turn.told:
        return f"turn {turn.turn} tells the same so far as is written down, but other values, outcomes or order"
    recorded, now = "\n    ".join(turn.told), "\n    ".join(told)
    return f"turn {turn.turn} has other effects.\n  Recorded:\n    {recorded}\n  Now:\n    {now}"


def _differs(path: Path, history: History, what: str) -> str:
    return f"""{path.parent.name}/{path.name}, recorded by release {path.parent.name} with rules {history.rules}: {what}
An execution that was started by that release, and has not ended, would be parked by this one. Either take back what
changes effects; or raise RULES in services/execution/engine/machine.py, keep what was there for executions of the rules
before it, let services/execution/loading.py choose by the rules of the row, and record histories for the new rules with
`./task record-histories`. Never record a history of a release again; that of a version which nobody has run yet may be,
with `./task record-histories -- --unreleased`."""


def _results(effects: Effects) -> list[Result]:
    return [Result(each.name, each.number, each.position, each.value.decode()) for each in effects.outputs]


def _told(machine: Machine, effects: Effects) -> tuple[str, ...]:
    lines = [_line(machine.topology, event) for event in effects.events[:MOST_TOLD]]
    if len(effects.events) > MOST_TOLD:
        lines.append(f"and {len(effects.events) - MOST_TOLD} events more")
    return tuple(lines)


def _line(topology: Topology, event: Event) -> str:
    words = [event.kind.name]
    if event.number:
        words.append(f"{event.number} {topology.plan.nodes[event.node].id}")
    if event.attempt > 1:
        words.append(f"attempt {event.attempt}")
    if event.pin:
        words.append(f"{event.pin}[{event.index}] = {event.value[:60].decode(errors='replace')}")
    return " ".join([*words, event.message[:200]]).strip()
