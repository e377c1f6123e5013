"""A replica of the vault as a process of its own, to be killed."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from blockyard.dev.ports import free_port

from services.common import identity
from tests import signing
from tests.integration.credentials.service import Caller, Ground
from tests.stack.postgres import as_role
from tests.waiting import until

ROOT = Path(__file__).parents[3]


@dataclass(eq=False)
class Mortal:
    """A running process."""

    process: asyncio.subprocess.Process
    channel: grpc.aio.Channel

    def admin(self) -> Caller:
        return Caller(self.channel, identity.user_token(signing.JWT_SECRET, "root", "admin", 300))

    async def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def mortal_replica(shared: Ground, **settings: str) -> AsyncIterator[Mortal]:
    """It listens when this gives it."""
    with tempfile.TemporaryDirectory(prefix="blockyard-") as name:
        folder = Path(name)
        values = {
            "port": "0",
            "port_file": str(folder / "port"),
            "database_url": as_role(shared.database_url, "credentials"),
            "graph_address": shared.neighbours.address,
            "execution_address": shared.neighbours.address,
            # Nobody is there: notices wait.
            "nats_url": f"nats://127.0.0.1:{free_port()}",
            **settings,
        }
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}",
            **signing.ENVIRONMENT,
            **{f"BLOCKYARD_{setting.upper()}": value for setting, value in values.items()},
        }
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.credentials", env=environment, cwd=ROOT, stdout=log, stderr=log
            )
        try:
            await until(lambda: (folder / "port").exists() or process.returncode is not None, "it listens", 90)
            assert process.returncode is None, (folder / "log").read_text()[-3000:]
            async with grpc.aio.insecure_channel(f"127.0.0.1:{int((folder / 'port').read_text())}") as channel:
                yield Mortal(process, channel)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
