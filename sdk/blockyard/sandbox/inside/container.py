"""First process of a container that runs one program: takes it from the standard input, and answers on the output.

Whoever started it holds the other end of the input. When that ends, this process ends too, and the container with it:
so nothing runs on whose runner is gone. All other processes here are the program's; they have the same user, and can
neither kill this one, being the first, nor look into it, since it is not dumpable.
"""

import asyncio
import base64
import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from blockyard.sandbox import collecting, framing, running, seccomp, view, wire
from blockyard.sandbox.box import KILL_SECONDS, WATCH_SECONDS, Box
from blockyard.sandbox.errors import SandboxError, SandboxUnavailable

BEAT_SECONDS = 15.0
# A runner says as often that it is there: one whose node is cut off ends no connection.
SILENT_SECONDS = 90.0
# Until whoever asked has read the answer and closes: the end of a container can cut off what it wrote last.
READ_SECONDS = 60.0
PR_SET_DUMPABLE = 4
_ADVICE = "To do: let the sandbox's pods be as the runner makes them, as a user that is not root and without rights."


class ContainerBox(Box):
    """Its first process is this one's child; all others are that one's, or have become this one's children."""

    async def __aenter__(self) -> "ContainerBox":
        return self

    async def start(self, command: list[str]) -> None:
        """Starts the first program, up to where it waits for `go`. Raises SandboxUnavailable."""
        pipes = self.pipes
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
        await self.begin(
            lambda: subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=pipes.stdout,
                stderr=pipes.stderr,
                pass_fds=[pipes.go, pipes.report, pipes.setup_output],
                env=view.environment(),
                cwd=view.WORK,
                start_new_session=True,
            )
        )

    def hold(self) -> None:
        """See `Box.hold`."""
        self.proc = self.held_open(collecting.open_folder("/proc"))
        self.work = self.held_open(collecting.open_folder(view.WORK))
        self.result = self.held_open(collecting.open_folder(view.RESULT))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """See `Box.kill`."""
        # All but this one, as it is the first.
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)

    def notice_end(self, process: subprocess.Popen[bytes]) -> None:
        """See `Box.notice_end`."""
        self._reap()

    async def stop(self) -> None:
        """See `Box.stop`."""
        await super().stop()
        if self.process is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS):
                while len(list(filter(str.isdigit, os.listdir("/proc")))) > 1:
                    self.kill(self.process)
                    await asyncio.sleep(WATCH_SECONDS / 10)
                    self._reap()

    def refusal(self, reason: str) -> str:
        """See `Box.refusal`."""
        return f"code cannot run here without protection, and no sandbox could be set up ({reason}). {_ADVICE}"

    def refusal_inside(self, reason: str) -> str:
        """See `Box.refusal_inside`."""
        return f"code cannot run here without protection: {reason}. {_ADVICE}"

    def _reap(self) -> None:
        """Takes note of children that have ended; those that the program left behind become this one's."""
        while True:
            try:
                child, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                child = 0
            if child == 0:
                break
            if self.process is not None and child == self.process.pid:
                self.process.returncode = 0
                # What it has left running holds the pipes open.
                self.kill(self.process)
                self.has_ended()


async def run(task: dict[str, Any]) -> dict[str, Any]:
    """The answer to a task."""
    try:
        program, limits = wire.task_of(task)
        running.check(program)
        _check_held()
        plan = running.plan(program, limits, lambda path: os.access(path, os.R_OK))
        async with ContainerBox(limits) as box:
            rules = base64.b64encode(seccomp.filter_program(internet=False)).decode()
            # The number of processes is the container's to limit, and is watched: gVisor knows no limit of a user's.
            job = running.job(box, plan, must_limit_processes=False, filter=rules)
            _write(running.files(program, plan, job))
            await box.start(plan.command)
            return wire.outcome_message(await running.carry_out(box, plan))
    except SandboxError as error:
        return wire.error_message(error)


def _write(files: dict[str, bytes]) -> None:
    for path, content in files.items():
        Path(path).write_bytes(content)


def _check_held() -> None:
    """Raises SandboxUnavailable if this process has rights that would be the program's as well."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    if 0 in (os.getuid(), os.geteuid()):
        raise SandboxUnavailable(f"code cannot run here without protection: its user is root. {_ADVICE}")
    if int(status.get("CapEff", "0"), 16) or int(status.get("CapPrm", "0"), 16):
        raise SandboxUnavailable(f"code cannot run here without protection: it has capabilities. {_ADVICE}")


class Runner(asyncio.Protocol):
    """The one who asks, at the other ends of the standard streams."""

    def __init__(self, key: bytes, output: int) -> None:
        self.tasks: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._frames = framing.Frames()
        self._mask = framing.Mask(key)
        self._output = output
        self._heard = asyncio.get_running_loop().time()

    @property
    def silent_seconds(self) -> float:
        """Since it said anything."""
        return asyncio.get_running_loop().time() - self._heard

    def say(self, message: dict[str, Any]) -> None:
        """Waits until all of it is written."""
        left = memoryview(framing.framed(message, self._mask))
        while left:
            left = left[os.write(self._output, left) :]

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._heard = asyncio.get_running_loop().time()
        try:
            for content in self._frames.add(data):
                message = framing.message_in(content)
                if "alive" not in message:
                    self.tasks.put_nowait(message)
        except framing.NotAFrame as error:
            # An event loop would go on after it, and nobody would be told.
            print(f"what came in is no message: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    def eof_received(self) -> None:
        """Called by the event loop: nobody wants the answer any more."""
        os._exit(0)

    def connection_lost(self, error: Exception | None) -> None:
        """As above."""
        os._exit(0)


async def serve(key: bytes, incoming: int, outgoing: int) -> None:
    """One task, then the end."""
    loop = asyncio.get_running_loop()
    runner = Runner(key, outgoing)
    await loop.connect_read_pipe(lambda: runner, os.fdopen(incoming, "rb", buffering=0))
    runner.say({"ready": True, "python": sys.version.split()[0]})
    beats = asyncio.create_task(_beat(runner))
    task = await runner.tasks.get()
    runner.say({"taken": True})
    answer = await run(task)
    beats.cancel()
    runner.say(answer)
    await asyncio.sleep(READ_SECONDS)


async def _beat(runner: Runner) -> None:
    """Keeps the connection from being taken for an idle one, and looks whether there still is anybody."""
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        if runner.silent_seconds > SILENT_SECONDS:
            os._exit(0)
        runner.say({"alive": True})


def main(hello: dict[str, Any]) -> None:
    """`hello` is the first message: the key for what is written."""
    if os.getpid() != 1:
        # It kills every process that it can: in a container, those are the program's.
        sys.exit("this is no first process of a container: set shareProcessNamespace to false")
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    # The kernel drops signals to a first process that has no handler for them. Python has one for this, and ignored it
    # would be for the program as well. So nothing that the program sends ends this process; SIGKILL from outside does.
    signal.signal(signal.SIGINT, lambda *_: None)
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    asyncio.run(serve(bytes.fromhex(hello["key"]), incoming, outgoing))
