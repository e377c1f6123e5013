"""What a program may use, and that nothing of it is left whatever it does."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from blockyard.sandbox import BubblewrapSandbox, End, Language, Limits, Program

from tests.integration.sandbox import attempts
from tests.integration.sandbox.attempts import MEBIBYTE, namespaces_work, processes_with
from tests.waiting import until

SMALL = Limits(seconds=30, memory=128 * MEBIBYTE, folder_size=8 * MEBIBYTE, file_size=2 * MEBIBYTE)
# Ignores every signal that can be ignored.
STUBBORN = """
trap '' TERM INT HUP QUIT USR1 USR2 PIPE ALRM XCPU
exec -a {marker} sleep 1000
"""


@pytest.fixture
def marker() -> str:
    return f"marker-{uuid.uuid4().hex}"


@asynccontextmanager
async def running(program: Program, marker: str) -> AsyncIterator[asyncio.Task[object]]:
    """A program that goes on and on, from when it has come to the command with the marker."""
    task = asyncio.create_task(BubblewrapSandbox().run(program, Limits(seconds=60)))
    try:
        await until(lambda: processes_with(marker), "the program runs")
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_forking_without_end_stops_at_the_limit() -> None:
    code = """
import os, time
started = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(1000)
        started += 1
except BlockingIOError:
    print(started)
"""

    outcome = await attempts.run_python(code, Limits(seconds=30, processes=32))

    if outcome is None:
        return
    assert outcome.succeeded, outcome
    # bubblewrap's, the one that starts the steps, and the code's own count as well.
    assert int(outcome.stdout) == 32 - 3


async def test_fork_bomb_ends_with_its_time(marker: str) -> None:
    bomb = "bomb() { bomb | bomb & }; while :; do bomb; done"

    outcome = await attempts.run_bash(f"exec -a {marker} bash -c '{bomb}'", Limits(seconds=2))

    if outcome is None:
        return
    assert not outcome.succeeded
    assert processes_with(marker) == []


async def test_one_process_cannot_fill_the_memory() -> None:
    outcome = await attempts.run_python("bytearray(256 << 20)", SMALL)

    if outcome is None:
        return
    assert outcome.exit_code == 1
    assert "MemoryError" in outcome.stderr


async def test_many_processes_cannot_fill_the_memory() -> None:
    code = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        held = b"x" * (64 << 20)
        time.sleep(1000)
time.sleep(1000)
"""

    outcome = await attempts.run_python(code, SMALL)

    if outcome is None:
        return
    assert outcome.end is End.OUT_OF_MEMORY


async def test_shared_memory_counts() -> None:
    code = """
import mmap, time
held = mmap.mmap(-1, 512 << 20)
for page in range(0, 512 << 20, 4096):
    held[page] = 1
time.sleep(1000)
"""

    outcome = await attempts.run_python(code, SMALL)

    if outcome is None:
        return
    assert outcome.end is End.OUT_OF_MEMORY


async def test_forks_that_share_their_memory_are_not_counted_twice() -> None:
    code = """
import os, time
held = b"x" * (64 << 20)
for _ in range(6):
    if os.fork() == 0:
        time.sleep(0.5)
        os._exit(0)
for _ in range(6):
    os.wait()
"""

    outcome = await attempts.run_python(code, SMALL)

    if outcome is None:
        return
    assert outcome.succeeded, outcome


@pytest.mark.parametrize("folder", ["/work", "/tmp", "/dev/shm", "/result"])
async def test_folders_cannot_be_filled_beyond_their_size(folder: str) -> None:
    code = f"""
import os
written = 0
try:
    for number in range(1000):
        with open(f"{folder}/{{number}}", "wb", buffering=0) as file:
            written += file.write(bytes(1 << 20))
except OSError as error:
    print(os.strerror(error.errno), written >> 20)
"""

    outcome = await attempts.run_python(code, SMALL)

    if outcome is None:
        return
    assert outcome.stdout.startswith("No space left on device"), outcome
    assert int(outcome.stdout.split()[-1]) <= 16


async def test_file_cannot_be_larger_than_its_limit() -> None:
    outcome = await attempts.run_bash("head -c 3000000 /dev/zero > large; echo $?; ls -s large; exit 7", SMALL)

    if outcome is None:
        return
    # 128 + the number of SIGXFSZ; and no more than 2 MiB of it are there.
    assert outcome.stdout.split()[:2] == ["153", "2048"]
    assert outcome.exit_code == 7


async def test_folder_cannot_hold_files_without_number() -> None:
    code = "i=0; while :; do : > $i; i=$((i+1)); done"

    outcome = await attempts.run_bash(code, Limits(seconds=60, folder_entries=500))

    if outcome is None:
        return
    assert outcome.end is End.TOO_MANY_FILES


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_output_without_end_stops_at_the_limit(stream: str) -> None:
    outcome = await attempts.run_python(f"import sys\nwhile True: sys.{stream}.write('x' * 1000)", SMALL)

    if outcome is None:
        return
    assert outcome.end is End.TOO_MUCH_OUTPUT
    assert getattr(outcome, stream) == "x" * SMALL.output


