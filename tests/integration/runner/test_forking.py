"""Blocks that fork: no copy of a process speaks in its name, and none outlives it."""

import signal
import time

import psutil
import pytest
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.runner.v1.result_pb2 import Outcome

from tests.integration.runner.house import SERVICE, House, runs


@pytest.mark.parametrize("how", ["return", "exit", "raise", "thread", "c"])
@pytest.mark.parametrize("block", ["ForkingProcessBlock", "ForkingThreadBlock", "ForkingAsyncBlock"])
async def test_a_block_that_forks_gives_no_other_run_a_value(shared_house: House, block: str, how: str) -> None:
    owner, echo = shared_house.owner, shared_house.block("EchoProcessBlock")

    forked = await owner.run(shared_house.block(block), text=how)
    after = [await owner.run(echo, value=number) for number in range(10)]

    assert forked.on("value") == [{"exit": 3}.get(how, 1)]
    assert forked.finish is not None
    assert forked.finish.outcome == Outcome.OUTCOME_COMPLETED
    assert [run.on("value") for run in after] == [[number] for number in range(10)]
    assert all(run.finish is not None and run.finish.outcome == Outcome.OUTCOME_COMPLETED for run in after)


@pytest.mark.parametrize(
    ("block", "how"),
    [
        *(
            (block, how)
            for block in ("ForkingThreadBlock", "ForkingAsyncBlock")
            for how in ("return", "exit", "raise", "c")
        ),
        ("ForkingAsyncBlock", "task"),
    ],
)
async def test_a_block_that_forks_leaves_no_second_runner(shared_house: House, block: str, how: str) -> None:
    owner, runner = shared_house.owner, shared_house.runners[0]

    forked = await owner.run(shared_house.block(block), text=how)
    await owner.until(lambda: len(runner.running(SERVICE)) == 1, "one runner")

    assert forked.finish is not None
    assert len(owner.runs[owner.numbers]) == 1
    assert len({beat.runner_id for beat in owner.beats}) == 1


async def test_a_fork_in_a_callback_that_a_block_has_left_behind_leaves_no_second_runner(broken_house: House) -> None:
    owner, file = broken_house.owner, broken_house.folder / "copy"
    runner = await broken_house.add_runner()

    await owner.run(broken_house.block("ForkingLaterBlock"), text=str(file))
    await owner.until(lambda: file.exists() and file.read_text() != "", "the fork")
    await owner.until(lambda: not runs(int(file.read_text())), "the end of the copy")
    next_one = await owner.run(broken_house.block("EchoBlock"), value=1)

    assert next_one.on("value") == [1]
    # It has ended before it came to anything of the runner's own.
    assert "failed" not in runner.log
    assert "ending" not in runner.log


async def test_an_answer_for_another_run_fails_the_run_and_is_not_believed(shared_house: House) -> None:
    owner = shared_house.owner

    ended = await owner.run(shared_house.block("MisansweringBlock"))
    next_one = await owner.run(shared_house.block("EchoProcessBlock"), value=1)

    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_FAILED
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR
    assert "answered for another run" in ended.finish.error
    assert not ended.values
    assert next_one.on("value") == [1]


@pytest.mark.parametrize("how", ["stay", "stay in c"])
async def test_a_process_that_ends_is_noticed_while_a_copy_of_it_lives(shared_house: House, how: str) -> None:
    owner = shared_house.owner
    began = time.monotonic()

    ended = await owner.run(shared_house.block("ForkingProcessBlock"), text=how, count=3)

    assert ended.finish is not None
    assert ended.finish.error == "ProcessDied: the process of the block ended with exit code 4"
    assert time.monotonic() - began < 10
    # What it had said until then counts, and its copy has ended with it.
    [copy] = ended.on("value")
    await owner.until(lambda: not runs(copy), "the end of the copy")


@pytest.mark.parametrize("how", ["stay", "stay in c"])
async def test_what_a_block_has_forked_ends_with_its_process_at_its_timeout(shared_house: House, how: str) -> None:
    owner = shared_house.owner

    ended = await owner.run(shared_house.block("ForkingProcessBlock"), text=how, count=2, timeout_ms=5000)

    assert ended.finish is not None
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_TIMEOUT
    [copy] = ended.on("value")
    await owner.until(lambda: not runs(copy), "the end of the copy")


@pytest.mark.parametrize("block", ["ForkingProcessBlock", "ForkingThreadBlock", "ForkingAsyncBlock"])
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_what_a_block_has_forked_ends_with_its_runner(
    broken_house: House, block: str, end: signal.Signals
) -> None:
    owner = broken_house.owner
    runner = await broken_house.add_runner()
    [copy] = (await owner.run(broken_house.block(block), text="stay")).on("value")
    alive_before = runs(copy)

    if end is signal.SIGTERM:
        runner.process.send(end)
    else:
        # The process that the supervisor watches, and not the supervisor.
        [service] = [pid for pid in runner.running(SERVICE) if pid != copy]
        psutil.Process(service).send_signal(end)
    await owner.until(lambda: not runs(copy), "the end of the copy")

    assert alive_before
