"""Fair dispatch: users in turn, priorities, limits, no more than runners can soon take."""

from typing import Any

from blockyard.runner.v1.heartbeat_pb2 import Heartbeat

from services.common.ids import new_id
from services.execution.dispatch import Dispatcher, DispatchLimits, Outgoing
from services.execution.engine import Effects, Machine, State, Topology
from services.execution.engine.facts import Started
from services.execution.engine.plan import Effect
from services.execution.live import Live
from services.execution.runners import Runners
from tests.unit.engine.simulation import PlanBuilder


def limits(**changes: Any) -> DispatchLimits:
    values = {"window": 2.0, "user": 0, "graph": 0, "tasks_per_message": 8, "batch_below_us": 5_000.0, **changes}
    return DispatchLimits(**values)


def runners(slots: int) -> Runners:
    known = Runners(silence=7.0)
    known.hear(Heartbeat(runner_id="one", pool="default", slots=slots), 0.0)
    return known


def live(user: str, nodes: int, *, priority: int = 0, graph: str = "graph", effect: Effect = Effect.PURE) -> Live:
    """An execution of one user with so many node executions queued."""
    plan = PlanBuilder()
    for at in range(nodes):
        plan.node(f"node {at}", lambda inputs, attempt: iter(()), effect=effect)
    execution_id = new_id()
    machine = Machine(Topology(plan.plan()), State(1))
    return Live(execution_id.bytes, execution_id, 0, user, f"{graph} of {user}", 1, priority, "", machine)


def queue(dispatcher: Dispatcher, execution: Live) -> Effects:
    effects = execution.machine.apply([Started({})], 0)
    for node in effects.queued:
        dispatcher.queue(execution, node.number, node.attempt)
    return effects


def users(outgoing: list[Outgoing]) -> list[str]:
    return [sent.live.user_id for message in outgoing for sent in message.sent]


def test_one_users_many_nodes_do_not_hold_up_anothers_first() -> None:
    dispatcher = Dispatcher(limits(), runners(slots=5), "me")
    queue(dispatcher, live("anna", 1000))
    queue(dispatcher, live("bert", 1))
    assert users(dispatcher.take(0.0))[:2] == ["anna", "bert"]


def test_no_more_goes_out_than_the_window_allows() -> None:
    dispatcher = Dispatcher(limits(), runners(slots=5), "me")
    execution = live("anna", 100)
    queue(dispatcher, execution)
    assert len(users(dispatcher.take(0.0))) == 10
    assert dispatcher.take(0.0) == []
    dispatcher.forget((execution.key, 1))
    assert len(users(dispatcher.take(0.0))) == 1


def test_nothing_goes_out_without_a_live_runner() -> None:
    known = runners(slots=5)
    dispatcher = Dispatcher(limits(), known, "me")
    queue(dispatcher, live("anna", 3))
    assert known.bury(100.0) == ["one"]
    assert dispatcher.take(100.0) == []
    assert dispatcher.waiting() == {"default": 3}


def test_a_replica_uses_its_share_of_the_slots_but_at_least_one() -> None:
    dispatcher = Dispatcher(limits(), runners(slots=10), "me")
    queue(dispatcher, live("anna", 100))
    dispatcher.share = 0.25
    assert len(users(dispatcher.take(0.0))) == 5
    lonely = Dispatcher(limits(), runners(slots=1), "me")
    lonely.share = 0.01
    queue(lonely, live("anna", 100))
    assert len(users(lonely.take(0.0))) == 1


def test_a_users_limit_holds_over_all_of_his_executions() -> None:
    dispatcher = Dispatcher(limits(user=3), runners(slots=50), "me")
    queue(dispatcher, live("anna", 10))
    queue(dispatcher, live("anna", 10, graph="other"))
    queue(dispatcher, live("bert", 10))
    sent = users(dispatcher.take(0.0))
    assert (sent.count("anna"), sent.count("bert")) == (3, 3)


def test_a_graphs_limit_leaves_room_for_the_users_other_graphs() -> None:
    dispatcher = Dispatcher(limits(graph=2), runners(slots=50), "me")
    first, second = live("anna", 10), live("anna", 10, graph="other")
    queue(dispatcher, first)
    queue(dispatcher, second)
    sent = [each.live for message in dispatcher.take(0.0) for each in message.sent]
    assert (sent.count(first), sent.count(second)) == (2, 2)


def test_higher_priorities_of_a_user_go_first() -> None:
    dispatcher = Dispatcher(limits(), runners(slots=1), "me")
    low, high = live("anna", 5), live("anna", 1, priority=10)
    queue(dispatcher, low)
    queue(dispatcher, high)
    first = dispatcher.take(0.0)[0].sent[0].live
    assert first is high


