"""Settings of a runner: environment variables with the prefix BLOCKYARD_."""

import tempfile
from pathlib import Path

from blockyard.files import Clamd
from blockyard.files.limits import FILE_BYTES, STREAM_BYTES, WORKSPACE_BYTES
from pydantic import Field, field_validator

from services.common.config import LogSettings, ProcessSettings, Seconds, Secret
from services.common.pools import POOL
from services.runner.room import MOST, room_for_processes


class BlockSettings(LogSettings):
    """What is needed to load the blocks, which is done before anything else: no secret is among it."""

    packages: list[str] = Field(default_factory=list, description="Packages to load blocks from")
    entry_points: bool = Field(default=True, description="Load the blocks of installed packages that offer some")
    examples: bool = Field(default=False, description="Load blocks from modules called `examples` too")


class RunnerSettings(ProcessSettings, BlockSettings):
    """What an operator can set. Times in seconds, sizes in bytes, lists as JSON."""

    runner_secret: Secret
    """Signs this runner's tokens. It has no other secret: blocks of third parties run here."""

    pool: str = Field("default", pattern=f"^{POOL}$", description="Pool that this runner works for")
    slots: int = Field(64, ge=1, le=10_000, description="Runs at once; those that only compute are not counted")
    threads: int = Field(32, ge=1, le=1_000, description="Runs of blocks with a plain `run` at once")
    processes: int = Field(
        default_factory=room_for_processes, ge=1, le=MOST, description="Runs of cpu-bound blocks at once"
    )
    stuck_threads: int = Field(8, ge=1, description="Threads that cannot be ended, before the process starts anew")

    heartbeat_seconds: float = Field(2.0, gt=0, description="How often owners are told what is held here")
    event_loop_seconds: float = Field(4.0, gt=0, description="Longest time that a block may hold the event loop")
    grace_seconds: Seconds = 20
    """How long running tasks may take to end when the runner stops; the rest is handed back."""

    kept_bytes: int = Field(64 << 20, ge=1 << 20, description="Results not known to be recorded, in memory")
    spilled_bytes: int = Field(1 << 30, ge=0, description="Such results on disk; beyond that nothing is pulled")
    kept_runs: int = Field(20_000, ge=100, description="Ended runs not known to be recorded; beyond that as above")
    streamed_bytes: int = Field(32 << 20, ge=1 << 20, description="Unrecorded results at which a run's outputs wait")
    cached_results: int = Field(10_000, ge=0, description="Results of blocks with a cache, in memory; 0 is none")
    cached_bytes: int = Field(64 << 20, ge=0, description="Size of these results; one takes an eighth of it at most")
    spill_folder: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()), description="Where they spill to")

    file_bytes: int = Field(FILE_BYTES, ge=1, description="Size of a file that is kept, or read as a whole")
    workspace_bytes: int = Field(WORKSPACE_BYTES, ge=0, description="Size of all files in a user's workspace")
    file_stream_bytes: int = Field(
        STREAM_BYTES, ge=1, description="Size of a file that is read piece by piece, not kept"
    )
    clamd: str = Field("", description="ClamAV's daemon, host:port or a socket's path: scans files that are kept")
    clamd_seconds: float = Field(120.0, gt=0, description="Longest wait for its verdict on a file")

    @field_validator("clamd")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value:
            Clamd.at(value)
        return value
