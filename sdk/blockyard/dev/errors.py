"""The one error of the laptop stack, and the sentences for what the machine can refuse."""

import errno
from pathlib import Path


class DevelopmentStackError(RuntimeError):
    """The laptop stack cannot go on; the message says why and what to do."""


class PortTaken(DevelopmentStackError):
    """Another program listens on the port."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(f"Port {port} of 127.0.0.1 is taken by another program.")


def explain_os_error(error: OSError, path: Path, purpose: str) -> DevelopmentStackError:
    """Turn what the operating system refused into a sentence that names the place and the remedy."""
    if error.errno == errno.ENOSPC:
        return disk_full(path, purpose)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return not_permitted(path, purpose)
    return DevelopmentStackError(f"{purpose} failed at {path}: {error.strerror or error}.")


def disk_full(path: Path, purpose: str) -> DevelopmentStackError:
    """The disk below `path` has no room left."""
    return DevelopmentStackError(
        f"{purpose} failed: the disk that holds {path} is full. Free some space, or choose another folder "
        "with BLOCKYARD_HOME (of the demo: with TMPDIR)."
    )


def not_permitted(path: Path, purpose: str) -> DevelopmentStackError:
    """This user may not write below `path`."""
    return DevelopmentStackError(
        f"{purpose} failed: this user may not write to {path}. Change its permissions, or choose another folder "
        "with BLOCKYARD_HOME."
    )
