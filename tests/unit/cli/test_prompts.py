"""What commands ask on a terminal."""

import asyncio
import os
import platform
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from blockyard.credentials.v1 import credential_pb2
from blockyard.graph.v1 import graph_pb2

from tests.unit.client.memory_accounts import CREDENTIAL_ID
from tests.unit.client.memory_services import Script
from tests.waiting import until

START = "from blockyard.cli import main; main()"


READ = {"x86_64": "0", "aarch64": "63"}[platform.machine()]
"""The number of read(2). Other calls have a first argument of 0 too, such as mmap(2)."""


def sleeps_in_a_read(pid: int) -> Callable[[], bool]:
    """Whether a process waits in a read of its descriptor 0, and has not woken up since it was last asked (proc(5))."""
    process = Path(f"/proc/{pid}")
    slept = [""]

    def sleeps() -> bool:
        reads = (process / "syscall").read_text().split()[:2] == [READ, "0x0"]
        times = re.findall(r"_switches:\s(\d+)", (process / "status").read_text())
        slept.append("-".join(times) if reads else "")
        return bool(slept[-1]) and slept[-1] == slept[-2]

    return sleeps


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (("credentials", "add", "github", "--title", "work"), b"API key"),
        (("credentials", "update", CREDENTIAL_ID, "--secret"), b"API key"),
        (("graphs", "delete", "g1"), b"Delete graph"),
    ],
    ids=["add", "update", "delete"],
)
async def test_a_question_ends_at_the_first_interrupt(
    offices: Script, arguments: tuple[str, ...], question: bytes
) -> None:
    offices.graphs["g1"] = graph_pb2.Graph(id="g1", name="old")
    offices.office.credentials[CREDENTIAL_ID] = credential_pb2.Credential(
        id=CREDENTIAL_ID, provider="github", type=credential_pb2.CREDENTIAL_TYPE_API_KEY
    )
    leader, terminal = os.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        START,
        *arguments,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    try:
        shown = b""
        while question not in shown:
            shown += os.read(leader, 1024)
        # Python takes note of a signal that comes just before it reads when it has read: nobody is as quick as that.
        await until(sleeps_in_a_read(process.pid), "it waits for the answer")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            assert await process.wait() == 130
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(terminal)
        os.close(leader)
    assert not {"CreateCredential", "UpdateCredential", "DeleteGraph"} & set(offices.calls)
