"""Free TCP ports on loopback for servers that keep theirs over a restart."""

import random
import socket

# Below the range that systems take outgoing ports from (Linux: 32768 and up, macOS: 49152 and up). A client that
# keeps dialling a dead server on a port of that range may be given this very port and connect to itself, and then
# the server cannot come back.
FIRST_PORT = 15_000
LAST_PORT = 32_000

_random = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on; never the same one twice in a process."""
    for _ in range(200):
        port = _random.randint(FIRST_PORT, LAST_PORT)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise OSError(f"no free TCP port between {FIRST_PORT} and {LAST_PORT} on 127.0.0.1")


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now (connections in TIME_WAIT do not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
