"""The blocks that this runner has, and the schema hashes that tasks are compared with (rule 13)."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson
import structlog
from blockyard.block import Block, RunStyle
from blockyard.block.catalogue import describe
from blockyard.block.loader import Catalogue, load_blocks
from blockyard.graph.v1.block_pb2 import Block as BlockMessage

from services.runner.config import BlockSettings

MAX_REASON_CHARACTERS = 2_000

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loading:
    """What blocks are loaded from, here and in the processes of cpu-bound blocks."""

    packages: tuple[str, ...]
    entry_points: bool
    examples: bool

    @classmethod
    def of(cls, settings: BlockSettings) -> "Loading":
        """As the settings have it."""
        return cls(tuple(settings.packages), settings.entry_points, settings.examples)

    @classmethod
    def from_argument(cls, argument: str) -> "Loading":
        """As it stands on a process's command line."""
        return cls(**orjson.loads(argument))

    def argument(self) -> str:
        """For a process's command line."""
        return orjson.dumps(self).decode()

    def load(self) -> Catalogue:
        """Load."""
        return load_blocks(self.packages, self.entry_points, self.examples)


def use_processes(blocks: Mapping[str, Block]) -> bool:
    """Whether any of them wants a process of its own."""
    return any(block.style is RunStyle.PROCESS for block in blocks.values())


class BlocksHere:
    """Blocks by id."""

    def __init__(self, blocks: Mapping[str, Block]) -> None:
        self._blocks = blocks
        self._hashes: dict[str, str] = {}
        self._left_out: dict[str, str] = {}
        self._not_configured: dict[str, str] = {}

    @classmethod
    def of(cls, catalogue: Catalogue) -> "BlocksHere":
        """Those that were loaded. A block that is refused is reported; the others serve."""
        for error in catalogue.errors:
            log.error("a block was not loaded", module=error.module, block=error.block, reason=error.message)
        log.info("blocks loaded", blocks=len(catalogue.blocks), refused=len(catalogue.errors))
        return cls(catalogue.blocks)

    def ask(self) -> None:
        """Ask each block whether it can run here. A block may look at the machine for it, so this takes a thread."""
        for block in self._blocks.values():
            reason = _unavailable_reason(block)
            if reason:
                self._not_configured[block.id] = reason
                log.warning("a block cannot run here", block=block.name, reason=reason)

    def not_configured(self, block_id: str) -> str:
        """Why a block that is here cannot run as it is configured here; empty if it can, or is not here."""
        return self._not_configured.get(block_id, "")

    def is_for_others(self, block_id: str, schema_hash: str) -> bool:
        """Whether the block is here with this schema, and only not configured."""
        return self._hashes.get(block_id) == schema_hash and block_id in self._not_configured

    def messages(self) -> list[BlockMessage]:
        """For the catalogue."""
        return [describe(block, unavailable_reason=self.not_configured(block.id)) for block in self._blocks.values()]

    def registered(self, hashes: Mapping[str, str]) -> None:
        """The catalogue has them under these schema hashes."""
        self._hashes = dict(hashes)

    def leave_out(self, block_id: str, reason: str) -> None:
        """The catalogue does not have it, for this reason: nothing can be run with it."""
        self._left_out[block_id] = reason

    def find(self, block_id: str, schema_hash: str) -> Block | None:
        """The block, if it is here with this schema, and configured."""
        if self._hashes.get(block_id) != schema_hash or block_id in self._not_configured:
            return None
        return self._blocks.get(block_id)

    def why_not(self, block_id: str) -> str:
        """Why `find` has nothing."""
        block = self._blocks.get(block_id)
        if block is None:
            return f"this runner has no block {block_id}"
        if block_id in self._left_out:
            return f"the catalogue refuses {block.name} as this runner has it: {self._left_out[block_id]}"
        return f"this runner has {block.name} with another schema than the execution was started with"


def _unavailable_reason(block: Block) -> str:
    """What the block says, short enough for the catalogue."""
    try:
        reason = block.unavailable_reason().replace("\0", " ").strip()
    except Exception as error:  # an edge: a third party's code decides about its own block alone
        log.warning("a block does not tell whether it can run here", block=block.name, exc_info=error)
        reason = f"it does not tell whether it can run: {type(error).__name__}"
    return reason[:MAX_REASON_CHARACTERS]
