"""Runs that are ended from outside: by their timeout, by their owner, and whatever they do against it."""

import signal
import time
from typing import Any

import pytest
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.runner.v1.result_pb2 import Outcome

from tests.integration.runner.house import House


@pytest.mark.parametrize("block", ["StreamingBlock", "EndlessThreadBlock", "EndlessProcessBlock", "StubbornBlock"])
async def test_a_run_ends_at_its_timeout(shared_house: House, block: str) -> None:
    owner = shared_house.owner
    began = time.monotonic()

    ended = await owner.run(shared_house.block(block), timeout_ms=300, seconds=8)

    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_FAILED
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_TIMEOUT
    assert ended.finish.error == "ran longer than its timeout of 0.3 s"
    assert 0.3 <= time.monotonic() - began < 3


@pytest.mark.parametrize("how", ["", "suspend"])
async def test_an_endless_loop_in_the_event_loop_is_ended_and_others_go_on(shared_house: House, how: str) -> None:
    owner = shared_house.owner

    ended = await owner.run(shared_house.block("EndlessLoopBlock"), text=how)
    next_one = await owner.run(shared_house.block("EchoBlock"), value=1)

    assert ended.finish is not None
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_TIMEOUT
    assert "held the event loop" in ended.finish.error
    assert ended.on("value") == ["before"]
    assert next_one.on("value") == [1]
    assert len({beat.runner_id for beat in owner.beats}) == 1


async def test_a_run_that_is_dropped_is_cancelled_and_nothing_more_is_said_of_it(shared_house: House) -> None:
    owner = shared_house.owner
    task = owner.task(shared_house.block("StreamingBlock"), seconds=1)
    await owner.send(task)
    await owner.until(lambda: task.node_execution in owner.runs, "the first output")

    owner.drop(task)
    await owner.beats_after(
        lambda beat: all(held.node_execution != task.node_execution for held in beat.holdings), "not held any more"
    )
    later = await owner.run(shared_house.block("StreamingBlock"), seconds=1.2)

    assert later.finish is not None
    assert owner.ended(task) is None


