"""What is kept until when."""

from pathlib import Path

from blockyard.runner.v1.result_pb2 import Finish, Outcome

from tests.unit.runner.said import Desk, a_desk, a_run

DONE = Outcome.OUTCOME_COMPLETED


def streamed(desk: Desk, parts: int, number: int = 1) -> None:
    """A run that says something in so many messages, the last with its end."""
    run = a_run(number)
    for index in range(parts):
        finish = Finish(outcome=DONE) if index == parts - 1 else None
        desk.outbox.say(run, [("value", index, b"x" * 100)], finish)
        desk.outbox.flush()


async def test_the_end_of_a_run_stands_for_its_earlier_messages(tmp_path: Path) -> None:
    desk = a_desk(tmp_path)
    streamed(desk, 3)

    desk.kept.recorded(3)

    assert len(desk.kept) == 0
    assert desk.kept.bytes == 0


async def test_an_earlier_message_that_is_recorded_leaves_the_later_ones(tmp_path: Path) -> None:
    desk = a_desk(tmp_path)
    streamed(desk, 3)

    desk.kept.recorded(1)
    desk.kept.recorded(1)

    assert desk.kept.message(1) is None
    assert desk.kept.message(2) is not None
    assert desk.kept.message(3) is not None


async def test_a_message_goes_when_all_runs_in_it_are_recorded_one_by_one(tmp_path: Path) -> None:
    desk = a_desk(tmp_path)
    runs = [a_run(1), a_run(2)]
    for run in runs:
        desk.outbox.say(run, finish=Finish(outcome=DONE))
    desk.outbox.flush()

    desk.kept.run_recorded(runs[0].holding())
    after_one = desk.kept.message(1)
    desk.kept.run_recorded(runs[1].holding())

    assert after_one is not None
    assert desk.kept.message(1) is None


async def test_a_run_that_is_sent_again_is_sent_whole_and_under_new_message_ids(tmp_path: Path) -> None:
    desk = a_desk(tmp_path)
    streamed(desk, 3)

    numbers = desk.kept.resend(3)

    assert numbers == [1, 2, 3]
    messages = [desk.kept.message(number) for number in numbers]
    assert [message.message_id for message in messages if message] == [f"runner-1:{n}:2" for n in numbers]
    assert desk.kept.resend(99) == []


async def test_holdings_are_the_ends_that_were_kept_for_long(tmp_path: Path) -> None:
    desk = a_desk(tmp_path)
    streamed(desk, 2)

    assert list(desk.kept.holdings(older_than=60)) == []
    (holding,) = desk.kept.holdings(older_than=0)
    assert (holding.node_execution, holding.batch) == (1, 2)


async def test_what_memory_has_no_room_for_goes_to_disk_unchanged(tmp_path: Path) -> None:
    desk = a_desk(tmp_path, memory=300)

    for number in range(10):
        streamed(desk, 1, number)

    assert {desk.batch(number).results[0].outputs[0].value for number in desk.sent} == {b"x" * 100}
    assert [desk.batch(number).results[0].node_execution for number in desk.sent] == list(range(10))
    assert not desk.kept.full
    for number in reversed(desk.sent):
        desk.kept.recorded(number)
    assert desk.kept.bytes == 0


async def test_it_is_full_when_the_disk_is_and_has_room_when_all_is_recorded(tmp_path: Path) -> None:
    desk = a_desk(tmp_path, memory=300, spilled=300)

    while not desk.kept.full:
        streamed(desk, 1)
    kept = [desk.kept.message(number) for number in desk.sent]
    for number in desk.sent:
        desk.kept.recorded(number)

    assert all(kept)
    assert not desk.kept.full


async def test_it_is_full_with_too_many_runs(tmp_path: Path) -> None:
    desk = a_desk(tmp_path, runs=3)
    for number in range(3):
        streamed(desk, 1, number)
    full = desk.kept.full

    desk.kept.recorded(2)

    assert full
    assert not desk.kept.full


async def test_a_run_that_is_forgotten_leaves_no_trace(tmp_path: Path) -> None:
    desk, run = a_desk(tmp_path), a_run()
    desk.outbox.say(run, [("value", 0, b"x")])
    desk.outbox.flush()

    desk.outbox.retract(run)
    desk.kept.recorded(1)

    assert len(desk.kept) == 0


async def test_a_runner_that_may_not_spill_pulls_until_memory_is_full(tmp_path: Path) -> None:
    desk = a_desk(tmp_path, memory=1000, spilled=0)
    assert not desk.kept.full

    streamed(desk, 20)

    assert desk.kept.full
