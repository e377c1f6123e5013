"""Blocks that misbehave in one way each."""

import asyncio
import hashlib
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from blockyard.block import (
    Block,
    BlockCost,
    BlockCostType,
    BlockExecutionError,
    BlockInterrupted,
    BlockOutput,
    BlockSchema,
    CachePolicy,
    Context,
    Effect,
    SchemaField,
    SyncBlockOutput,
)

_breaks = Path(os.environ.get("BREAKS", "/nowhere"))
"""Where it stands which program is to end while it loads these blocks, and with which exit code."""
if _breaks.exists():
    _program, _code = _breaks.read_text().split()
    if Path(sys.argv[0]).stem == _program:
        os._exit(int(_code))

ENDLESS = re.compile(r"(a+)+$")


class _Input(BlockSchema):
    value: Any = SchemaField(description="Any value.", default=None)
    text: str = SchemaField(description="Any text.", default="")
    count: int = SchemaField(description="How many.", default=1, ge=0)
    seconds: float = SchemaField(description="How long.", default=0.0)


class _Output(BlockSchema):
    value: Any = SchemaField(description="The value.", many=True)
    error: str = SchemaField(description="Why the block failed.")


class _TestBlockBase(Block[_Input, _Output]):
    """Its effect is in `effect_of_class`; everything else is the same for all."""

    effect_of_class = Effect.PURE
    traits_of_class: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        # Ids have to be UUIDs that stay: made from the name.
        digest = hashlib.sha256(type(self).__name__.encode()).hexdigest()
        super().__init__(
            id=f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}",
            description=f"{type(self).__name__} for tests.",
            input_schema=_Input,
            output_schema=_Output,
            effect=self.effect_of_class,
            test_input={},
            test_output=[],
            **self.traits_of_class,
        )


class EchoBlock(_TestBlockBase):
    async def run(self, input_data: _Input) -> BlockOutput:
        yield "value", input_data.value


class SleepyEchoBlock(_TestBlockBase):
    """Declared pure, and it waits."""

    async def run(self, input_data: _Input) -> BlockOutput:
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        yield "value", input_data.value


class CountingBlock(_TestBlockBase):
    async def run(self, input_data: _Input) -> BlockOutput:
        for number in range(input_data.count):
            yield "value", number


class StreamingBlock(_TestBlockBase):
    """Yields at once, and goes on for a while."""

    effect_of_class = Effect.IDEMPOTENT

    async def run(self, input_data: _Input) -> BlockOutput:
        for number in range(input_data.count):
            yield "value", f"{number}{input_data.text}"
        await asyncio.sleep(input_data.seconds)
        yield "value", "last"


class InterruptedBlock(_TestBlockBase):
    """What it runs on goes away."""

    effect_of_class = Effect.IDEMPOTENT

    async def run(self, input_data: _Input) -> BlockOutput:
        yield "value", "before"
        raise BlockInterrupted("the sandbox was evicted")


class InterruptedPaymentBlock(InterruptedBlock):
    effect_of_class = Effect.ONCE


class InterruptedComputationBlock(_TestBlockBase):
    cpu_bound = True

    def run(self, input_data: _Input) -> SyncBlockOutput:
        yield "value", "before"
        raise BlockInterrupted("the sandbox was evicted")


class FailingBlock(_TestBlockBase):
    async def run(self, input_data: _Input) -> BlockOutput:
        yield "value", "before"
        match input_data.text:
            case "pin":
                yield "error", "as the author says"
            case "raise":
                raise BlockExecutionError("as the author says")
            case "exit":
                raise SystemExit(3)
            case "cancel":
                raise asyncio.CancelledError
            case "set":
                yield "value", object()
        raise KeyError("missing")


class ThreadBlock(_TestBlockBase):
    effect_of_class = Effect.IDEMPOTENT

    def run(self, input_data: _Input) -> SyncBlockOutput:
        for number in range(input_data.count):
            yield "value", number
        time.sleep(input_data.seconds)