async def test_a_task_that_waits_for_a_slot_can_be_dropped(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner(slots=1)
    first = owner.task(broken_house.block("StreamingBlock"), seconds=1)
    second = owner.task(broken_house.block("StreamingBlock"))
    await owner.send(first, second, together=True)
    await owner.beats_after(lambda beat: len(beat.holdings) == 2, "both are held")

    owner.drop(second)
    await owner.end_of(first)
    await owner.beats_after(lambda beat: not beat.holdings, "nothing is held")

    assert second.node_execution not in owner.runs


async def test_a_task_that_comes_twice_runs_once(shared_house: House) -> None:
    owner = shared_house.owner
    task = owner.task(shared_house.block("StreamingBlock"), seconds=0.5)

    await owner.send(task, task)
    await owner.end_of(task)
    await owner.beats_after(lambda beat: not beat.holdings, "nothing is held")

    assert len(owner.runs[task.node_execution]) == 1


async def test_a_hang_in_c_code_costs_the_process_and_its_run_is_told_as_timed_out(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner(event_loop_seconds=0.5)

    ended = await owner.run(broken_house.block("EndlessRegexBlock"))
    next_one = await owner.run(broken_house.block("EchoBlock"), value=1)

    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_FAILED
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_TIMEOUT
    assert "the runner was killed for it" in ended.finish.error
    assert next_one.on("value") == [1]
    assert len({beat.runner_id for beat in owner.beats}) == 2


async def test_a_hang_in_c_code_in_a_thread_costs_the_process_and_is_blamed_on_nobody(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner(event_loop_seconds=0.5)
    first = await owner.beats_after(lambda beat: True, "a heartbeat")

    ended = await owner.run(broken_house.block("EndlessRegexThreadBlock"))
    next_one = await owner.run(broken_house.block("EchoBlock"), value=1)

    assert next_one.on("value") == [1]
    assert owner.beats[-1].runner_id != first.runner_id
    # It need not have been this thread: its owner sends it again, though not for ever.
    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_RETURNED
    assert ended.finish.error == "the process of its runner was killed by signal 9 (SIGKILL) during the run"


async def test_a_runner_that_was_stopped_for_a_while_goes_on(broken_house: House) -> None:
    owner, block = broken_house.owner, broken_house.block("CountingBlock")
    runner = await broken_house.add_runner(event_loop_seconds=0.5)
    tasks = [owner.task(block, count=20_000) for _ in range(20)]
    await owner.send(*tasks)
    await owner.until(lambda: bool(owner.runs), "the first result")

    runner.process.freeze()
    beat = owner.beats[-1]
    await owner.until(lambda: time.time() - owner.heard_at > 3, "three seconds of silence")
    runner.process.thaw()
    ended = [await owner.end_of(task, 60) for task in tasks]

    assert all(run.finish is not None and not run.finish.error for run in ended)
    assert {later.runner_id for later in owner.beats} == {beat.runner_id}


async def test_a_runner_that_crashes_is_started_anew(broken_house: House) -> None:
    owner = broken_house.owner
    runner = await broken_house.add_runner()

    first = await owner.beats_after(lambda beat: True, "a heartbeat")
    await owner.send(owner.task(broken_house.block("CrashingBlock")))
    await owner.beats_after(lambda beat: beat.runner_id != first.runner_id, "a new process")
    next_one = await owner.run(broken_house.block("EchoBlock"), value=1)
    tasks = await broken_house.bus.consumer_info("TASKS", "pool-default")

    assert next_one.on("value") == [1]
    assert "the runner ended (-9), starting it again" in runner.log
    # The task that did it was acknowledged before it ran: only its owner sends it again, and not for ever.
    assert tasks is not None
    assert tasks.num_ack_pending == 0


@pytest.mark.parametrize(
    ("block", "inputs", "how"),
    [
        ("ExitingBlock", {"count": 7}, "ended with exit code 7"),
        # The runner's own way to say that it wants to be started again.
        ("ExitingBlock", {"count": 75}, "ended with exit code 75"),
        ("ExitingThreadBlock", {"count": 0}, "ended with exit code 0"),
        ("ExitingPaymentBlock", {"text": "SIGSEGV"}, "was killed by signal 11 (SIGSEGV)"),
    ],
)
async def test_a_block_that_ends_its_process_fails_at_once_and_the_runner_goes_on(
    broken_house: House, block: str, inputs: dict[str, Any], how: str
) -> None:
    owner = broken_house.owner
    await broken_house.add_runner()

    ended = await owner.run(broken_house.block(block), **inputs)
    next_one = await owner.run(broken_house.block("EchoBlock"), value=1)

    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_FAILED
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR
    assert ended.finish.error == f"the block ended the process of its runner, which {how}"
    assert next_one.on("value") == [1]


async def test_runs_beside_one_that_ends_the_process_go_back_but_none_that_must_not_be_repeated(
    broken_house: House,
) -> None:
    owner = broken_house.owner
    await broken_house.add_runner(slots=3)
    beside = owner.task(broken_house.block("StreamingBlock"), seconds=60)
    payment = owner.task(broken_house.block("PaymentBlock"), seconds=60)
    cause = owner.task(broken_house.block("ExitingPaymentBlock"), seconds=1)
    waiting = owner.task(broken_house.block("StreamingBlock"))

    await owner.send(beside, payment, cause, waiting, together=True)
    ended = [await owner.end_of(task) for task in (beside, cause, waiting)]
    next_one = await owner.run(broken_house.block("EchoBlock"), value=1)

    finishes = [run.finish for run in ended if run.finish is not None]
    assert [(finish.outcome, finish.error) for finish in finishes] == [
        (Outcome.OUTCOME_RETURNED, "the process of its runner ended with exit code 1 during the run"),
        (Outcome.OUTCOME_FAILED, "the block ended the process of its runner, which ended with exit code 1"),
        # Without a reason: it had no part in it, and may be sent as often as it takes.
        (Outcome.OUTCOME_RETURNED, ""),
    ]
    assert next_one.on("value") == [1]
    assert owner.ended(payment) is None


async def test_results_that_died_with_the_process_are_not_waited_for(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner()
    before = [owner.task(broken_house.block("EchoBlock"), value=number) for number in range(5)]
    cause = owner.task(broken_house.block("ExitingBlock"))

    await owner.send(*before, cause, together=True)
    ended = [await owner.end_of(task) for task in before]

    # Done, and perhaps not sent yet: their owner hears of each at once, of one of the two.
    outcomes = {run.finish.outcome for run in ended if run.finish is not None}
    assert outcomes <= {Outcome.OUTCOME_COMPLETED, Outcome.OUTCOME_RETURNED}
    assert all(run.finish is not None and not run.finish.error for run in ended)


async def test_blocks_that_end_the_process_again_and_again_do_not_end_the_runner(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner()
    tasks = [owner.task(broken_house.block("ExitingBlock")) for _ in range(6)]

    for task in tasks:
        await owner.send(task)
        await owner.end_of(task)
    next_one = await owner.run(broken_house.block("EchoBlock"), value=1)

    assert next_one.on("value") == [1]


@pytest.mark.parametrize(
    ("how", "outcome", "error"),
    [
        ("task", Outcome.OUTCOME_FAILED, "SystemExit: 3"),
        ("forgotten task", Outcome.OUTCOME_COMPLETED, ""),
        ("callback", Outcome.OUTCOME_COMPLETED, ""),
        ("stop", Outcome.OUTCOME_COMPLETED, ""),
    ],
)
async def test_a_block_that_ends_the_event_loop_ends_no_run_but_its_own(
    broken_house: House, how: str, outcome: "Outcome.ValueType", error: str
) -> None:
    owner = broken_house.owner
    runner = await broken_house.add_runner()
    beside = owner.task(broken_house.block("StreamingBlock"), seconds=1)
    ending = owner.task(broken_house.block("LoopEndingBlock"), text=how)

    await owner.send(beside, ending, together=True)
    ended = (await owner.end_of(ending)).finish
    other = (await owner.end_of(beside)).finish

    assert ended is not None
    assert (ended.outcome, ended.error) == (outcome, error)
    assert other is not None
    assert other.outcome == Outcome.OUTCOME_COMPLETED
    assert "something would have ended the event loop" in runner.log
    assert len({beat.runner_id for beat in owner.beats}) == 1


async def test_a_block_that_cancels_every_task_does_not_end_the_runner_for_good(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner()
    first = await owner.beats_after(lambda beat: True, "a heartbeat")

    await owner.send(owner.task(broken_house.block("LoopEndingBlock"), text="cancel"))
    await owner.beats_after(lambda beat: beat.runner_id != first.runner_id, "a new process")
    next_one = await owner.run(broken_house.block("EchoBlock"), value=1)

    assert next_one.on("value") == [1]


async def test_a_runner_that_dies_at_each_start_ends_with_its_exit_code(broken_house: House) -> None:
    runner = await broken_house.add_runner()
    broken_house.breaks.write_text("service 9")

    runner.process.send(signal.SIGKILL)
    await runner.process.ended(10)
    runner.process.start()
    ended = await runner.process.ended(60)

    assert ended
    assert runner.process.exit_code == 9
    assert runner.log.count("starting it again") == 4


TOLD_WHILE_STARTING = """
import os, signal, sys
from services.runner.supervisor import Supervisor

class ToldWhileStarting(Supervisor):
    def _start(self):
        os.kill(os.getpid(), signal.SIGTERM)
        super()._start()

sys.exit(ToldWhileStarting().run())
"""


async def test_a_runner_that_is_told_to_end_while_its_process_is_started_ends(broken_house: House) -> None:
    runner = broken_house.prepare_runner("-c", TOLD_WHILE_STARTING)

    runner.process.start()
    ended = await runner.process.ended(20)

    assert ended
    assert "starting it again" not in runner.log


async def test_threads_that_cannot_be_ended_are_bounded(broken_house: House) -> None:
    owner = broken_house.owner
    runner = await broken_house.add_runner(stuck_threads=1)
    block = broken_house.block("ThreadBlock")
    tasks = [owner.task(block, timeout_ms=200, seconds=20) for _ in range(3)]

    await owner.send(*tasks)
    for task in tasks:
        await owner.end_of(task)
    first = owner.beats[-1].runner_id
    await owner.beats_after(lambda beat: beat.runner_id != first, "a new process")

    assert "threads cannot be ended" in runner.log
