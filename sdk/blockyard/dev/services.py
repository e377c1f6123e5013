"""Blockyard's services as processes: their names, their environment, and when they are of use."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blockyard.dev.errors import DevelopmentStackError
from blockyard.dev.health import HealthProbe
from blockyard.dev.home import StackFolder
from blockyard.dev.ports import free_port
from blockyard.dev.process import ChildProcess
from blockyard.dev.starting import failed, start_whole, until_ready

MIGRATED = ("graph", "execution", "credentials", "account")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the services of one stack share."""

    folder: StackFolder
    secret: str
    nats_url: str
    graph_address: str
    overrides: Mapping[str, str]
    """Settings that win over the stack's own, by the name of their environment variable."""
    execution_address: str = ""
    """Of all replicas; empty where no runner is told."""
    credentials_address: str = ""
    """Of all replicas."""
    account_address: str = ""

    def environment(self, **settings: str) -> dict[str, str]:
        """The caller's environment with the stack's settings, those of one service included."""
        # What the caller has set for services (a pool, a log level) passes through; where they meet, the stack's win.
        shared = {
            "JWT_SECRET": self.secret,
            "HOST": "127.0.0.1",
            "METRICS_PORT": "0",
            "NATS_URL": self.nats_url,
            "GRAPH_ADDRESS": self.graph_address,
            "EXECUTION_ADDRESS": self.execution_address,
            "CREDENTIALS_ADDRESS": self.credentials_address,
            "ACCOUNT_ADDRESS": self.account_address,
            "BLOB_URL": self.folder.blobs.as_uri(),
        }
        ours = {f"BLOCKYARD_{name}": value for name, value in {**shared, **settings}.items()}
        return {**os.environ, "PYTHONUNBUFFERED": "1", **ours, **self.overrides}


class ServiceProcess:
    """One process of a service; it keeps its address over restarts."""

    def __init__(self, name: str, service: str, port: int, environment: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self.address = f"127.0.0.1:{port}"
        self.process = ChildProcess(
            name,
            [sys.executable, "-m", f"services.{service}"],
            log_file,
            environment={**environment, "BLOCKYARD_PORT": str(port)},
            # `python -m` looks into the working folder first, and the caller's may hold a `services` of its own.
            folder=log_file.parent,
        )

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self.process.pid

    async def start(self, timeout_seconds: float = 60.0) -> None:
        """Start it and wait until its health says SERVING."""
        if not self.process.alive():
            await start_whole(self.process, lambda: self.until_serving(timeout_seconds), self.kill)

    async def until_serving(self, timeout_seconds: float = 60.0) -> None:
        """Wait until its health says SERVING; raises when it ends instead or the time is over."""
        probe = HealthProbe(self.address)
        try:
            explain_end = self._explain_end
            await until_ready(self.process, probe.serving, timeout_seconds, name=self.name, explain_end=explain_end)
        finally:
            await probe.close()

    async def stop(self, grace_seconds: float = 30.0) -> None:
        """Ask it to end (SIGTERM), and kill it when it takes too long."""
        await self.process.stop(grace_seconds)

    async def kill(self) -> None:
        """End it and its children with SIGKILL."""
        await self.process.kill()

    async def restart(self) -> None:
        """Start again at the same address, whatever ended it; stops it first when it runs."""
        await self.stop()
        await self.start()

    def freeze(self) -> None:
        """SIGSTOP to it and its children."""
        self.process.freeze()

    def thaw(self) -> None:
        """Let a frozen service go on."""
        self.process.thaw()

    def _explain_end(self) -> DevelopmentStackError:
        return failed(self.process, f"{self.name} ended with exit code {self.process.exit_code}")


def require_services() -> None:
    """Refuse early where only the package for users is installed."""
    if importlib.util.find_spec("services") is None:
        raise DevelopmentStackError(
            "The services are not installed here. Run the laptop stack from a clone of Blockyard: `./task dev`."
        )


async def migrate(surroundings: Surroundings, postgres_url: str, timeout_seconds: float = 120.0) -> None:
    """Bring the schemas of all services to the newest migration."""
    process = ChildProcess(
        "migrate",
        [sys.executable, "-m", "services.common.migrate", *MIGRATED],
        surroundings.folder.log("migrate"),
        environment=surroundings.environment(MIGRATION_DATABASE_URL=postgres_url),
        folder=surroundings.folder.logs,
    )
    process.start()
    try:
        ended = await process.ended(timeout_seconds)
    finally:
        await process.kill()
    if not ended or process.exit_code != 0:
        raise failed(process, "The migrations of the database failed")


def service(
    surroundings: Surroundings, name: str, module: str, database_url: str = "", port: int = 0
) -> ServiceProcess:
    """A process of a service that is not started yet."""
    own = {"DATABASE_URL": database_url} if database_url else {}
    return ServiceProcess(
        name, module, port or free_port(), surroundings.environment(**own), surroundings.folder.log(name)
    )
