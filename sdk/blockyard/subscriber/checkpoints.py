"""What a subscriber must not forget, and where it is kept."""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from blockyard.cursors import decode_cursor
from blockyard.errors import BlockyardError

FORMAT = 1


class CheckpointInvalid(BlockyardError):
    """What was kept is no checkpoint of this subscriber."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a subscriber is."""

    user: str
    cursor: str
    """Of all executions that did something up to here, those that are not in `seen` were handled to their end."""
    seen: Mapping[str, int] = field(default_factory=dict)
    """The sequence up to which events were handled, by execution."""
    time: datetime | None = None
    """When this was."""

    def to_json(self) -> str:
        """As text, for whatever keeps it."""
        time = self.time.isoformat() if self.time else None
        content = {"format": FORMAT, "user": self.user, "cursor": self.cursor, "seen": dict(self.seen), "time": time}
        return json.dumps(content, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Checkpoint":
        """From text; raises CheckpointInvalid."""
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r}, and {FORMAT} is known")
            decode_cursor(content["cursor"])
            seen = {str(key): int(sequence) for key, sequence in content["seen"].items()}
            time = datetime.fromisoformat(content["time"]) if content["time"] else None
            return cls(str(content["user"]), content["cursor"], seen, time)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error) or type(error).__name__
            raise CheckpointInvalid(f"this is no checkpoint of a subscriber: {reason}") from error


class Checkpoints(Protocol):
    """Where a checkpoint is kept: a file, a row, whatever the program has."""

    async def load(self) -> str | None:
        """What `save` was given last; None before the first time."""

    async def save(self, text: str) -> None:
        """Keeps it, as a whole or not at all."""


class FileCheckpoint:
    """In a file, which is replaced as a whole."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    async def load(self) -> str | None:
        """What is in the file."""
        return await asyncio.to_thread(self._read)

    async def save(self, text: str) -> None:
        """Replaces it."""
        await asyncio.to_thread(self._write, text)

    def _read(self) -> str | None:
        try:
            return self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _write(self, text: str) -> None:
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
