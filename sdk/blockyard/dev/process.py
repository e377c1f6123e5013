"""One child process: started, watched, stopped, killed, frozen and thawed by its id, with its output in a file.

It dies with its parent (on Linux, whatever kills the parent). Knows nothing of what the process does.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from blockyard.dev.errors import explain_os_error

LAUNCHER = Path(__file__).with_name("launch.py")
LOG_BYTES_KEPT = 16 * 1024 * 1024
POLL_SECONDS = 0.01


def launched(command: Sequence[str], death_signal: signal.Signals, user: str = "") -> list[str]:
    """The command line that runs the command bound to this process's life, as the user if one is named."""
    # The -I and -S keep the start below 20 ms and free of the caller's PYTHON* settings.
    return [sys.executable, "-I", "-S", str(LAUNCHER), str(int(death_signal)), str(os.getpid()), user, *command]


def places(data_dir: Path | str, log_file: Path | None) -> tuple[Path, Path]:
    """A server's data directory as an absolute path, and its log: the one named, else a file beside it."""
    place = Path(data_dir).absolute()
    return place, log_file or place.with_name(f"{place.name}.log")


class ChildProcess:
    """A program that can be started again and again with the same arguments.

    Start it from a thread that lives as long as the child shall: Linux ends the child with the thread that made it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log_file: Path,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        user: str = "",
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log_file = log_file
        self.environment = dict(environment) if environment is not None else None
        self.folder = folder
        self.user = user
        self.stop_signal = stop_signal
        self.death_signal = death_signal
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    @property
    def pid(self) -> int | None:
        """The process id, also of one that has ended; None before the first start."""
        return self._popen.pid if self._popen else None

    @property
    def exit_code(self) -> int | None:
        """How the last run ended: negative for a signal, None while it runs or before the first start."""
        return self._popen.poll() if self._popen else None

    def alive(self) -> bool:
        """Whether it runs now; a frozen process is alive."""
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Start the program unless it runs already; does not wait until it is of use."""
        if self.alive():
            return
        try:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            self._keep_log_small()
            with self.log_file.open("ab") as log:
                self._log_offset = log.tell()
                self._popen = subprocess.Popen(
                    launched(self.command, self.death_signal, self.user),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    cwd=self.folder,
                    # A group of its own: Ctrl-C in a terminal reaches the parent alone, which stops all in order.
                    process_group=0,
                )
        except OSError as error:
            raise explain_os_error(error, self.log_file, f"Starting {self.name}") from error

    def _keep_log_small(self) -> None:
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_BYTES_KEPT:
            shutil.move(self.log_file, self.log_file.with_name(self.log_file.name + ".old"))

    async def stop(self, grace_seconds: float = 15.0) -> None:
        """Ask it to end, wait, and kill it with all its children when the time is over."""
        if not self.alive():
            return
        self.thaw()
        self.send(self.stop_signal)
        if not await self.ended(grace_seconds):
            await self.kill()

    async def kill(self) -> None:
        """End it and its children at once, as a crash would (SIGKILL), and wait until they are gone."""
        if self._popen is None or not self.alive():
            return
        self.send(signal.SIGSTOP)  # so that it makes no more children while they are listed
        family = self.family()
        for process in family:
            _signal(process, signal.SIGKILL)
        await self.ended(30.0)
        await asyncio.to_thread(_wait_until_gone, family, 10.0)

    def freeze(self) -> None:
        """Stop it and its children where they are (SIGSTOP): alive, connected, and silent."""
        self.send(signal.SIGSTOP)
        for process in self.family():
            _signal(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it and its children go on after a freeze."""
        for process in self.family():
            _signal(process, signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process itself; none when it has ended."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def family(self) -> list[psutil.Process]:
        """The process and all that stem from it, in the order of their birth; empty when it has ended."""
        if self._popen is None or not self.alive():
            return []
        try:
            process = psutil.Process(self._popen.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    async def ended(self, timeout_seconds: float) -> bool:
        """Wait until it has ended; False when the time is over first."""
        deadline = time.monotonic() + timeout_seconds
        while self.alive():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    def last_lines(self, count: int = 20) -> str:
        """The end of what it wrote since its last start."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(self._log_offset, log.seek(0, os.SEEK_END) - 64 * 1024))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-count:])


def _wait_until_gone(processes: list[psutil.Process], timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while any(_runs(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _runs(process: psutil.Process) -> bool:
    try:
        # A zombie has let go of everything; who has to collect it is not always quick about it.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
