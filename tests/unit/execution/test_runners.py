"""What heartbeats say: who lives, who holds what, and when two rounds have passed."""

from blockyard.runner.v1.heartbeat_pb2 import Heartbeat, Holding

from services.execution.runners import Runners


def beat(runner_id: str, *numbers: int, draining: bool = False) -> Heartbeat:
    holdings = [Holding(execution_id=b"e", node_execution=number) for number in numbers]
    return Heartbeat(runner_id=runner_id, pool="default", slots=4, holdings=holdings, draining=draining)


def test_a_silent_runner_holds_nothing_and_has_no_slots() -> None:
    runners = Runners(silence=7.0)
    runners.hear(beat("one", 1), 0.0)
    runners.hear(beat("two", 2), 5.0)
    assert runners.holder((b"e", 1)) == "one"
    assert runners.slots("default") == 8
    assert runners.bury(8.0) == ["one"]
    assert runners.holder((b"e", 1)) is None
    assert runners.slots("default") == 4


def test_a_draining_runner_keeps_its_holdings_but_offers_no_slots() -> None:
    runners = Runners(silence=7.0)
    runners.hear(beat("one", 1, draining=True), 0.0)
    assert runners.holder((b"e", 1)) == "one"
    assert runners.slots("default") == 0


def test_two_rounds_have_passed_when_every_live_runner_was_heard_twice() -> None:
    runners = Runners(silence=7.0)
    runners.hear(beat("one"), 0.0)
    runners.hear(beat("two"), 0.0)
    for moment in (2.0, 4.0):
        runners.hear(beat("one"), moment)
    assert not runners.two_rounds_since(1.0)
    runners.hear(beat("two"), 2.5)
    assert not runners.two_rounds_since(1.0)
    runners.hear(beat("two"), 4.5)
    assert runners.two_rounds_since(1.0)
