"""Blockyard's services as processes: their names, their environment, and when they are of use."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blockyard.certificates import Certificates
from blockyard.dev import nats_users
from blockyard.dev.errors import DevelopmentStackError
from blockyard.dev.health import HealthProbe
from blockyard.dev.home import StackFolder
from blockyard.dev.nats import NatsServer
from blockyard.dev.ports import free_port
from blockyard.dev.process import ChildProcess
from blockyard.dev.starting import failed, start_whole, until_ready
from blockyard.dev.tokens import StackSecrets

MIGRATED = ("graph", "execution", "credentials", "account", "notification")
MIGRATE = "migrate"
VAULT = "credentials"
SECRETS = frozenset(
    {f"BLOCKYARD_{name}" for name in ("JWT_SECRET", "SERVICE_SECRET", "RUNNER_SECRET", "DATABASE_URL", "NATS_URL")}
)
"""What is never passed through from the caller's environment: each process has its own, or none."""
SECRETS_OF_VAULT = frozenset(f"BLOCKYARD_{name}" for name in ("VAULT_KEYS", "VAULT_KEYS_TOKEN", "OAUTH_CLIENTS"))
"""What is passed through to the vault alone: runners run blocks of others."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the services of one stack share."""

    folder: StackFolder
    secrets: StackSecrets
    nats: NatsServer
    graph_address: str
    overrides: Mapping[str, str]
    """Settings that win over the stack's own, by the name of their environment variable."""
    execution_address: str = ""
    """Of all replicas; empty where no runner is told."""
    credentials_address: str = ""
    """Of all replicas."""
    account_address: str = ""
    certificates: Certificates | None = None
    """Where there are some, services and NATS speak TLS."""
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the roles of PostgreSQL, for the migrations, which make the roles."""

    def environment(self, module: str, **settings: str) -> dict[str, str]:
        """The caller's environment with the stack's settings, and those of one service: what it needs, no more."""
        # What the caller has set for services (a pool, a log level) passes through; where they meet, the stack's win.
        shared = {
            **self._trust(module),
            **self._tls(),
            **self._nats(module),
            "HOST": "127.0.0.1",
            "METRICS_PORT": "0",
            "GRAPH_ADDRESS": self.graph_address,
            "EXECUTION_ADDRESS": self.execution_address,
            "CREDENTIALS_ADDRESS": self.credentials_address,
            "ACCOUNT_ADDRESS": self.account_address,
            "BLOB_URL": self.folder.blobs.as_uri(),
        }
        ours = {f"BLOCKYARD_{name}": value for name, value in {**shared, **settings}.items()}
        callers = {name: value for name, value in os.environ.items() if name not in SECRETS}
        environment = {**callers, "PYTHONUNBUFFERED": "1", **ours, **self.overrides}
        if module != VAULT:
            environment = {name: value for name, value in environment.items() if name not in SECRETS_OF_VAULT}
        return environment

    def _trust(self, module: str) -> dict[str, str]:
        """The secrets of a service. A runner is told its own alone: what it holds, blocks of third parties can read."""
        if module == MIGRATE:
            return {f"{name.upper()}_DB_PASSWORD": password for name, password in self.passwords.items()}
        if module == "runner":
            return {"RUNNER_SECRET": self.secrets.runners}
        users, services, runners = self.secrets.users, self.secrets.services, self.secrets.runners
        settings = {"JWT_SECRET": users, "SERVICE_SECRET": services, "RUNNER_SECRET": runners}
        return settings | {"VAULT_KEYS_URL": self.folder.keys.as_uri()} if module == VAULT else settings

    def _tls(self) -> dict[str, str]:
        """The same certificate for each process, as server and client: they are all on this machine."""
        if self.certificates is None:
            return {}
        ca, certificate, key = self.certificates.ca, self.certificates.certificate, self.certificates.key
        return {"TLS_CERTIFICATE": certificate, "TLS_KEY": key, "TLS_CA": ca, "TLS_CLIENT_CA": ca}

    def _nats(self, module: str) -> dict[str, str]:
        """The user of NATS that a service is, if it is one."""
        user = nats_users.runner_of(pool_of(self.overrides)) if module == "runner" else module
        if user not in self.nats.users:
            return {}
        settings = {"NATS_URL": self.nats.url_of(user)}
        if self.certificates is not None:
            ca, certificate, key = self.certificates.ca, self.certificates.certificate, self.certificates.key
            settings |= {"NATS_CA": ca, "NATS_CERTIFICATE": certificate, "NATS_KEY": key}
        return settings


def pool_of(overrides: Mapping[str, str]) -> str:
    """The pool that runners with these settings work for."""
    return {**os.environ, **overrides}.get("BLOCKYARD_POOL") or "default"


class ServiceProcess:
    """One process of a service; it keeps its address over restarts."""

    def __init__(self, name: str, service: str, port: int, environment: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self.address = f"127.0.0.1:{port}"
        # Certificates are the clients' business; whoever only waits for a service asks for its health in plain text.
        health_port = environment.get("BLOCKYARD_HEALTH_PORT")
        self.health_address = f"127.0.0.1:{health_port}" if health_port else self.address
        web_port = environment.get("BLOCKYARD_WEB_PORT")
        self.web_address = f"127.0.0.1:{web_port}" if web_port else ""
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
        probe = HealthProbe(self.health_address)
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
    folder_of_services()


def folder_of_services() -> Path:
    """Where the services are installed. They are looked for, and not imported."""
    found = importlib.util.find_spec("services")
    if found is None or not found.submodule_search_locations:
        raise DevelopmentStackError(
            "The services are not installed here. Run the laptop stack from a clone of Blockyard: `./task dev`."
        )
    return Path(found.submodule_search_locations[0])


async def migrate(environment: Mapping[str, str], log_file: Path, timeout_seconds: float = 120.0) -> None:
    """Bring the schemas of all services to the newest migration."""
    command = [sys.executable, "-m", "services.common.migrate", *MIGRATED]
    process = ChildProcess(MIGRATE, command, log_file, environment=environment, folder=log_file.parent)
    process.start()
    try:
        ended = await process.ended(timeout_seconds)
    finally:
        await process.kill()
    if not ended or process.exit_code != 0:
        raise failed(process, "The migrations of the database failed")


def service(
    surroundings: Surroundings, name: str, module: str, database_url: str = "", port: int = 0, web_port: int = 0
) -> ServiceProcess:
    """A process of a service that is not started yet. With a port for it, it serves HTTP too."""
    own = {"DATABASE_URL": database_url} if database_url else {}
    if web_port:
        own["WEB_PORT"] = str(web_port)
    if surroundings.certificates is not None:
        own["HEALTH_PORT"] = str(free_port())
    return ServiceProcess(
        name, module, port or free_port(), surroundings.environment(module, **own), surroundings.folder.log(name)
    )
