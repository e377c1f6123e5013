"""PostgreSQL 18 as a child process on 127.0.0.1, with fsync on, that can be killed and started again in place.

Without passwords it trusts who comes over loopback; it listens on 127.0.0.1 and nowhere else.
"""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from blockyard.dev.cluster import DATABASE, SUPERUSER, clear_dead_server, ensure_cluster, programs, server_user
from blockyard.dev.errors import DevelopmentStackError, PortTaken, disk_full, not_permitted
from blockyard.dev.postgres_access import PostgresAccess
from blockyard.dev.process import ChildProcess, places
from blockyard.dev.starting import failed, start_on_port, start_whole, until_ready

# Room for a laptop's worth of services; everything that decides about durability stays at PostgreSQL's defaults.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "log_line_prefix": "%m [%p] %u@%d ",
}


class PostgresServer:
    """One PostgreSQL server on one data directory; it keeps its port over restarts."""

    def __init__(
        self, data_dir: Path, port: int, log_file: Path, settings: Mapping[str, str], access: PostgresAccess
    ) -> None:
        self.data_dir = data_dir
        self.port = port
        self.access = access
        wanted = {**SETTINGS, **access.settings(data_dir), **settings}
        options = [f"--{name}={value}" for name, value in wanted.items()]
        self.process = ChildProcess(
            "postgres",
            [str(programs() / "postgres"), "-D", str(data_dir), "-p", str(port), *options],
            log_file,
            user=server_user(),
            stop_signal=signal.SIGINT,  # fast: ends sessions, writes a checkpoint
            death_signal=signal.SIGINT,
        )

    @property
    def url(self) -> str:
        """The URL of the database `blockyard` for its superuser."""
        return self.url_of(SUPERUSER)

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster."""
        return self.process.pid

    def url_of(self, user: str, database: str = DATABASE) -> str:
        """The URL of a database for a user, with the password that they need."""
        password = self.access.passwords.get(user)
        who = f"{user}:{password}" if password else user
        return f"postgresql://{who}@{self.address}/{database}"

    @property
    def address(self) -> str:
        """host:port, without any password."""
        return f"127.0.0.1:{self.port}"

    async def start(self, timeout_seconds: float = 60.0) -> None:
        """Start it, recover what a crash left, and wait until it takes connections."""
        if self.process.alive():
            return
        await asyncio.to_thread(clear_dead_server, self.data_dir)
        await asyncio.to_thread(self.access.install, self.data_dir)
        await start_whole(self.process, lambda: self._until_ready(timeout_seconds), self.abandon)

    async def stop(self, grace_seconds: float = 30.0) -> None:
        """Shut down in order (sessions are ended, a checkpoint is written)."""
        await self.process.stop(grace_seconds)

    async def abandon(self) -> None:
        """Shut down at once without a checkpoint, for data that nobody will read again. Leaves no shared memory."""
        self.process.thaw()
        self.process.send(signal.SIGQUIT)
        await self.stop()

    async def kill(self) -> None:
        """Kill the postmaster and all its children with SIGKILL; its shared memory stays until it is started again."""
        await self.process.kill()

    async def restart(self) -> None:
        """Start again on the same port and data, whatever ended it; stops it first when it runs."""
        await self.stop()
        await self.start()

    def freeze(self) -> None:
        """SIGSTOP to the postmaster and all its children."""
        self.process.freeze()

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self.process.thaw()

    async def _until_ready(self, timeout_seconds: float) -> None:
        explain_end = self._explain_end
        await until_ready(self.process, self._ready, timeout_seconds, name="PostgreSQL", explain_end=explain_end)

    async def _ready(self) -> bool:
        # The server itself writes its state into the eighth line; pg_ctl waits for the same.
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _explain_end(self) -> DevelopmentStackError:
        output = self.process.last_lines()
        if "No space left on device" in output:
            return disk_full(self.data_dir, "Starting PostgreSQL")
        if "Permission denied" in output:
            return not_permitted(self.data_dir, "Starting PostgreSQL")
        if "Address already in use" in output:
            return PortTaken(self.port)
        return failed(self.process, "PostgreSQL ended at its start")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def start_postgres(
    data_dir: Path | str,
    port: int = 0,
    *,
    log_file: Path | None = None,
    settings: Mapping[str, str] | None = None,
    access: PostgresAccess | None = None,
    template: Path | None = None,
) -> PostgresServer:
    """Start PostgreSQL on a data directory, which is made when it is not there, and wait until it answers.

    Port 0 takes a free one. `settings` are PostgreSQL's own, by name. `access` says what clients must show; without it
    all are trusted. The log is a file beside the data directory. A directory that is made is a copy of the `template`.
    """
    place, log = places(data_dir, log_file)
    await asyncio.to_thread(ensure_cluster, place, template)
    return await start_on_port(
        port, lambda chosen: PostgresServer(place, chosen, log, settings or {}, access or PostgresAccess())
    )
