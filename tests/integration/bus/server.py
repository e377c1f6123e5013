"""A nats-server of the tests' own: started, killed, started again on the same port, its disk wiped."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.waiting import until

DEADLINE_SECONDS = 20.0


class NatsServer:
    """One nats-server process with JetStream, on a port that stays the same over restarts."""

    def __init__(self, folder: Path, configuration: str = "") -> None:
        self._folder = folder
        self._store = folder / "store"
        self._configuration = folder / "nats.conf"
        self._configuration.write_text(configuration)
        self._port = -1
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, for a plain socket."""
        return "127.0.0.1", self._port

    async def start(self) -> None:
        """Start it, and return when it takes connections."""
        for old in self._folder.glob("*.ports"):
            old.unlink()
        with (self._folder / "log").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: ASYNC220  # its start is waited for below
                [
                    str(Path(sys.executable).with_name("nats-server")),
                    *("--config", str(self._configuration), "--addr", "127.0.0.1", "--port", str(self._port)),
                    *("--jetstream", "--store_dir", str(self._store), "--ports_file_dir", str(self._folder)),
                ],
                stdout=output,
                stderr=output,
            )
        await until(self._listens, "nats-server to listen")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        for path in self._folder.glob("*.ports"):
            text = path.read_text()
            if text:
                self._port = int(json.loads(text)["nats"][0].rpartition(":")[2])
                return True
        return False

    def kill(self) -> None:
        """End it at once, as a lost machine would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Have it stand still with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Lose its disk."""
        shutil.rmtree(self._store)

    async def choose_port(self) -> None:
        """Learn a free port without staying up."""
        await self.start()
        self.kill()
