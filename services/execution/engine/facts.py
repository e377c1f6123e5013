"""What comes from outside. An execution's facts, in order and with their times, are its whole history."""

from enum import IntEnum

import msgspec

from services.execution.engine.plan import Reason


class Output(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A value that a run yielded: the `index`-th on `pin`, JSON bytes."""

    pin: str
    index: int
    value: bytes


class Finish(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The end of a run. `outputs` counts all that it yielded, so that an end never overtakes them."""

    failed: bool
    outputs: int
    error: str = ""
    reason: Reason = Reason.NONE
    duration_us: int = 0
    stats: bytes = b""


class Started(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The execution begins with these inputs: JSON bytes by name."""

    inputs: dict[str, bytes]


class Reported(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """What a runner said of a run: that it goes on, outputs, its end."""

    number: int
    attempt: int
    run: int
    outputs: tuple[Output, ...] = ()
    finish: Finish | None = None
    started_ms: int = 0


class Claimed(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """A runner was given the right to run a node that must not run twice."""

    number: int
    attempt: int
    run: int


class Ticked(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Time has passed: all timers that are due fire."""


class StopRequested(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """Somebody stopped the execution. `command` is the id of the command behind it."""

    command: int
    message: str = "stopped on request"
    failed: bool = False
    """It ends as FAILED, not as CANCELLED."""


class RunLost(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """The service gave a run up: its claimed run is silent, or its task was lost too often."""

    number: int
    attempt: int
    message: str
    reason: Reason = Reason.RUNNER_LOST


class Decision(IntEnum):
    """What a person decided; the numbers of `blockyard.execution.v1.Decision`."""

    RETRY = 1
    COMPLETE = 2
    FAIL = 3
    APPROVE = 4
    REJECT = 5


class Decided(msgspec.Struct, frozen=True, array_like=True, tag=6, gc=False):
    """Somebody decided what becomes of a node execution that is AMBIGUOUS, or that waits for a person."""

    command: int
    number: int
    decision: Decision
    outputs: tuple[Output, ...] = ()
    message: str = ""


class ChildEnded(msgspec.Struct, frozen=True, array_like=True, tag=8, gc=False):
    """The execution that a CHILD node execution waits for has ended, or could not begin.

    `outputs` are its results: by name, the k-th of a name with index k.
    """

    command: int
    number: int
    attempt: int
    outputs: tuple[Output, ...] = ()
    failed: bool = False
    message: str = ""
    stats: bytes = b""


class Continued(msgspec.Struct, frozen=True, array_like=True, tag=7, gc=False):
    """The last turn left work over (Effects.more): go on."""


Fact = Started | Reported | Claimed | Ticked | StopRequested | RunLost | Decided | Continued | ChildEnded
