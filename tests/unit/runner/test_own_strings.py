"""What the kernel shows of a process after it has changed it itself."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from pathlib import Path
from services.runner.own_strings import forget_secrets, show_command

forget_secrets()
show_command(sys.argv[1:])
print(repr(Path("/proc/self/cmdline").read_text().rstrip(chr(0)).split(chr(0))))
environment = Path("/proc/self/environ").read_text()
print("of the runner" in environment, "left alone" in environment)
os.system("echo $KEPT; tr -d '\\\\0' < /proc/self/environ | grep -c 'of the runner'")
"""


LONG = """
import os
from pathlib import Path
from services.runner.own_strings import show_command

show_command(["x" * 1_000_000])
print("".join(sorted(set(Path("/proc/self/cmdline").read_text().rstrip(chr(0))))))
os.system("echo $KEPT")
"""


def lines(program: str, *arguments: str) -> list[str]:
    """What the program prints, in any order: what it starts prints too."""
    environment = {**os.environ, "BLOCKYARD_RUNNER_SECRET": "of the runner", "KEPT": "left alone"}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


@pytest.mark.parametrize("shown", [["another", "program"], ["short"]])
def test_the_command_is_the_one_to_show_and_secrets_are_gone_from_the_environment_alone(shown: list[str]) -> None:
    assert lines(PROGRAM, *shown) == sorted([repr(shown), "False True", "left alone", "0"])


def test_a_command_that_is_too_long_is_cut_and_the_environment_stays_whole() -> None:
    assert lines(LONG) == ["left alone", "x"]
