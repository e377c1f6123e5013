"""Where no sandbox can be had nothing runs, and the refusal says what to do."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from blockyard.sandbox import BubblewrapSandbox, Limits, Program, SandboxUnavailable
from blockyard.sandbox.bubblewrap import _check_held, find_bwrap

from tests.integration.sandbox.attempts import namespaces_work

# Asks for a sandbox, and prints the refusal. The code would leave a file that can be found if it ran unprotected.
ASKING = """
import asyncio, sys
from blockyard.sandbox import BubblewrapSandbox, Limits, Program, SandboxUnavailable
async def ask():
    try:
        print("ran", await BubblewrapSandbox().run(Program(f"open({sys.argv[1]!r}, 'w')"), Limits(seconds=20)))
    except SandboxUnavailable as refusal:
        print("refused:", refusal)
asyncio.run(ask())
"""


SAYING = "from blockyard.sandbox import unavailable_reason; print(unavailable_reason())"


def test_a_machine_that_has_sandboxes_says_nothing_and_one_that_has_none_what_to_do() -> None:
    say = [sys.executable, "-c", SAYING]
    closed = [find_bwrap(), "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000"]
    closed += ["--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--"]

    def said(command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip()

    refused = said([*closed, *say] if namespaces_work() else say)
    assert refused.startswith("code cannot run here without protection")
    assert "To do: " in refused
    if namespaces_work():
        assert said(say) == ""


def test_nothing_runs_where_user_namespaces_are_closed(tmp_path: Path) -> None:
    """A machine without them is made out of one that has them: they are closed for all that runs inside."""
    left = tmp_path / "left"
    ask = [sys.executable, "-c", ASKING, str(left)]
    closed = [find_bwrap(), "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000"]
    closed += ["--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--"]
    command = [*closed, *ask] if namespaces_work() else ask

    asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert asked.stdout.startswith("refused: code cannot run here without protection"), asked
    assert "To do: " in asked.stdout
    assert not left.exists()


def test_nothing_runs_where_the_number_of_processes_has_no_limit(tmp_path: Path) -> None:
    """The machine's root has none, whatever number it has in a user namespace; an ordinary user has one there too."""
    left = tmp_path / "left"
    renamed = [find_bwrap(), "--unshare-user", "--uid", "1000", "--gid", "1000", "--dev-bind", "/", "/", "--"]
    ask = [sys.executable, "-c", ASKING, str(left)]
    command = [*renamed, *ask] if namespaces_work() else ask

    asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    if namespaces_work() and os.getuid() != 0:
        assert asked.stdout.startswith("ran "), asked
        return
    reason = "the kernel sets no limit to the processes" if namespaces_work() else "no sandbox could be set up"
    assert asked.stdout.startswith("refused: code cannot run here without protection"), asked
    assert reason in asked.stdout
    assert not left.exists()


@pytest.mark.parametrize("bwrap", ["/no/such/bwrap", "/bin/true", "/bin/false", "/etc/passwd"])
def test_nothing_runs_without_a_working_bubblewrap(bwrap: str, tmp_path: Path) -> None:
    left = tmp_path / "left"
    program = Program(f"open({str(left)!r}, 'w')")

    with pytest.raises(SandboxUnavailable, match="To do: "):
        asyncio.run(BubblewrapSandbox(bwrap).run(program, Limits(seconds=20)))

    assert not left.exists()


def test_process_without_namespaces_of_its_own_is_not_held() -> None:
    with pytest.raises(SandboxUnavailable, match="bubblewrap made no user namespace"):
        _check_held(os.getpid())


def test_refusals_leave_no_descriptor_open() -> None:
    async def refused() -> None:
        for _ in range(3):
            with pytest.raises(SandboxUnavailable):
                await BubblewrapSandbox("/bin/false").run(Program(""), Limits())

    asyncio.run(refused())
    before = sorted(os.listdir("/proc/self/fd"))

    asyncio.run(refused())

    assert len(os.listdir("/proc/self/fd")) == len(before)
