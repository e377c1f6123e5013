"""What can go wrong with a block; `reason` is the name of the `NodeErrorReason` that a runner reports for it."""

from typing import ClassVar


class BlockError(Exception):
    """A block could not be run, or its run failed."""

    reason: ClassVar[str] = "BLOCK_ERROR"


class BlockDefinitionError(BlockError):
    """A block breaks a rule for blocks, and cannot be loaded."""


class BlockExecutionError(BlockError):
    """The block yielded this message on its error pin."""


class BlockInputError(BlockError):
    """The inputs do not fit the block's schema."""

    reason: ClassVar[str] = "INPUT_INVALID"


class BlockInterrupted(BlockError):
    """What the block ran on went away beneath it, whatever its inputs: the run goes back, and the block runs again."""

    reason: ClassVar[str] = "RUNNER_LOST"


class BlockOutputError(BlockError):
    """The block yielded what its schema does not allow."""

    reason: ClassVar[str] = "OUTPUT_INVALID"
