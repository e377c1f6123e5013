"""The parent of a runner. It does one thing that a runner cannot do for itself: end it when a block hangs in C code.

It also starts the runner anew when it crashed, so that a block that takes the process down costs a second and not a
pod. It knows nothing of tasks; what the runner held and did stands in memory that both share (casualty.py).
"""

import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from services import starting
from services.runner.casualty import SIZE, Sight
from services.runner.own_strings import forget_secrets

MODULE = "services.runner.service"
EXIT_START_ANEW = 75
"""The runner's exit code when it wants to be started again."""
SWEEPS = 20
"""What a block has started is looked for so many times at most, since it may start more meanwhile."""
LOOK_SECONDS = 0.25
LOOKS = 3
"""A runner is killed when it is overdue for so many looks in a row."""
QUICK_END_SECONDS = 10.0
"""A runner that crashed sooner after its start is started again a little later each time."""
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
MOST_VAIN_STARTS = 5
"""So many runners in a row that crashed soon and without any work: it is not a block that ends them."""


class Supervisor:
    """Starts, watches, kills and starts again."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as this
        self._file.truncate(SIZE)
        self._sight = Sight(mmap.mmap(self._file.fileno(), SIZE))
        self._child: subprocess.Popen[bytes] | None = None
        # For each runner; here no block is to find it.
        self._environment = forget_secrets()
        self._ending = False

    def run(self) -> int:
        """Supervise until the runner ends for good; answers the exit code."""
        wake = _listen(self._forward)
        pause, vain_starts = SHORTEST_PAUSE_SECONDS, 0
        while True:
            started = time.monotonic()
            self._start()
            code, hung = self._watch(wake)
            in_order, worked = self._sight.in_order, self._sight.worked
            if self._ending or (in_order and code != EXIT_START_ANEW):
                return _own(code)
            if in_order:
                self._sight.reset()
            else:
                self._sight.bury(code, hung)
            quick = time.monotonic() - started < QUICK_END_SECONDS
            pause = next_pause(pause, quick)
            vain_starts = vain_starts + 1 if quick and not worked else 0
            if vain_starts >= MOST_VAIN_STARTS:
                _say(f"the runner crashed {vain_starts} times in a row without any work")
                return _own(code) or 1
            _say(f"the runner ended ({code}), starting it again")
            select.select([wake], [], [], pause)
            if self._ending:
                return 1

    def _start(self) -> None:
        descriptor = self._file.fileno()
        self._child = subprocess.Popen(
            [sys.executable, "-m", MODULE, str(descriptor), str(os.getpid())],
            pass_fds=(descriptor,),
            env=self._environment,
            # A terminal sends its signals to the whole group: the runner gets them from here, once.
            start_new_session=True,
        )
        if self._ending:
            # Told to end while the last one was gone and this one not there yet: nobody else tells it.
            self._child.terminate()

    def _watch(self, wake: int) -> tuple[int, bool]:
        """Wait for the runner's end, and bring it about if it hangs; answers how it ended, and whether it hung."""
        try:
            return self._watch_child(wake)
        finally:
            assert self._child is not None
            end_session(self._child.pid)
            # The word of its end may still stand there, and would cut the pause before the next start.
            _drain(wake)

    def _watch_child(self, wake: int) -> tuple[int, bool]:
        assert self._child is not None
        looks, seen = 0, 0.0
        while (code := self._child.poll()) is None:
            woken = select.select([wake], [], [], LOOK_SECONDS)[0]
            _drain(wake)
            bury_orphans(self._child.pid)
            overdue = self._sight.overdue(time.monotonic())
            if not overdue or overdue != seen:
                looks, seen = 0, overdue
            elif not woken:
                # Counted, since both processes may have been stopped for a while: then the runner goes on at once.
                looks += 1
            if looks >= LOOKS:
                _say("a block hangs where it cannot be interrupted, the runner is killed for it")
                self._child.kill()
                return self._child.wait(), True
        return code, False

    def _forward(self, number: int, _: FrameType | None) -> None:
        self._ending = True
        if self._child is not None:
            self._child.send_signal(number)


def end_session(leader: int) -> None:
    """Kill what is left of a runner that has ended: what its blocks have forked, in it and in its worker processes.

    They hold its sockets, its port among them, so that the next runner would not get all that comes for it.
    """
    for _ in range(SWEEPS):
        left = [pid for pid in _processes() if _is_of(pid, leader)]
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def bury_orphans(runner: int) -> None:
    """Take leave of processes that have ended and that nobody else can take leave of.

    What blocks have started comes here when its parent is gone, as this is the first process of its container; each
    would keep its number for ever. The runner's own end is left to those who wait for it.
    """
    if not hasattr(os, "waitid"):
        return
    with suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid == runner:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except FileNotFoundError:
        return []  # not Linux: there they are left


def _is_of(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except OSError:
        return False


def next_pause(pause: float, quick: bool) -> float:
    """How long to wait before the next start, after a pause that long before the last one."""
    return min(LONGEST_PAUSE_SECONDS, pause * 2) if quick else SHORTEST_PAUSE_SECONDS


def _listen(forward: Callable[[int, FrameType | None], None]) -> int:
    """Have signals forwarded; answers what becomes readable with every signal, the end of a child included."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    return reader


def _own(code: int) -> int:
    """The exit code of a supervisor whose runner ended with this one."""
    return code if code >= 0 else 128 - code


def _drain(descriptor: int) -> None:
    try:
        os.read(descriptor, 4096)
    except BlockingIOError:
        return


def _say(what: str) -> None:
    """One line, as the services' logs have them."""
    print(f'{{"service": "runner", "level": "warning", "event": "{what}"}}', flush=True)


def main() -> None:
    """Supervise a runner."""
    starting.end()
    sys.exit(Supervisor().run())
