"""Runs go-task and passes on to its command the signals that go-task keeps to itself.

Run by `./task` as `python -I tools/hand_over.py PROGRAM ARGUMENT...`. go-task that gets SIGTERM lets its command run on
(https://github.com/go-task/task/issues/1408): whoever ended `./task dev` would leave a stack behind.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

import psutil

PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

END_SECONDS = 1.0
"""Longest time that go-task has to end by itself after its command."""
LOOK_SECONDS = 0.01


def main(command: list[str]) -> int:
    """Go-task's exit code, which is its command's; as a shell has it when a signal ended go-task itself."""
    # Held back until somebody is there to get them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    task = psutil.Process(os.posix_spawn(command[0], command, os.environ, setsigmask=before))

    def receive(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT or not in_foreground():
            pass_on(number, task)

    for number in PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, receive)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _, status = os.waitpid(task.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def in_foreground() -> bool:
    """Whether Ctrl-C of a terminal reaches the command by itself, as it does all of the terminal's foreground."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def pass_on(number: int, task: psutil.Process) -> None:
    """Send a signal to go-task's commands; where none runs and it does not end either, end go-task."""
    with contextlib.suppress(psutil.NoSuchProcess):
        task.suspend()  # so that it starts none meanwhile
        commands = task.children()
        send(number, commands)
        task.resume()
        # Without one it is between two commands; or about to end, as its command has got the signal by itself: then the
        # exit code of that one is the one to keep.
        until = time.monotonic() + END_SECONDS
        while not commands and task.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > until:
                task.kill()
            time.sleep(LOOK_SECONDS)
            commands = task.children()
            send(number, commands)


def send(number: int, commands: Sequence[psutil.Process]) -> None:
    """Send a signal to processes that may end meanwhile."""
    for command in commands:
        with contextlib.suppress(psutil.NoSuchProcess):
            command.send_signal(number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
