"""The parts of the durable subscriber that need no services: its checkpoint, and what it makes of claims."""

import os
from pathlib import Path

import pytest
from blockyard.client import Client
from blockyard.connection import Connection
from blockyard.cursors import encode_cursor
from blockyard.event.v1.event_pb2 import Event as EventMessage
from blockyard.event.v1.event_pb2 import EventBatch, EventKind
from blockyard.events import Event
from blockyard.feeds import FeedPlace
from blockyard.subscriber import Checkpoint, CheckpointInvalid, FileCheckpoint, Subscriber
from blockyard.subscriber.ledger import Claim, Ledger

START = encode_cursor({})
AT_SEVEN = encode_cursor({3: 7})
STARTED, COMPLETED = EventKind.EVENT_KIND_EXECUTION_STARTED, EventKind.EVENT_KIND_EXECUTION_COMPLETED


async def handle(event: Event) -> None:
    raise AssertionError(event)


def told(execution_id: str, sequence: int, kind: EventKind.ValueType) -> EventBatch:
    return EventBatch(execution_id=execution_id, events=[EventMessage(sequence=sequence, kind=kind)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no checkpoint"),
        ("[]", "is no checkpoint"),
        ('{"format": 9}', "its format is 9"),
        (Checkpoint("anna", AT_SEVEN).to_json().replace(AT_SEVEN, "nonsense"), "not a cursor"),
        (Checkpoint("bert", START).to_json(), "is of the events of bert"),
    ],
)
async def test_a_checkpoint_that_is_none_of_this_subscriber_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "checkpoint"
    file.write_text(text)
    client = Client(Connection("nowhere:1", "nowhere:1", "token", notification_address="nowhere:1"))
    subscriber = Subscriber(client, "nats://127.0.0.1:9", "anna", FileCheckpoint(file))
    with pytest.raises(CheckpointInvalid, match=said):
        await subscriber.run(handle)


async def test_a_checkpoint_comes_out_of_its_file_as_it_went_in(tmp_path: Path) -> None:
    checkpoint = Checkpoint("anna", AT_SEVEN, {"one": 4})
    file = FileCheckpoint(tmp_path / "checkpoint")
    assert await file.load() is None
    await file.save("older")
    await file.save(checkpoint.to_json())
    text = await file.load()
    assert text is not None
    assert Checkpoint.from_json(text) == checkpoint
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_a_cursor_is_taken_once_all_that_was_told_before_it_was_handled() -> None:
    ledger = Ledger(START, {})
    ledger.claim([told("one", 1, STARTED), told("two", 1, STARTED)], "", due=1)
    ledger.claim([told("one", 4, COMPLETED)], AT_SEVEN, due=2)
    ledger.handled("one", 4)
    assert ledger.first_open() == Claim("two", "", "", 1, False, 0, 1)
    assert ledger.cursor == START
    ledger.handled("two", 1)
    assert ledger.first_open() is None
    assert ledger.cursor == AT_SEVEN


def test_what_has_ended_is_forgotten_with_the_cursor_and_what_has_not_is_kept() -> None:
    ledger = Ledger(START, {})
    ledger.claim([told("one", 1, STARTED), told("two", 1, STARTED), told("one", 4, COMPLETED)], "", due=1)
    ledger.handled("one", 4)
    ledger.handled("two", 2)
    assert ledger.first_open() is None
    assert ledger.seen == {"one": 4, "two": 2}, "without a cursor behind its end it may be told again"
    ledger.claim([], AT_SEVEN, due=1)
    assert ledger.first_open() is None
    assert ledger.seen == {"two": 2}


def test_a_subscription_that_is_resumed_tells_nothing_anew_that_had_ended() -> None:
    ledger = Ledger(START, {})
    ledger.claim([told("one", 1, COMPLETED)], "", due=0)
    ledger.handled("one", 1)
    assert ledger.first_open() is None
    # It was resumed: it begins with the place that it was resumed from, and tells again what came after it.
    ledger.claim([], START, due=0)
    ledger.claim([told("one", 1, COMPLETED)], "", due=0)
    assert ledger.first_open() is None
    ledger.claim([], AT_SEVEN, due=0)
    assert ledger.first_open() is None
    assert ledger.seen == {}


def test_a_claim_is_left_to_messages_as_long_as_they_can_fulfil_it() -> None:
    ledger = Ledger(START, {})
    ledger.claim([told("one", 1, STARTED)], "", due=10)
    claim = ledger.first_open()
    assert claim is not None
    assert not ledger.is_due(claim, now=9, idle=True), "it has a moment"
    assert ledger.is_due(claim, now=10, idle=True), "nothing is to come"
    assert not ledger.is_due(claim, now=99, idle=False), "there is a lot to catch up with"
    later = told("two", 1, STARTED)
    later.events[0].time.FromSeconds(100)
    ledger.brought(later)
    assert ledger.is_due(claim, now=99, idle=False), "what was recorded long after it has come"


def test_a_message_of_what_was_forgotten_is_none_of_what_is_new() -> None:
    ledger = Ledger(AT_SEVEN, {"two": 2})
    assert ledger.handled_of("one", FeedPlace(3, 6, 7)) is None
    assert ledger.handled_of("one", FeedPlace(3, 7, 8)) == 0
    assert ledger.handled_of("one", FeedPlace(4, 0, 1)) == 0
    assert ledger.handled_of("two", FeedPlace(3, 6, 7)) == 2
