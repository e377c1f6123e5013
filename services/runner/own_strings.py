"""What the kernel shows of this process to others of its user: its command line, and the environment of its start.

Both stand in memory of the process itself, and stay there when it is copied, or deletes a variable. The standard
library alone is used here, since the supervisor is to be small.
"""

import ctypes
import os
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

_SECRET = re.compile("BLOCKYARD_(.*(SECRET|TOKEN|PASSWORD).*|NATS_URL)")
"""Names of what only a runner's own process may know; the URL may have a password in it."""

ARGUMENTS, ENVIRONMENT = 45, 47
"""Places of their beginnings among the fields of /proc/self/stat after the program's name; their ends come next."""


def show_command(arguments: Sequence[str]) -> None:
    """Have this process listed with another command line, as far as there is room."""
    begin, end = _place(ARGUMENTS)
    # The last byte stays 0: without it the kernel would go on to the environment.
    shown = "\0".join(arguments).encode()[: max(0, end - begin - 1)]
    if end > begin:
        ctypes.memmove(begin, shown.ljust(end - begin, b"\0"), end - begin)


def forget_secrets() -> dict[str, str]:
    """Take this process's own secrets out of its environment: blocks see that, and whatever they start is given it.

    Answers the environment as it was.
    """
    before = dict(os.environ)
    names = [name for name in before if _SECRET.fullmatch(name.upper())]
    for name in names:
        del os.environ[name]
    _blank(names)
    return before


def _blank(names: Collection[str]) -> None:
    # Nothing points to them any more once they are deleted, but there they are. Zeros would end the list for who reads.
    begin, end = _place(ENVIRONMENT)
    wanted = {name.encode() for name in names}
    place = begin
    for entry in ctypes.string_at(begin, end - begin).split(b"\0"):
        name, _, value = entry.partition(b"=")
        if name in wanted:
            ctypes.memset(place + len(name) + 1, ord("-"), len(value))
        place += len(entry) + 1


def _place(field: int) -> tuple[int, int]:
    """Where it begins and ends; nothing where the kernel does not tell."""
    if sys.platform != "linux":
        return 0, 0
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[field]), int(fields[field + 1])