class ProcessBlock(_TestBlockBase):
    cpu_bound = True

    def run(self, input_data: _Input, context: Context) -> SyncBlockOutput:
        self.merge_stats(context, {"asked": 1})
        for number in range(input_data.count):
            yield "value", number
        if input_data.text == "die":
            os._exit(7)
        if input_data.text == "fail":
            raise ValueError("in the process")
        yield "value", context.task_id


class EndlessLoopBlock(_TestBlockBase):
    async def run(self, input_data: _Input) -> BlockOutput:
        yield "value", "before"
        if input_data.text == "suspend":
            await asyncio.sleep(0)
        while True:
            try:
                time.monotonic()
            except Exception:  # noqa: BLE001  # as careless authors do
                continue


class EndlessThreadBlock(_TestBlockBase):
    effect_of_class = Effect.IDEMPOTENT

    def run(self, input_data: _Input) -> SyncBlockOutput:
        yield "value", "before"
        while True:
            time.monotonic()


class EndlessProcessBlock(_TestBlockBase):
    cpu_bound = True

    def run(self, input_data: _Input) -> SyncBlockOutput:
        yield "value", "before"
        while True:
            time.monotonic()


class EndlessRegexBlock(_TestBlockBase):
    """Hangs in C code, with the interpreter's lock held."""

    async def run(self, input_data: _Input) -> BlockOutput:
        yield "value", bool(ENDLESS.match("a" * 60 + "b"))


class EndlessRegexThreadBlock(_TestBlockBase):
    """The same in a thread: the event loop stands still all the same."""

    effect_of_class = Effect.IDEMPOTENT

    def run(self, input_data: _Input) -> SyncBlockOutput:
        yield "value", bool(ENDLESS.match("a" * 60 + "b"))


class CrashingBlock(_TestBlockBase):
    """Takes the whole runner down, as a fault in C code does."""

    async def run(self, input_data: _Input) -> BlockOutput:
        os.kill(os.getpid(), signal.SIGKILL)
        yield "value", None


class ExitingBlock(_TestBlockBase):
    """Ends the whole process, as careless libraries do: with the code `count`, or by the signal that `text` names."""

    async def run(self, input_data: _Input) -> BlockOutput:
        yield "value", "before"
        _end_the_process(input_data)


class ExitingThreadBlock(_TestBlockBase):
    """The same in a thread."""

    effect_of_class = Effect.IDEMPOTENT

    def run(self, input_data: _Input) -> SyncBlockOutput:
        yield "value", "before"
        _end_the_process(input_data)


class ExitingPaymentBlock(_TestBlockBase):
    """The same where nobody may try it again."""

    effect_of_class = Effect.ONCE

    async def run(self, input_data: _Input) -> BlockOutput:
        await asyncio.sleep(input_data.seconds)
        _end_the_process(input_data)
        yield "value", None


class LoopEndingBlock(_TestBlockBase):
    """Ends what all runs share, the event loop, in the way that `text` names."""

    effect_of_class = Effect.IDEMPOTENT

    async def run(self, input_data: _Input) -> BlockOutput:
        loop = asyncio.get_running_loop()
        match input_data.text:
            case "task":
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_exit(3))
            case "forgotten task":
                _forgotten.append(asyncio.create_task(_exit(3)))
            case "callback":
                loop.call_soon(sys.exit, 3)
            case "stop":
                loop.stop()
            case "cancel":
                for task in asyncio.all_tasks():
                    task.cancel()
        await asyncio.sleep(0.1)
        yield "value", "went on"


_forgotten: list[asyncio.Task[None]] = []
"""Tasks that nobody awaits, and that are not to be collected either."""


async def _exit(code: int) -> None:
    sys.exit(code)


def _end_the_process(input_data: _Input) -> None:
    if input_data.text:
        os.kill(os.getpid(), signal.Signals[input_data.text])
    os._exit(input_data.count)


