"""The process that cpu-bound blocks run in, one run after the other. It ends with its runner.

It is a copy of the runner's template (template.py), or, where there is none, a program of its own:
`python -m services.runner.process_worker SOCKET PARENT LOADING`, where LOADING is what blocks are loaded from, in JSON.
"""

import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

import orjson
from blockyard.block import Block, Context
from blockyard.block.stored_values import StoredValues

from services import starting
from services.runner.blocking import encoded_outputs
from services.runner.blocks_here import Loading
from services.runner.copies import end_copy
from services.runner.frames import NO_RUN, PREFIX, Frame, Kind, pack, unpack
from services.runner.leased import Given, HeldSecrets, Leased
from services.runner.outcomes import judge
from services.runner.own_strings import show_command
from services.runner.parent import die_with
from services.runner.values import REFUSED

MODULE = "services.runner.process_worker"


def main(arguments: list[str]) -> None:
    """Load blocks and run them until the socket is closed."""
    descriptor, parent, loading = arguments
    starting.end()
    die_with(int(parent))
    _stand_alone()
    with socket.socket(fileno=int(descriptor)) as connection:
        secrets = HeldSecrets()
        secrets.guard_streams()
        _run_all(_Answers(connection), Loading.from_argument(loading).load().blocks, secrets)


def serve(blocks: Mapping[str, Block], secrets: HeldSecrets, connection: socket.socket) -> None:
    """The same as a copy of a process that has the blocks loaded."""
    _stand_alone()
    show_command([sys.executable, "-m", MODULE])
    del sys.argv[1:]  # the original's
    # Python's own is seeded anew in every copy; of numpy's, all copies would draw the same numbers.
    if (numbers := sys.modules.get("numpy.random")) is not None:
        numbers.seed()
    _run_all(_Answers(connection), blocks, secrets)


def _stand_alone() -> None:
    # What blocks start is in this group too, unless they see to it, and is ended with it.
    os.setpgid(0, 0)
    # The runner decides when this ends; a terminal's signals are not for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run_all(answers: "_Answers", blocks: Mapping[str, Block], secrets: HeldSecrets) -> None:
    answers.send(Kind.READY, NO_RUN, None)
    while (frame := answers.receive()) is not None:
        _run(answers, blocks[frame.header["block"]], frame, secrets)


class _Answers:
    """What is said to the runner, by this process alone: a copy that a block makes of it has no socket, and ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._process = os.getpid()
        # It came with the start of this process, and is not for the programs that blocks start.
        connection.set_inheritable(False)
        os.register_at_fork(after_in_child=connection.close)

    def send(self, kind: Kind, run: int, header: Any, body: bytes = b"", error: BaseException | None = None) -> None:
        """Say it. `error` is what brought a copy here."""
        end_copy(self._process, error)
        self._connection.sendall(pack(kind, run, header, body))

    def receive(self) -> Frame | None:
        """What the runner says next; None if it is gone."""
        prefix = self._read(PREFIX.size)
        if len(prefix) < PREFIX.size:
            return None
        kind, run, header, body = PREFIX.unpack(prefix)
        return unpack(kind, run, self._read(header), self._read(body))

    def _read(self, size: int) -> bytes:
        """So many bytes, or fewer if the runner is gone."""
        data = bytearray()
        while len(data) < size and (part := self._connection.recv(min(size - len(data), 1 << 20))):
            data += part
        return bytes(data)


def _run(answers: _Answers, block: Block, frame: Frame, secrets: HeldSecrets) -> None:
    given: Given | None = frame.header.pop("credentials")
    leased = Leased(given, frozenset(frame.header.pop("secrets")), secrets) if given is not None else None
    try:
        _run_with(answers, block, frame, leased)
    finally:
        if leased is not None:
            leased.forget()


def _run_with(answers: _Answers, block: Block, frame: Frame, leased: Leased | None) -> None:
    fields = frame.header["context"]
    context = Context(**fields, values=StoredValues(REFUSED)) if fields is not None else None
    stats: dict[str, Any] = context.stats if context is not None else {}
    answers.send(Kind.BEGUN, frame.run, None)
    try:
        outputs = encoded_outputs(
            block, orjson.loads(frame.body), context, frame.header["selectors"], leased.given if leased else None
        )
        for pin, index, value in outputs:
            answers.send(Kind.OUTPUT, frame.run, [pin, index], value)
    except BaseException as error:  # noqa: BLE001  # an edge: whatever a block raises is its outcome
        reason, message = judge(error)
        answers.send(Kind.FAILED, frame.run, {"reason": reason, "error": message, "stats": stats}, error=error)
    else:
        answers.send(Kind.COMPLETED, frame.run, {"stats": stats})


if __name__ == "__main__":
    main(sys.argv[1:])
