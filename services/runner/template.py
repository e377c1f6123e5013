"""A copy of the runner from before it had a thread, a connection or a secret: it has the blocks loaded, and it forks.

Each copy of this one is a process for cpu-bound blocks that is there within milliseconds, where a new program would
load all blocks again first. It runs no block itself, so it stays as it was made. The runner sends it the socket of each
new process over a socket of messages, and is told there of the start of each, and of its end.
"""

import os
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from functools import partial
from typing import NoReturn

from services.runner.own_strings import show_command
from services.runner.parent import die_with

MODULE = "services.runner.template"
MESSAGE = struct.Struct("<Bii")
"""What has happened, to which process, and the number that belongs to it."""
FORK = b"F"

Serve = Callable[[socket.socket], None]
"""What a copy does with its socket, until it ends."""


class Said(IntEnum):
    """What the runner is told."""

    STARTED = 1
    """With a descriptor that stands for the process, whatever its id is used for later."""
    FAILED = 2
    """None was started, for this errno."""
    ENDED = 3
    """With its exit code; negative, the signal that killed it."""


def fork_template(serve: Serve, forget: Callable[[], object], kept_from_it: int) -> tuple[int, socket.socket] | None:
    """Make the template and answer its id and the socket to it; None where it could not be a faithful copy.

    Call it before anything is started. `forget` takes out of the copy what it must not know, and the descriptor
    `kept_from_it` is closed there.
    """
    if not alone():
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    runner = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    _live_as_a_copy(partial(_be_template, runner, ours, theirs, serve, forget, kept_from_it))


def _be_template(
    runner: int,
    of_runner: socket.socket,
    connection: socket.socket,
    serve: Serve,
    forget: Callable[[], object],
    kept_from_it: int,
) -> None:
    die_with(runner)
    # The runner decides when this ends; a terminal's signals are not for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    of_runner.close()
    os.close(kept_from_it)
    _close_stdin()
    forget()
    show_command([sys.executable, "-m", MODULE])
    _Template(connection, serve).run()


def alone() -> bool:
    """Whether a copy of this process would be whole: threads stay behind. Blocks' modules may have started some."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except FileNotFoundError:
        return False  # not Linux


class _Template:
    """The template's own life."""

    def __init__(self, connection: socket.socket, serve: Serve) -> None:
        self._connection = connection
        self._serve = serve
        self._copies: dict[int, int] = {}
        """Their ids by descriptor."""
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def run(self) -> None:
        """Fork when told to, and tell who has ended, until the runner is gone. Copies end with this one."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._copies:
                    self._bury(descriptor)
                elif not self._answer():
                    return

    def _answer(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._connection, len(FORK), 1, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return False
        with socket.socket(fileno=descriptors[0]) as connection:
            try:
                self._fork(connection)
            except OSError as error:
                self._connection.send(MESSAGE.pack(Said.FAILED, 0, error.errno or 0))
        return True

    def _fork(self, connection: socket.socket) -> None:
        template = os.getpid()
        pid = os.fork()
        if not pid:
            _live_as_a_copy(partial(self._be_copy, template, connection))
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._copies[descriptor] = pid
        self._poll.register(descriptor, select.POLLIN)
        socket.send_fds(self._connection, [MESSAGE.pack(Said.STARTED, pid, 0)], [descriptor])

    def _be_copy(self, template: int, connection: socket.socket) -> None:
        die_with(template)
        self._connection.close()
        for other in self._copies:
            os.close(other)
        self._serve(connection)

    def _bury(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        os.close(descriptor)
        pid = self._copies.pop(descriptor)
        # What its block has started, before the id can be another's. There is no group yet if it ended at once.
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self._connection.send(MESSAGE.pack(Said.ENDED, pid, os.waitstatus_to_exitcode(status)))


def _live_as_a_copy(life: Callable[[], None]) -> NoReturn:
    """Live, and end: what stands above is the original's."""
    code = 1
    try:
        life()
        code = 0
    except BaseException:  # noqa: BLE001  # the edge of this process
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _close_stdin() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
