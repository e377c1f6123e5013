"""PostgreSQL's data directory with the migrations of all services applied: made once for them, then copied.

What a stack does with the copy is what it would do with any database: it has the migrations look whether one is
missing, and give the roles their passwords.
"""

import asyncio
import hashlib
import os
import shutil
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from blockyard.dev.cluster import UNFINISHED, fresh_cluster, locked
from blockyard.dev.errors import explain_os_error
from blockyard.dev.postgres import start_postgres
from blockyard.dev.services import MIGRATE, MIGRATED, SECRETS, folder_of_services, migrate

UNUSED_DAYS = 14
"""A cluster is removed when nobody has begun with it for so long: of other migrations, or of another PostgreSQL."""
UNFINISHED_DAYS = 1
"""What was being made when its process was killed."""


async def migrated_cluster() -> Path:
    """Where it is; making it takes some seconds."""
    fresh = await asyncio.to_thread(fresh_cluster)
    digest = await asyncio.to_thread(_digest, folder_of_services())
    made = fresh.with_name(f"{fresh.name}-{digest}")
    try:
        with ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, locked(made.with_suffix(".lock")))
            if not made.exists():
                await _make(made)
            os.utime(made)
        await asyncio.to_thread(_remove_unused, made.parent)
    except OSError as error:
        raise explain_os_error(error, made, "Making PostgreSQL's data directory") from error
    return made


async def _make(made: Path) -> None:
    workshop = await asyncio.to_thread(_workshop, made.parent)
    try:
        async with await start_postgres(workshop / "data") as server:
            callers = {name: value for name, value in os.environ.items() if name not in SECRETS}
            environment = {**callers, "BLOCKYARD_MIGRATION_DATABASE_URL": server.url}
            await migrate(environment, workshop / f"{MIGRATE}.log")
        await asyncio.to_thread((workshop / "data").rename, made)
    finally:
        await asyncio.to_thread(shutil.rmtree, workshop, ignore_errors=True)


def _workshop(folder: Path) -> Path:
    made = Path(tempfile.mkdtemp(dir=folder, prefix=UNFINISHED))
    made.chmod(0o755)  # PostgreSQL may run as another user
    return made


def _digest(services: Path) -> str:
    """Of all that has a say in what the migrations make."""
    digest = hashlib.sha256()
    common = [services / "common" / name for name in ("migrate.py", "upgrading.py", "schema_history.py")]
    folders = [services / "common" / "migrations", *(services / name / "migrations" for name in MIGRATED)]
    for path in [*common, *(path for folder in folders for path in sorted(folder.rglob("*.py")))]:
        data = path.read_bytes()
        digest.update(f"{path.relative_to(services)} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:16]


def _remove_unused(folder: Path) -> None:
    """Migrations that are being written make one cluster after the other, each with its lock."""
    for other in folder.iterdir():
        days = UNFINISHED_DAYS if other.name.startswith(UNFINISHED) else UNUSED_DAYS
        with suppress(FileNotFoundError):  # another process does the same
            if time.time() - other.stat().st_mtime < days * 24 * 3600:
                continue
            if other.is_dir():
                shutil.rmtree(other, ignore_errors=True)
            else:
                other.unlink()
