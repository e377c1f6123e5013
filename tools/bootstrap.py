"""Makes `.venv` as uv.lock says, for `./task`: `python -I tools/bootstrap.py ROOT STAMP`.

Runs with a bare Python: the standard library alone. Several may run at once: one works, the
others wait and find it done.
"""

import fcntl
import os
import shutil
import ssl
import subprocess
import sys
import venv
from pathlib import Path

# The one tool that uv.lock cannot bring, because it reads it. All others stand there.
UV = "uv==0.13.8"


def main(root: Path, stamp: str) -> int:
    """Set up, or say in a sentence why that did not work."""
    stamp_file = root / ".venv" / ".blockyard-stamp"
    cache = root / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "bootstrap.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp_file.exists() and stamp_file.read_text() == stamp and works(root / ".venv"):
            return 0
        print("Setting up .venv from uv.lock (once; the first time this downloads about 150 MB) ...", flush=True)
        stamp_file.unlink(missing_ok=True)
        # An environment that was moved here from elsewhere still points to its old place.
        made_here = root / ".venv" / ".blockyard-root"
        if made_here.exists() and made_here.read_text() != str(root):
            shutil.rmtree(root / ".venv")
        # uv leaves a lock file where temporary files go.
        os.environ["TMPDIR"] = str(cache / "temporary")
        (cache / "temporary").mkdir(exist_ok=True)
        uv = installed_uv(cache / "bootstrap")
        run(
            [
                str(uv),
                "sync",
                "--frozen",
                "--all-extras",
                "--quiet",
                "--python",
                sys.executable,
                "--project",
                str(root),
            ],
            "Installing the packages of uv.lock",
        )
        made_here.write_text(str(root))
        stamp_file.write_text(stamp)
    return 0


def works(environment: Path) -> bool:
    """Whether the environment's Python still starts: its base may have been removed or replaced."""
    try:
        return subprocess.run([environment / "bin" / "python", "-c", ""], check=False).returncode == 0
    except OSError:
        return False


def installed_uv(environment: Path) -> Path:
    """The pinned uv, installed into an environment of its own unless it is there."""
    marker = environment / f".{UV}"
    uv = environment / "bin" / "uv"
    if not (marker.exists() and works(environment)):
        shutil.rmtree(environment, ignore_errors=True)
        make_environment(environment)
        python = str(environment / "bin" / "python")
        run([python, "-I", "-m", "pip", "install", "--quiet", "--no-input", UV], f"Installing {UV}")
        marker.touch()
    return uv


def make_environment(place: Path) -> None:
    """An empty virtual environment with pip."""
    try:
        venv.EnvBuilder(with_pip=True).create(place)
    except (subprocess.CalledProcessError, ImportError) as error:
        # Debian and Ubuntu ship Python without what it takes to make environments.
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupFailed(
            f"{sys.executable} cannot make virtual environments. On Debian and Ubuntu: apt install python{version}-venv"
        ) from error


def run(command: list[str], purpose: str) -> None:
    """Run a command; when it fails, show what it said."""
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment.update(UV_PYTHON_DOWNLOADS="never", PIP_DISABLE_PIP_VERSION_CHECK="1")
    if has_system_certificates():
        environment.setdefault("UV_SYSTEM_CERTS", "true")
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise SetupFailed(
            f"{purpose} failed. If it could not reach the package index: check the network, or name a mirror with "
            "PIP_INDEX_URL (pip) and UV_DEFAULT_INDEX (uv). Then run the same command again."
        )


def has_system_certificates() -> bool:
    """Whether this machine knows whom to trust: a company's own authority stands there and not among those of uv."""
    places = ssl.get_default_verify_paths()
    return bool(places.cafile) or (places.capath is not None and any(os.scandir(places.capath)))


class SetupFailed(Exception):
    """The environment could not be made; the message is for the user."""


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
    except SetupFailed as error:
        sys.exit(f"task: {error}")
    except KeyboardInterrupt:
        print("task: setting up was interrupted; the same command goes on with it", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        sys.exit(f"task: setting up failed: {error}")