async def test_output_of_setup_commands_without_end_stops_at_the_limit() -> None:
    outcome = await attempts.run(Program("", Language.BASH, setup_commands=("yes",)), Limits(seconds=30))

    if outcome is None:
        return
    assert outcome.end is End.TOO_MUCH_OUTPUT
    assert outcome.step == "setup_commands[0]"


async def test_computing_without_end_stops_at_its_limit() -> None:
    outcome = await attempts.run_python("while True: pass", Limits(seconds=30, cpu_seconds=1))

    if outcome is None:
        return
    assert (outcome.end, outcome.exit_code) == (End.EXITED, -signal.SIGKILL)


async def test_too_many_open_files_are_refused() -> None:
    outcome = await attempts.run_python("held = [open('/dev/null') for _ in range(300)]")

    if outcome is None:
        return
    assert "Too many open files" in outcome.stderr


async def test_program_that_ignores_signals_ends_at_its_time(marker: str) -> None:
    started = time.monotonic()

    outcome = await attempts.run_bash(STUBBORN.format(marker=marker), Limits(seconds=1))

    if outcome is None:
        return
    assert outcome.end is End.OUT_OF_TIME
    assert time.monotonic() - started < 10
    assert processes_with(marker) == []


async def test_what_a_program_leaves_running_ends_with_it(marker: str) -> None:
    code = f"""
(setsid bash -c 'trap "" TERM HUP; exec -a {marker} sleep 1000' &)
until grep -ql ^{marker} /proc/[0-9]*/cmdline 2>/dev/null; do :; done
echo there
"""

    outcome = await attempts.run_bash(code)

    if outcome is None:
        return
    assert outcome.succeeded, outcome
    assert outcome.stdout == "there\n"
    assert processes_with(marker) == []


async def test_cancelled_run_leaves_no_process(marker: str) -> None:
    if not namespaces_work():
        await attempts.run_bash("true")
        return
    async with running(Program(STUBBORN.format(marker=marker), Language.BASH), marker):
        assert processes_with(marker)

    assert processes_with(marker) == []


def _started(code: str) -> subprocess.Popen[bytes]:
    """A Python process that runs this, which does not stand in its command line."""
    process = subprocess.Popen([sys.executable, "-"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(code.encode())
    process.stdin.close()
    return process


async def test_sandbox_ends_with_the_runner_that_is_killed(marker: str) -> None:
    code = STUBBORN.format(marker=marker)
    runner = f"""
import asyncio
from blockyard.sandbox import BubblewrapSandbox, Language, Limits, Program
asyncio.run(BubblewrapSandbox().run(Program({code!r}, Language.BASH), Limits()))
"""
    if not namespaces_work():
        await attempts.run_bash("true")
        return
    process = _started(runner)
    try:
        await until(lambda: processes_with(marker), "the program runs")
    finally:
        process.kill()
        process.wait()

    await until(lambda: not processes_with(marker), "the sandbox is gone", seconds=5)


async def test_one_program_does_not_see_another_ones_files_and_processes(marker: str) -> None:
    if not namespaces_work():
        await attempts.run_bash("true")
        return
    secret = f"secret-{uuid.uuid4().hex}"
    folders = "/work /tmp /dev/shm /result"
    code = f"for folder in {folders}; do echo {secret} > $folder/{secret}; done; exec -a {marker} sleep 1000"
    search = f"""
find / -path /usr -prune -o -path /nix -prune -o -name {secret} -print 2>/dev/null
grep -rl {secret} {folders} 2>/dev/null
grep -l ^{marker} /proc/[0-9]*/cmdline
echo searched
"""
    async with running(Program(code, Language.BASH), marker):
        outcome = await attempts.run_bash(search)

    assert outcome is not None
    assert outcome.stdout == "searched\n"


async def test_so_many_run_at_once_and_the_others_wait(marker: str) -> None:
    if not namespaces_work():
        await attempts.run_bash("true")
        return
    sandbox = BubblewrapSandbox(at_once=1)
    endless = Program(STUBBORN.format(marker=marker), Language.BASH)
    first = asyncio.create_task(sandbox.run(endless, Limits(seconds=60)))
    await until(lambda: processes_with(marker), "the first one runs")

    second = asyncio.create_task(sandbox.run(Program("echo second", Language.BASH), Limits(seconds=60)))
    # Three times what the second one would have needed.
    for _ in range(3):
        await BubblewrapSandbox().run(Program("echo third", Language.BASH), Limits(seconds=60))
    waited = not second.done()
    first.cancel()
    outcome = await second

    assert waited
    assert outcome.stdout == "second\n"
    assert first.cancelled()


async def test_user_of_a_sandbox_is_not_root_outside(marker: str) -> None:
    if not namespaces_work():
        await attempts.run_bash("true")
        return
    async with running(Program(STUBBORN.format(marker=marker), Language.BASH), marker):
        owners = {os.stat(f"/proc/{process}").st_uid for process in processes_with(marker)}

    assert owners
    assert 0 not in owners
    if os.getuid() != 0:
        assert owners == {os.getuid()}
