"""One stack at a time on a home: who has the lock of its folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from blockyard.dev.errors import DevelopmentStackError, explain_os_error
from blockyard.dev.home import StackFolder, read_state


class StackRuns(DevelopmentStackError):
    """Another process runs a stack on this home."""


@contextmanager
def only_stack_in(folder: StackFolder) -> Iterator[None]:
    """Make the folder and hold its lock: two stacks on the same data would ruin each other's."""
    try:
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.path.chmod(0o700)
        folder.blobs.mkdir(exist_ok=True)
        folder.keys.mkdir(exist_ok=True, mode=0o700)
        lock = folder.lock.open("a")
    except OSError as error:
        raise explain_os_error(error, folder.path, "Making the stack's folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackRuns(_who_runs(folder)) from None
        yield


def _who_runs(folder: StackFolder) -> str:
    state = read_state(folder.path.parent)
    if state is None:
        return f"A stack on {folder.path} is starting or stopping just now; wait a moment."
    return (
        f"A stack runs already on {folder.path} (process {state.pid}): graph service at {state.addresses['graph']}, "
        f"execution service at {state.addresses['execution']}. Stop it with Ctrl-C where it runs, or use it."
    )