def test_quick_tasks_share_messages_and_others_travel_alone() -> None:
    dispatcher = Dispatcher(limits(), runners(slots=50), "me")
    queue(dispatcher, live("anna", 20))
    assert [len(message.sent) for message in dispatcher.take(0.0)] == [8, 8, 4]
    once = Dispatcher(limits(), runners(slots=50), "me")
    queue(once, live("anna", 3, effect=Effect.ONCE))
    assert [len(message.sent) for message in once.take(0.0)] == [1, 1, 1]
    slow = Dispatcher(limits(), runners(slots=50), "me")
    slow.took("node 0", 10_000)
    execution = live("anna", 1)
    queue(slow, execution)
    queue(slow, live("anna", 1))
    assert [len(message.sent) for message in slow.take(0.0)] == [1, 1]


def test_what_was_dropped_meanwhile_does_not_go_out() -> None:
    dispatcher = Dispatcher(limits(), runners(slots=50), "me")
    execution = live("anna", 3)
    queue(dispatcher, execution)
    del execution.machine.state.live[2]
    assert [sent.number for message in dispatcher.take(0.0) for sent in message.sent] == [1, 3]
    gone = live("bert", 3)
    queue(dispatcher, gone)
    gone.gone = True
    assert dispatcher.take(0.0) == []


def test_it_tells_what_waits_by_partition() -> None:
    dispatcher = Dispatcher(limits(), runners(slots=1), "me")
    execution, paused, gone = live("anna", 4), live("bert", 1), live("carl", 1)
    other = live("dora", 1)
    other.partition = 5
    for each in (execution, paused, gone, other):
        queue(dispatcher, each)
    assert users(dispatcher.take(0.0)) == ["anna", "bert"]
    dispatcher.again(next(sent for sent in dispatcher.in_flight.values() if sent.live is paused))
    dispatcher.pause(paused)
    dispatcher.forget((execution.key, 1))
    del execution.machine.state.live[1]
    del execution.machine.state.live[2]
    gone.gone = True
    dispatcher.take(0.0)
    assert dispatcher.waiting_in([0, 7]) == {0: [(execution.key, 4, 1), (paused.key, 1, 1)], 7: []}


def test_what_is_sent_again_counts_its_sends() -> None:
    dispatcher = Dispatcher(limits(), runners(slots=50), "me")
    queue(dispatcher, live("anna", 1))
    (message,) = dispatcher.take(0.0)
    dispatcher.again(message.sent[0])
    (again,) = dispatcher.take(1.0)
    assert [sent.sends for sent in (*message.sent, *again.sent)] == [1, 2]


def test_what_must_not_be_repeated_travels_alone_however_quick_it_is() -> None:
    dispatcher = Dispatcher(limits(), runners(slots=50), "me")
    for at in range(3):
        dispatcher.took(f"node {at}", 100)
    queue(dispatcher, live("anna", 3, effect=Effect.ONCE))
    assert [len(message.sent) for message in dispatcher.take(0.0)] == [1, 1, 1]


def test_a_replica_uses_its_share_of_a_users_and_a_graphs_limit_but_at_least_one() -> None:
    for part in ("user", "graph"):
        dispatcher = Dispatcher(limits(**{part: 8}), runners(slots=100), "me")
        dispatcher.share = 0.25
        queue(dispatcher, live("anna", 100))
        assert len(users(dispatcher.take(0.0))) == 2
        lonely = Dispatcher(limits(**{part: 1}), runners(slots=100), "me")
        lonely.share = 0.25
        queue(lonely, live("anna", 100))
        assert len(users(lonely.take(0.0))) == 1


def test_what_is_lost_is_sent_again_within_the_window() -> None:
    dispatcher = Dispatcher(limits(), runners(slots=5), "me")
    queue(dispatcher, live("anna", 100))
    for message in dispatcher.take(0.0):
        for sent in message.sent:
            dispatcher.again(sent)
    assert len(users(dispatcher.take(1.0))) == 10
    assert dispatcher.take(1.0) == []


def test_how_long_the_oldest_has_waited_is_known_by_pool() -> None:
    dispatcher = Dispatcher(limits(), runners(slots=1), "me")
    queue(dispatcher, live("anna", 3))
    first = dispatcher.waiting_longest()["default"]
    queue(dispatcher, live("anna", 1, priority=1))
    # The window is two: the one of priority goes, and one of the oldest.
    assert len(users(dispatcher.take(0.0))) == 2
    assert dispatcher.waiting() == {"default": 2}
    assert dispatcher.waiting_longest()["default"] >= first
    dispatcher.take(0.0)
    for place in list(dispatcher.in_flight):
        dispatcher.forget(place)
    dispatcher.take(0.0)
    assert dispatcher.waiting() == {"default": 0}
    assert dispatcher.waiting_longest() == {"default": 0}
