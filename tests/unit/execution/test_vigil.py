"""Up to where tasks count as delivered."""

from services.common.bus import ConsumerInfo
from services.execution.vigil import delivered_through


def test_a_consumer_that_came_back_as_it_was_some_time_ago_has_delivered_all_when_nothing_is_pending() -> None:
    # Seen after kill -9 of nats-server: 386 were delivered and acknowledged.
    assert delivered_through(ConsumerInfo(258, 258, num_pending=0, num_ack_pending=0)) >= 386


def test_tasks_behind_those_that_wait_are_not_delivered() -> None:
    assert delivered_through(ConsumerInfo(258, 258, num_pending=3, num_ack_pending=0)) == 258
