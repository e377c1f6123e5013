"""What a release has begun, every later one goes on with: recorded histories are replayed (rule 14)."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from services.execution.engine import RULES, Fact
from services.execution.engine.effects import EventKind, NodeStatus
from tests.histories.__main__ import release
from tests.histories.recording import HistoryDiffers, facts_of, files, read, replay, replay_from_snapshot
from tests.histories.scenarios import SCENARIOS

FILES = files()

of_every_release = pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}-{path.stem}" for path in FILES])


@of_every_release
def test_a_recorded_history_has_the_effects_that_it_had(path: Path) -> None:
    history = read(path)

    turns = list(replay(path, history))

    assert len(turns) == len(history.turns)


@of_every_release
def test_an_execution_goes_on_from_a_recorded_snapshot(path: Path) -> None:
    history = read(path)

    turns = list(replay_from_snapshot(path, history))

    assert len(turns) == len(history.turns) - history.snapshot.turn


def test_this_release_has_recorded_its_histories() -> None:
    histories = {path.stem: read(path) for path in FILES if path.parent.name == release()}

    assert set(histories) == set(SCENARIOS), f"./task record-histories writes those of {release()}"
    assert {history.rules for history in histories.values()} == {RULES}


def test_recorded_histories_tell_of_all_that_can_happen() -> None:
    """What is in none of them could change without anybody noticing."""
    facts: set[type[Fact]] = set()
    kinds: set[EventKind] = set()
    statuses: set[NodeStatus] = set()
    for path in FILES:
        history = read(path)
        for turn in history.turns:
            facts.update(type(fact) for fact in facts_of(turn))
        for effects in replay(path, history):
            kinds.update(event.kind for event in effects.events)
            statuses.update(outcome.status for outcome in (*effects.outcomes, *effects.incomplete))

    assert facts == set(get_args(Fact))
    assert kinds == set(EventKind)
    # The others are no outcomes; SKIPPED is not given by these rules.
    assert statuses == set(NodeStatus) - {NodeStatus.QUEUED, NodeStatus.RUNNING, NodeStatus.SKIPPED}


def test_a_history_that_replays_otherwise_says_where_and_what_to_do() -> None:
    path = next(path for path in FILES if path.stem == "chain")
    history = read(path)
    turns = list(history.turns)
    turns[2] = msgspec.structs.replace(turns[2], checksum=turns[2].checksum ^ 1, told=("NODE_COMPLETED 7 other",))
    changed = msgspec.structs.replace(history, turns=tuple(turns))

    with pytest.raises(HistoryDiffers) as raised:
        list(replay(path, changed))

    message = str(raised.value)
    for words in (
        f"{path.parent.name}/chain.json",
        "turn 3 has other effects",
        "NODE_COMPLETED 7 other",
        "raise RULES",
    ):
        assert words in message


@pytest.mark.parametrize(
    "change",
    [{"status": 6}, {"message": "other"}, {"results": ()}, {"inputs": '{"text": "b"}'}, {"bounds": {"events": 1}}],
    ids=lambda change: next(iter(change)),
)
def test_a_history_that_comes_to_something_else_is_told(change: dict[str, object]) -> None:
    path = next(path for path in FILES if path.stem == "chain")
    changed = msgspec.structs.replace(read(path), **change)

    with pytest.raises(HistoryDiffers):
        list(replay(path, changed))


def test_a_history_of_other_rules_than_are_known_is_told() -> None:
    path = FILES[0]
    changed = msgspec.structs.replace(read(path), rules=RULES + 1)

    with pytest.raises(HistoryDiffers, match=f"knows rules {RULES} alone"):
        list(replay(path, changed))
