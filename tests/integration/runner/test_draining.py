"""What SIGTERM does to a runner with work in hand."""

from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.runner.v1.result_pb2 import Outcome

from tests.integration.runner.house import House


async def test_what_runs_may_end_and_what_waits_goes_back(broken_house: House) -> None:
    owner, block = broken_house.owner, broken_house.block("StreamingBlock")
    runner = await broken_house.add_runner(slots=1, grace_seconds=10)
    running, waiting = owner.task(block, seconds=1), owner.task(block)
    await owner.send(running, waiting, together=True)
    await owner.until(lambda: running.node_execution in owner.runs, "the first output")

    runner.process.send(runner.process.stop_signal)
    ended, returned = await owner.end_of(running), await owner.end_of(waiting)
    await owner.until(lambda: not runner.process.alive(), "its end")

    assert ended.on("value") == ["0", "last"]
    assert returned.finish is not None
    assert returned.finish.outcome == Outcome.OUTCOME_RETURNED
    assert returned.finish.error == ""
    assert runner.process.exit_code == 0
    assert any(beat.draining for beat in owner.beats)
    # All results were recorded, so that it did not have to wait for anything.
    assert "not known to be recorded" not in runner.log


async def test_what_outlives_the_grace_period_goes_back(broken_house: House) -> None:
    owner = broken_house.owner
    runner = await broken_house.add_runner(grace_seconds=0.5)
    names = ["StreamingBlock", "ThreadBlock", "EndlessProcessBlock"]
    tasks = [owner.task(broken_house.block(name), seconds=60) for name in names]
    await owner.send(*tasks)
    await owner.until(lambda: len(owner.runs) == 3, "all run")

    runner.process.send(runner.process.stop_signal)
    ended = [await owner.end_of(task) for task in tasks]
    await owner.until(lambda: not runner.process.alive(), "its end")

    assert {run.finish.outcome for run in ended if run.finish} == {Outcome.OUTCOME_RETURNED}
    assert runner.process.exit_code == 0


async def test_a_claimed_run_that_is_cut_short_is_not_handed_back(broken_house: House) -> None:
    owner = broken_house.owner
    runner = await broken_house.add_runner(grace_seconds=0.2)
    task = owner.task(broken_house.block("PaymentBlock"), seconds=60)
    await owner.send(task)
    await owner.until(lambda: bool(owner.claims), "the claim")
    await owner.until(lambda: task.node_execution in owner.runs, "that it runs")

    runner.process.send(runner.process.stop_signal)
    await owner.until(lambda: not runner.process.alive(), "its end")

    # Sent again it would be done twice; only the owner can say what is to become of it.
    assert owner.ended(task) is None


async def test_tasks_that_nobody_took_are_left_to_the_next_runner(broken_house: House) -> None:
    owner, block = broken_house.owner, broken_house.block("StreamingBlock")
    first = await broken_house.add_runner(slots=1)
    tasks = [owner.task(block, seconds=0.1) for _ in range(10)]
    await owner.send(*tasks)

    first.process.send(first.process.stop_signal)
    await broken_house.add_runner()

    def untaken() -> bool:
        ends = [owner.ended(task) for task in tasks]
        return all(end is not None for end in ends)

    await owner.until(untaken, "every task ended or handed back")
    reasons = {run.finish.reason for runs in owner.runs.values() for run in runs.values() if run.finish}
    assert reasons == {NodeErrorReason.NODE_ERROR_REASON_UNSPECIFIED}
