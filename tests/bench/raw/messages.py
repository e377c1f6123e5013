"""What travels in the bare pipeline: records of a fixed size, as long as a small task or result of the product."""

import struct
from collections.abc import Iterable, Iterator, Sequence

from services.common.bus import Delivery

TASKS = "RAW_TASKS"
RESULTS = "RAW_RESULTS"
TASK_SUBJECT = "raw.task.all"
RESULT_SUBJECT = "raw.result.all"
RUN_SUBJECT = "raw.run"
"""Where the driver is asked to run a workload."""

RECORDS_A_MESSAGE = 8
PAYLOAD = bytes(108)

Step = tuple[int, int, int]
"""Run, chain, and position in the chain."""

_RECORD = struct.Struct(f"<III{len(PAYLOAD)}s")


def messages_of(steps: Sequence[Step]) -> list[bytes]:
    """The messages that carry these steps."""
    records = [_RECORD.pack(*step, PAYLOAD) for step in steps]
    return [b"".join(records[at : at + RECORDS_A_MESSAGE]) for at in range(0, len(records), RECORDS_A_MESSAGE)]


def steps_in(deliveries: Iterable[Delivery]) -> Iterator[Step]:
    """The steps that messages carry."""
    for delivery in deliveries:
        for run, chain, position, _ in _RECORD.iter_unpack(delivery.data):
            yield run, chain, position


def stream(name: str, subject: str) -> dict[str, object]:
    """A work queue as the product's are."""
    return {
        "name": name,
        "subjects": [subject],
        "storage": "file",
        "retention": "workqueue",
        "discard": "new",
        "max_bytes": 1 << 30,
    }
