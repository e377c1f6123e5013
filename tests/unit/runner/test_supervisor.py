"""When a runner that crashes is started again."""

import subprocess
import sys
from itertools import accumulate
from pathlib import Path

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
