"""Runs programs in a real sandbox, and says whether this machine can have one.

Where it cannot, each test of this folder checks that the program was refused, and nothing else.
"""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from blockyard.sandbox import BubblewrapSandbox, Language, Limits, Outcome, Program, SandboxUnavailable
from blockyard.sandbox.bubblewrap import find_bwrap

MEBIBYTE = 1 << 20

# In front of the code of an attempt: it says what it got hold of, or why it did not.
_PRELUDE = """
import os, sys
def attempt(name, action):
    try:
        got = action()
    except BaseException as error:
        print(name, "held:", type(error).__name__)
    else:
        print(name, "ESCAPED" if got else "held: nothing", got or "")
"""


@cache
def namespaces_work() -> bool:
    """Whether bubblewrap itself, told nothing else, can make what a sandbox needs here."""
    words = ["--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
    return subprocess.run([find_bwrap(), *words], capture_output=True, check=False).returncode == 0


async def run(program: Program, limits: Limits | None = None) -> Outcome | None:
    """What came of it; None where no sandbox can be had, once it is sure that it was refused."""
    limits = limits or Limits(seconds=30)
    if namespaces_work():
        return await BubblewrapSandbox().run(program, limits)
    with pytest.raises(SandboxUnavailable, match="To do: "):
        await BubblewrapSandbox().run(program, limits)
    return None


async def run_python(code: str, limits: Limits | None = None) -> Outcome | None:
    """As `run`."""
    return await run(Program(code), limits)


async def run_bash(code: str, limits: Limits | None = None) -> Outcome | None:
    """As `run`."""
    return await run(Program(code, Language.BASH), limits)


def with_prelude(code: str) -> str:
    """Code that may call `attempt(name, action)`; an attempt escaped if its action gives something."""
    return _PRELUDE + code


def without_sandbox(code: str) -> str:
    """What the code writes when nothing holds it: only for attempts that do no harm."""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, close_fds=False, check=False)
    return ended.stdout + ended.stderr


def processes_with(marker: str) -> list[int]:
    """Processes of this machine, in whatever namespace, that have the marker in their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                if marker.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                    found.append(int(entry))
            except OSError:
                # It has ended meanwhile.
                continue
    return found
