"""What is replayed says the same as what was told."""

from datetime import UTC, datetime

from blockyard.event.v1.event_pb2 import EventBatch

from services.notification.webhooks.replaying import since


def test_events_since_a_time_say_of_their_execution_what_all_of_them_say() -> None:
    batch = EventBatch(
        execution_id="e1", graph_id="g1", graph_version=2, user_id="anna", parent_execution_id="the one that waits"
    )
    times = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    for number, time in enumerate(times, 1):
        batch.events.add(sequence=number).time.FromDatetime(time)

    later = since(batch, times[1])

    assert [event.sequence for event in later.events] == [2, 3]
    del batch.events[0]
    assert later == batch
