"""Processes for cpu-bound blocks are copies of a template: whole ones, and with nothing of their runner."""

import signal

import pytest
from blockyard.block.loader import load_blocks
from blockyard.runner.v1.result_pb2 import Outcome

from tests import signing
from tests.integration.runner.house import SERVICE, TEMPLATE, WORKER, House

SUPERVISOR = "'services.runner'"
WITH_A_THREAD = "tests.integration.runner.with_a_thread"


async def test_a_process_for_blocks_has_nothing_of_its_runner(shared_house: House) -> None:
    owner, block = shared_house.owner, shared_house.block("CopiedProcessBlock")

    (told,) = (await owner.run(block, text="describe")).on("value")

    assert TEMPLATE in told["parent"]
    assert told["threads"] == 1
    assert told["arguments"] == []
    # Three streams and the socket to its runner; neither the runner's memory nor what it listens and speaks on.
    assert sorted(told["descriptors"], key=int)[:3] == ["0", "1", "2"]
    assert told["descriptors"]["0"] == "/dev/null"
    assert len(told["descriptors"]) == 4
    assert "(deleted)" not in told["maps"]
    # Those of all processes from this one up to the supervisor.
    assert [SUPERVISOR in command for command in told["environments"]] == [False, False, False, True]
    for environment in told["environments"].values():
        assert "BLOCKYARD_HEARTBEAT_SECONDS" in environment
        assert set(environment.get("BLOCKYARD_RUNNER_SECRET", "")) <= {"-"}
        assert set(environment.get("BLOCKYARD_NATS_URL", "")) <= {"-"}
        assert signing.RUNNER_SECRET not in str(environment)


async def test_copies_draw_random_numbers_of_their_own(shared_house: House) -> None:
    owner, block = shared_house.owner, shared_house.block("CopiedProcessBlock")

    drawn = [(await owner.run(block, text="random")).on("value")[0] for _ in range(3)]

    assert len(set(drawn)) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_block_that_ends_or_stops_the_parent_of_its_process_harms_no_other(
    broken_house: House, number: signal.Signals
) -> None:
    owner = broken_house.owner
    runner = await broken_house.add_runner()
    before = runner.running(SERVICE)

    ended = await owner.run(broken_house.block("CopiedProcessBlock"), text="parent", count=int(number))
    next_one = await owner.run(broken_house.block("EchoProcessBlock"), value=1)

    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_FAILED
    assert next_one.on("value") == [1]
    assert runner.running(SERVICE) == before
    assert not runner.running(TEMPLATE)
    assert len(runner.running(WORKER)) == 1


async def test_blocks_of_a_module_that_starts_a_thread_get_processes_that_have_it_too(broken_house: House) -> None:
    runner = await broken_house.add_runner(packages=f'["{WITH_A_THREAD}"]')
    block = load_blocks([WITH_A_THREAD], entry_points=False).by_name["ThreadOfModuleBlock"]

    ended = await broken_house.owner.run(block)

    assert ended.on("value") == [2]
    assert not runner.running(TEMPLATE)
    assert "processes for blocks start slower" in runner.log