class PaymentBlock(_TestBlockBase):
    effect_of_class = Effect.ONCE

    async def run(self, input_data: _Input, context: Context) -> BlockOutput:
        await asyncio.sleep(input_data.seconds)
        yield "value", context.task_id


class StubbornBlock(_TestBlockBase):
    """Swallows what would end it."""

    effect_of_class = Effect.IDEMPOTENT

    async def run(self, input_data: _Input) -> BlockOutput:
        until = time.monotonic() + input_data.seconds
        while time.monotonic() < until:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        yield "value", "too late"


_COSTS = (
    BlockCost(2, BlockCostType.SECOND, {"text": "by the second"}),
    BlockCost(3, BlockCostType.BYTE, {"text": "by the byte"}),
    BlockCost(0, filter={"text": "free"}),
    BlockCost(40, filter={"count": 2}),
    BlockCost(7, filter={"count": 1}),
)


class PaidInlineBlock(_TestBlockBase):
    traits_of_class: ClassVar[dict[str, Any]] = {"costs": _COSTS}

    async def run(self, input_data: _Input) -> BlockOutput:
        for _ in range(input_data.count):
            yield "value", input_data.value
        if input_data.seconds:
            raise BlockExecutionError("as the author says")


class PaidBlock(_TestBlockBase):
    """Says something of its costs itself, which is not for it to say."""

    effect_of_class = Effect.IDEMPOTENT
    traits_of_class: ClassVar[dict[str, Any]] = {"costs": _COSTS}

    async def run(self, input_data: _Input, context: Context) -> BlockOutput:
        self.merge_stats(context, {"tokens": 5, "cost": -1_000, "cached": True})
        for _ in range(input_data.count):
            yield "value", input_data.value
        await asyncio.sleep(input_data.seconds)


class PaidThreadBlock(_TestBlockBase):
    effect_of_class = Effect.IDEMPOTENT
    traits_of_class: ClassVar[dict[str, Any]] = {"costs": _COSTS}

    def run(self, input_data: _Input) -> SyncBlockOutput:
        for _ in range(input_data.count):
            yield "value", input_data.value
        time.sleep(input_data.seconds)


class PaidProcessBlock(PaidThreadBlock):
    cpu_bound = True


class FreeBlock(_TestBlockBase):
    effect_of_class = Effect.IDEMPOTENT

    async def run(self, input_data: _Input, context: Context) -> BlockOutput:
        self.merge_stats(context, {"cost": 1_000})
        yield "value", input_data.value


class _CachedBlockBase(_TestBlockBase):
    """Notes each of its calls in the file that `text` names."""

    effect_of_class = Effect.IDEMPOTENT
    traits_of_class: ClassVar[dict[str, Any]] = {"costs": (BlockCost(7),), "cache": CachePolicy(seconds=3_600)}


def _note_call(input_data: _Input) -> str:
    with Path(input_data.text).open("a") as calls:
        calls.write("called\n")
    return f"{input_data.value} {time.monotonic_ns()}"


class CachedInlineBlock(_CachedBlockBase):
    effect_of_class = Effect.PURE

    async def run(self, input_data: _Input) -> BlockOutput:
        for _ in range(input_data.count):
            yield "value", _note_call(input_data)


class CachedBlock(_CachedBlockBase):
    async def run(self, input_data: _Input, context: Context) -> BlockOutput:
        self.merge_stats(context, {"tokens": 5})
        noted = _note_call(input_data)
        await asyncio.sleep(input_data.seconds)
        for _ in range(input_data.count):
            yield "value", noted + "x" * 300_000


class CachedThreadBlock(_CachedBlockBase):
    def run(self, input_data: _Input) -> SyncBlockOutput:
        for _ in range(input_data.count):
            yield "value", _note_call(input_data)


class CachedProcessBlock(CachedThreadBlock):
    cpu_bound = True
