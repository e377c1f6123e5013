"""A block may fork. The copy that comes of it is for the block to use, and never a second runner or worker process.

Wherever such a copy comes back out of its block it ends, so that nobody ever hears of it: a copy has the same sockets
and the same shared memory, and whatever it said would be taken for the word of the process that it is a copy of.
"""

import os
import traceback


def end_copy(of: int, error: BaseException | None = None) -> None:
    """Return in the process with this id. End any other one, as `error` would have ended it had it not come back."""
    if os.getpid() == of:
        return
    if isinstance(error, StopIteration | StopAsyncIteration):
        error = None  # It is how a generator returns.
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exception(error)
    # Not by an exception: handlers and exit functions that are not the copy's own stand above here.
    os._exit(_exit_code(error))


def _exit_code(error: BaseException | None) -> int:
    code = error.code if isinstance(error, SystemExit) else error
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1
