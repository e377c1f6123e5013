"""The whole laptop stack with the real services: found by its state, alone on its home, and gone when it is stopped."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import blockyard
import pytest
from blockyard.dev import DevelopmentStackError, Stack, StackRuns
from blockyard.dev.health import HealthProbe
from blockyard.dev.home import read_state

from tests.integration.dev.processes import runs
from tests.waiting import until

ALL = {"postgres", "nats", "account", "graph", "credentials-1", "execution-1", "execution-2", "runner-1", "edge"}

said: list[str] = []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def stack(runner: asyncio.Runner, home: Path) -> Iterator[Stack]:
    """A supervised stack; tests leave all of it running."""
    started = Stack(home, runners=1, replicas=2, edge=True, supervise=True, report=said.append)
    runner.run(started.start())
    yield started
    runner.run(started.stop())


async def serving(address: str) -> bool:
    probe = HealthProbe(address)
    try:
        return await probe.serving(timeout_seconds=5)
    finally:
        await probe.close()


async def test_all_processes_run_and_all_services_serve(stack: Stack) -> None:
    assert set(stack.names()) == ALL
    assert all(stack.process(name).alive() for name in ALL)
    assert all([await serving(service.address) for service in stack.services().values()])


async def test_the_state_says_where_everything_is(stack: Stack, home: Path) -> None:
    state = read_state(home)

    assert state is not None
    assert state.addresses["graph"] == stack.graph_address
    assert state.addresses["execution"] == stack.execution_address
    assert state.token() == stack.token
    assert state.processes == {name: stack.process(name).pid for name in ALL}


async def test_a_second_stack_on_the_home_is_refused_and_told_where_the_first_is(stack: Stack, home: Path) -> None:
    with pytest.raises(StackRuns, match=f"process {os.getpid()}.*{stack.graph_address}"):
        await Stack(home).start()

    assert read_state(home) is not None


async def test_what_is_killed_by_name_stays_down_until_revived_at_its_address(stack: Stack) -> None:
    address = stack.services()["execution-2"].address
    await stack.kill("execution-2")
    assert not stack.process("execution-2").alive()

    await stack.revive("execution-2")

    assert stack.services()["execution-2"].address == address
    assert await serving(address)


async def test_what_dies_by_itself_is_started_again_and_said(stack: Stack, home: Path) -> None:
    first = stack.process("runner-1").pid

    await stack.process("runner-1").kill()

    await until(lambda: any("runner-1 runs again" in line for line in said), "the runner is back")
    assert any("runner-1 ended with exit code -9" in line for line in said)
    assert stack.process("runner-1").pid != first
    state = read_state(home)
    assert state is not None
    assert state.processes["runner-1"] == stack.process("runner-1").pid


async def test_an_edge_that_dies_is_started_again_at_its_address_and_calls_go_on(stack: Stack, home: Path) -> None:
    state = read_state(home)
    assert state is not None
    assert state.addresses["edge"] == stack.edge.address

    async with blockyard.connect(state.addresses["edge"], stack.token) as client:
        assert [graph async for graph in client.graphs.list()] == []
        await stack.process("edge").kill()

        await until(lambda: any("edge runs again" in line for line in said), "the edge is back")
        assert [graph async for graph in client.graphs.list()] == []


async def test_a_name_that_is_not_there_is_refused_with_those_that_are(stack: Stack) -> None:
    with pytest.raises(DevelopmentStackError, match=r"no process named execution-9 .*execution-1"):
        await stack.kill("execution-9")


async def test_a_stopped_stack_leaves_no_process_and_no_state(tmp_path: Path) -> None:
    async with Stack(tmp_path, runners=1) as stack:
        ids = [process.pid for name in stack.names() for process in stack.process(name).family()]
        assert len(ids) >= 5

    assert not any(runs(pid) for pid in ids)
    assert read_state(tmp_path) is None


async def test_a_service_that_does_not_start_is_shown_with_what_it_said(tmp_path: Path) -> None:
    said_at_start: list[str] = []
    stack = Stack(tmp_path, runners=1, environment={"BLOCKYARD_LEASE_SECONDS": "-1"}, report=said_at_start.append)

    with pytest.raises(DevelopmentStackError, match=r"(?s)execution-1 ended with exit code 2.*BLOCKYARD_LEASE_SECONDS"):
        await stack.start()

    assert stack.names() == []
    assert read_state(tmp_path) is None
