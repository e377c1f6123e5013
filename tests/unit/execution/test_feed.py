"""Messages of events: the same, whether they are made at the commit or read again from rows (rule 22)."""

from uuid import UUID

import pytest
from blockyard.event.v1.event_pb2 import EventBatch, EventKind
from blockyard.feeds import FeedPlace

from services.execution import telling
from services.execution.feed import event_message, message_of
from services.execution.records import FeedEntry


@pytest.mark.parametrize("time_ms", [1_795_271_000_000, 1_795_271_000_010, 1_795_271_000_123])
def test_a_message_that_is_made_from_rows_is_the_one_that_was_made_at_the_commit(time_ms: int) -> None:
    batch = EventBatch(execution_id="one", graph_id="graph", user_id="anna")
    batch.events.add(sequence=1, kind=EventKind.EVENT_KIND_EXECUTION_STARTED, time=telling.timestamp(time_ms))
    payload = batch.SerializeToString()
    kinds = "EXECUTION_STARTED"
    time, place = telling.time_text(time_ms), FeedPlace(3, 0, 1)
    at_commit = message_of("anna", "graph", "one", payload, 1, 1, kinds, time, place)
    entry = FeedEntry(1, UUID(int=1), payload, 1, 1)
    assert event_message(EventBatch.FromString(payload), entry, kinds, place) == at_commit
