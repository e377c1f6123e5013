"""When a runner that crashes is started again."""

import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import pytest

from services.runner.supervisor import LONGEST_PAUSE_SECONDS, MOST_VAIN_STARTS, SHORTEST_PAUSE_SECONDS, next_pause

ROOT = Path(__file__).parents[3]

DEAD_BEFORE_IT_IS_LOOKED_AT = """
import subprocess, time
from services.runner.supervisor import Supervisor

class DeadAtOnce(Supervisor):
    def _start(self):
        self._child = subprocess.Popen(["true"])
        self._child.wait()

began = time.monotonic()
DeadAtOnce().run()
print(time.monotonic() - began)
"""


def pauses(quick_ends: int) -> list[float]:
    """Those after so many quick ends in a row."""
    return list(accumulate(range(quick_ends), lambda pause, _: next_pause(pause, True), initial=SHORTEST_PAUSE_SECONDS))


def test_pauses_have_a_limit_however_often_a_runner_crashes() -> None:
    after_many = pauses(10_000)

    assert after_many == sorted(after_many)
    assert after_many[-1] == LONGEST_PAUSE_SECONDS


def test_a_runner_that_ran_for_long_is_started_again_soon() -> None:
    assert next_pause(LONGEST_PAUSE_SECONDS, quick=False) == SHORTEST_PAUSE_SECONDS


def test_a_runner_whose_end_is_seen_at_once_is_started_again_after_the_whole_pause() -> None:
    said = subprocess.run(
        [sys.executable, "-c", DEAD_BEFORE_IT_IS_LOOKED_AT], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert said.returncode == 0, said.stderr
    assert said.stdout.count("starting it again") == MOST_VAIN_STARTS - 1
    assert float(said.stdout.splitlines()[-1]) >= sum(pauses(MOST_VAIN_STARTS - 1)[1:])


ORPHAN = """
import ctypes, os, signal, subprocess
from services.runner.supervisor import bury_orphans

assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER: orphans come here, as to a first process
runner = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
reader, writer = os.pipe()
if not (parent := os.fork()):
    orphan = os.fork()
    if not orphan:
        os.close(writer)
        os.read(reader, 1)  # until the parent is gone
        os._exit(0)
    os._exit(0)
os.waitpid(parent, 0)
os.close(writer)
children = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
signal.alarm(20)
while open(children).read().split() != [str(runner.pid)]:
    bury_orphans(runner.pid)
runner.stdin.close()
while runner.poll() is None:
    bury_orphans(runner.pid)
assert runner.returncode == 0
bury_orphans(runner.pid)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans go elsewhere")
def test_orphans_of_a_container_are_buried_and_the_runner_is_left_to_those_who_wait_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
