"""The process that cpu-bound blocks run in, one run after the other. It ends with its runner.

`python -m services.runner.process_worker SOCKET PARENT LOADING`, where LOADING is what blocks are loaded from, in JSON.
"""

import signal
import socket
import sys
from typing import Any

import orjson
from blockyard.block import Block, Context

from services.runner.blocking import encoded_outputs
from services.runner.blocks_here import Loading
from services.runner.frames import PREFIX, Frame, Kind, pack, unpack
from services.runner.outcomes import judge
from services.runner.parent import die_with


def main(arguments: list[str]) -> None:
    """Load blocks and run them until the socket is closed."""
    descriptor, parent, loading = arguments
    die_with(int(parent))
    # The runner decides when this ends; a terminal's signals are not for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    blocks = Loading.from_argument(loading).load().blocks
    with socket.socket(fileno=int(descriptor)) as connection:
        connection.sendall(pack(Kind.READY, None))
        while (frame := _receive(connection)) is not None:
            _run(connection, blocks[frame.header["block"]], frame)


def _run(connection: socket.socket, block: Block, frame: Frame) -> None:
    fields = frame.header["context"]
    context = Context(**fields) if fields is not None else None
    stats: dict[str, Any] = context.stats if context is not None else {}
    connection.sendall(pack(Kind.BEGUN, None))
    try:
        for pin, index, value in encoded_outputs(block, orjson.loads(frame.body), context, frame.header["selectors"]):
            connection.sendall(pack(Kind.OUTPUT, [pin, index], value))
    except BaseException as error:  # noqa: BLE001  # an edge: whatever a block raises is its outcome
        reason, message = judge(error)
        connection.sendall(pack(Kind.FAILED, {"reason": reason, "error": message, "stats": stats}))
    else:
        connection.sendall(pack(Kind.COMPLETED, {"stats": stats}))


def _receive(connection: socket.socket) -> Frame | None:
    prefix = _read(connection, PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    kind, header, body = PREFIX.unpack(prefix)
    return unpack(kind, _read(connection, header), _read(connection, body))


def _read(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer if the runner is gone."""
    data = bytearray()
    while len(data) < size and (part := connection.recv(min(size - len(data), 1 << 20))):
        data += part
    return bytes(data)


if __name__ == "__main__":
    main(sys.argv[1:])
