"""Copies of a process that a block makes by a fork."""

import os
import subprocess
import sys

import pytest

from services.runner.copies import end_copy


def test_the_process_itself_goes_on() -> None:
    end_copy(os.getpid(), SystemExit(3))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("None", 0),
        ("StopIteration(1)", 0),
        ("StopAsyncIteration()", 0),
        ("SystemExit()", 0),
        ("SystemExit(3)", 3),
        ("SystemExit('a sentence')", 1),
        ("ValueError('in the copy')", 1),
    ],
)
def test_a_copy_ends_as_what_it_raised_would_have_ended_it(error: str, code: int) -> None:
    program = f"from services.runner.copies import end_copy; end_copy(1, {error}); print('went on')"

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert said.returncode == code
    assert said.stdout == ""
    assert ("ValueError: in the copy" in said.stderr) == error.startswith("ValueError")
