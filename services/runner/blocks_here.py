"""The blocks that this runner has, and the schema hashes that tasks are compared with (rule 13)."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson
import structlog
from blockyard.block import Block, RunStyle
from blockyard.block.catalogue import describe
from blockyard.block.loader import Catalogue, load_blocks
from blockyard.graph.v1.block_pb2 import Block as BlockMessage

from services.runner.config import RunnerSettings

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loading:
    """What blocks are loaded from, here and in the processes of cpu-bound blocks."""

    packages: tuple[str, ...]
    entry_points: bool
    examples: bool

    @classmethod
    def of(cls, settings: RunnerSettings) -> "Loading":
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


class BlocksHere:
    """Blocks by id."""

    def __init__(self, blocks: Mapping[str, Block]) -> None:
        self._blocks = blocks
        self._hashes: dict[str, str] = {}

    @classmethod
    def load(cls, loading: Loading) -> "BlocksHere":
        """Load them. A block that is refused is reported; the others serve."""
        catalogue = loading.load()
        for error in catalogue.errors:
            log.error("a block was not loaded", module=error.module, block=error.block, reason=error.message)
        log.info("blocks loaded", blocks=len(catalogue.blocks), refused=len(catalogue.errors))
        return cls(catalogue.blocks)

    @property
    def use_processes(self) -> bool:
        """Whether any of them wants a process of its own."""
        return any(block.style is RunStyle.PROCESS for block in self._blocks.values())

    def messages(self) -> list[BlockMessage]:
        """For the catalogue."""
        return [describe(block) for block in self._blocks.values()]

    def registered(self, hashes: Mapping[str, str]) -> None:
        """The catalogue has them under these schema hashes."""
        self._hashes = dict(hashes)

    def find(self, block_id: str, schema_hash: str) -> Block | None:
        """The block, if it is here with this schema."""
        return self._blocks.get(block_id) if self._hashes.get(block_id) == schema_hash else None

    def why_not(self, block_id: str) -> str:
        """Why `find` has nothing."""
        block = self._blocks.get(block_id)
        if block is None:
            return f"this runner has no block {block_id}"
        return f"this runner has {block.name} with another schema than the execution was started with"
