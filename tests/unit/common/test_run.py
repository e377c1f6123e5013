"""The life of a service's process, tried on a process."""

import asyncio
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from blockyard.dev.ports import free_port

from services.common import run
from tests import signing

ROOT = Path(__file__).parents[3]


class Service:
    """A running sample service and what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def wait_for(self, text: str) -> None:
        """Read on until a line holds the text."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while line := (await self.process.stdout.readline()).decode():
                self.said.append(line.strip())
                if text in line:
                    return
        pytest.fail(f"{text!r} was never said, but: {self.said}")

    async def end(self) -> int:
        """Wait for its end and read what is left."""
        async with asyncio.timeout(20):
            rest, _ = await self.process.communicate()
        self.said += rest.decode().splitlines()
        assert self.process.returncode is not None
        return self.process.returncode

    def events(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.said if line.startswith("{")]


@asynccontextmanager
async def sample(**variables: str) -> AsyncIterator[Service]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        **signing.ENVIRONMENT,
        "BLOCKYARD_PORT": "0",
        **{f"BLOCKYARD_{name}": value for name, value in variables.items()},
    }
    command = [sys.executable, "-m", "tests.unit.common.sample"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield Service(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_closes_everything_in_reverse_order(number: signal.Signals) -> None:
    async with sample() as service:
        await service.wait_for("started")
        service.process.send_signal(number)

        assert await service.end() == 0
    assert [line for line in service.said if line.startswith("closed")] == ["closed: work", "closed: first resource"]
    assert [event["event"] for event in service.events()] == ["listening", "started", "ending", "ended"]
    assert {event["service"] for event in service.events()} == {"sample"}


async def test_the_failure_of_a_held_task_ends_the_service() -> None:
    async with sample(BEHAVIOUR="task-fails") as service:
        assert await service.end() == 1

    (failure,) = (event for event in service.events() if event["event"] == "a held task failed")
    assert failure["task"] == "work"
    assert "the work cannot go on" in failure["exception"]
    assert "behaviour=" not in failure["exception"], "the values of variables may be secrets"
    assert "closed: first resource" in service.said


async def test_a_refused_start_is_one_sentence() -> None:
    async with sample(BEHAVIOUR="refuse") as service:
        assert await service.end() == 1

    (refusal,) = service.events()
    assert refusal["reason"] == "PostgreSQL runs with fsync = off."
    assert "exception" not in refusal
    assert service.said[-2:] == ["closed: first resource", service.said[-1]]


async def test_a_crash_at_the_start_is_logged_and_closes_what_was_open() -> None:
    async with sample(BEHAVIOUR="crash") as service:
        assert await service.end() == 1

    assert "closed: first resource" in service.said
    assert "a crash" in service.events()[-1]["exception"]


async def test_a_start_that_waits_can_be_ended() -> None:
    async with sample(BEHAVIOUR="hang-at-start") as service:
        await service.wait_for("hanging at start")
        service.process.terminate()

        assert await service.end() == 0
    assert "closed: first resource" in service.said


async def test_a_second_signal_ends_at_once() -> None:
    async with sample(BEHAVIOUR="hang-at-end") as service:
        await service.wait_for("started")
        service.process.terminate()
        await service.wait_for("closed: work")
        service.process.terminate()

        assert await service.end() == 128 + signal.SIGTERM


async def test_a_wrong_configuration_ends_with_2() -> None:
    async with sample(PORT="http") as service:
        assert await service.end() == 2

    assert any("BLOCKYARD_PORT" in line for line in service.said)


async def test_lines_of_the_standard_library_are_json_too() -> None:
    async with sample(BEHAVIOUR="hang-at-start") as service:
        await service.wait_for("hanging at start")

    assert service.events()[-1]["level"] == "warning"


async def test_the_console_form_is_for_people() -> None:
    async with sample(LOG_FORMAT="console") as service:
        await service.wait_for("started")

    assert not service.events()


async def test_metrics_are_served_beside_the_service() -> None:
    port = free_port()
    async with sample(METRICS_PORT=str(port)) as service:
        await service.wait_for("started")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()

    assert "blockyard_grpc_server_call_seconds" in text


async def test_a_service_listens_on_addresses_of_ipv6() -> None:
    metrics, health = free_port(), free_port()
    async with sample(HOST="::1", METRICS_PORT=str(metrics), HEALTH_PORT=str(health)) as service:
        await service.wait_for("started")
        (listening,) = (event for event in service.events() if event["event"] == "listening")
        for port in (metrics, health, listening["port"]):
            _, writer = await asyncio.open_connection("::1", port)
            writer.close()


async def test_a_metrics_port_that_is_taken_is_refused_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with sample(METRICS_PORT=str(taken.getsockname()[1])) as service:
            assert await service.end() == 1

    (refusal,) = service.events()
    assert "Address already in use" in refusal["reason"]


def test_as_many_files_may_be_open_as_the_machine_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, soft), hard))
    try:
        run.raise_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, run.OPEN_FILES), hard)
        run.raise_open_files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
