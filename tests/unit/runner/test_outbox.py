"""How what runs say becomes messages."""

from pathlib import Path

from blockyard.runner.v1.result_pb2 import Finish, Outcome

from services.runner.outbox import MAX_BYTES, MAX_RESULTS
from tests.unit.runner.said import a_desk, a_run

DONE = Outcome.OUTCOME_COMPLETED


async def test_what_is_said_in_one_turn_travels_in_one_message_for_each_owner(tmp_path: Path) -> None:
    desk = a_desk(tmp_path)
    first, second, other = a_run(1), a_run(2), a_run(3, owner="owner-2", partition=5)

    desk.outbox.say(first, [("value", 0, b"1")], Finish(outcome=DONE))
    desk.outbox.say(other, [("value", 0, b"3")], Finish(outcome=DONE))
    desk.outbox.say(second, [("value", 0, b"2")])
    desk.outbox.flush()

    batches = [desk.batch(number) for number in desk.sent]
    assert [[result.node_execution for result in batch.results] for batch in batches] == [[1, 2], [3]]
    messages = [desk.kept.message(number) for number in desk.sent]
    assert [message.subject for message in messages if message] == ["blockyard.result.3", "blockyard.result.5"]
    assert [message.message_id for message in messages if message] == ["runner-1:1:1", "runner-1:2:1"]


async def test_an_end_counts_the_outputs_of_all_messages(tmp_path: Path) -> None:
    desk, run = a_desk(tmp_path), a_run()

    desk.outbox.say(run, [("value", 0, b"0"), ("value", 1, b"1")])
    desk.outbox.flush()
    desk.outbox.say(run, [("value", 2, b"2")], Finish(outcome=DONE))
    desk.outbox.flush()

    assert not desk.batch(1).results[0].HasField("finish")
    assert desk.batch(2).results[0].finish.outputs == 3


async def test_nothing_is_said_after_the_end(tmp_path: Path) -> None:
    desk, run = a_desk(tmp_path), a_run()

    desk.outbox.say(run, finish=Finish(outcome=DONE))
    desk.outbox.say(run, [("value", 0, b"late")], Finish(outcome=Outcome.OUTCOME_FAILED))
    desk.outbox.running(run)
    desk.outbox.flush()

    (result,) = desk.batch(1).results
    assert result.finish.outcome == DONE
    assert not result.outputs
    assert not result.running


async def test_a_message_is_bounded_in_results_and_bytes(tmp_path: Path) -> None:
    desk = a_desk(tmp_path, memory=1 << 24)

    for number in range(MAX_RESULTS + 1):
        desk.outbox.say(a_run(number), finish=Finish(outcome=DONE))
    desk.outbox.flush()
    results = len(desk.sent)
    desk.outbox.say(a_run(999), (("value", index, b"x" * 100_000) for index in range(10)), Finish(outcome=DONE))
    desk.outbox.flush()

    assert [len(desk.batch(number).results) for number in desk.sent[:results]] == [MAX_RESULTS, 1]
    large = [desk.batch(number) for number in desk.sent[results:]]
    assert all(batch.ByteSize() <= MAX_BYTES + 1000 for batch in large)
    assert sum(len(batch.results[0].outputs) for batch in large) == 10
    assert [batch.results[0].HasField("finish") for batch in large] == [False] * (len(large) - 1) + [True]


async def test_what_is_retracted_before_it_was_sent_is_not_sent(tmp_path: Path) -> None:
    desk, run, other = a_desk(tmp_path), a_run(1), a_run(2)

    desk.outbox.say(run, [("value", 0, b"1")])
    desk.outbox.say(other, finish=Finish(outcome=DONE))
    desk.outbox.retract(run)
    desk.outbox.flush()

    assert [result.node_execution for result in desk.batch(1).results] == [2]
    desk.kept.recorded(1)
    assert len(desk.kept) == 0
