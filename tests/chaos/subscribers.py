"""The subscribers of a run: a process for each way in which events can be had, and what each of them has seen."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blockyard.dev import Stack
from blockyard.dev.nats_users import subscriber_of
from blockyard.dev.process import ChildProcess
from blockyard.dev.tokens import DEVELOPER

from tests.chaos.subscriber import WAYS

KINDS = tuple(WAYS)
OVER_HTTP = ("websocket", "sse")
"""These come through the edge."""
NAME = "subscriber-"
READY_SECONDS = 30.0
LOOK_SECONDS = 0.2


@dataclass(slots=True)
class Seen:
    """What a subscriber has seen of one execution."""

    lives: list[list[int]] = field(default_factory=list)
    """Sequences as they came, by each of its lives that saw any."""

    @property
    def sequences(self) -> set[int]:
        """All of them."""
        return {sequence for life in self.lives for sequence in life}

    @property
    def repeated(self) -> int:
        """Events that came more than once."""
        return sum(map(len, self.lives)) - len(self.sequences)


class Subscribers:
    """All of them. Each has a journal of its own under the folder."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        folder.mkdir(parents=True)
        root = Path(__file__).parents[2]
        replicas = ",".join(stack.notification_addresses)
        self._folder = folder
        self.starts: Counter[str] = Counter()
        """How often the process of each kind was started."""
        self.kills: Counter[str] = Counter()
        """How often it was killed."""
        self._processes = {
            kind: ChildProcess(
                f"{NAME}{kind}",
                [sys.executable, "-m", "tests.chaos.subscriber", kind, str(folder / kind)],
                stack.folder.log(f"{NAME}{kind}"),
                environment={
                    **os.environ,
                    "SUBSCRIBER_ADDRESSES": stack.edge.address if kind in OVER_HTTP else replicas,
                    "SUBSCRIBER_TOKEN": stack.token,
                    "SUBSCRIBER_EXECUTION_ADDRESSES": ",".join(stack.execution_addresses),
                    "SUBSCRIBER_NATS_URL": stack.nats.url_of(subscriber_of(DEVELOPER)),
                },
                folder=root,
            )
            for kind in KINDS
        }

    async def start(self) -> None:
        """Returns when each of them is subscribed, so that it sees all that begins from then on."""
        for name in self.names():
            self.revive(name)
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while not all(self._subscribed(kind) for kind in KINDS):
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError("the subscribers do not come to be subscribed")
            await asyncio.sleep(LOOK_SECONDS)

    def names(self) -> list[str]:
        """The names of their processes."""
        return [process.name for process in self._processes.values()]

    def process(self, name: str) -> ChildProcess:
        """The process of this name."""
        return self._processes[name.removeprefix(NAME)]

    async def kill(self, name: str) -> None:
        """SIGKILL; it stays down until it is started."""
        if self.process(name).alive():
            self.kills[name.removeprefix(NAME)] += 1
        await self.process(name).kill()

    def revive(self, name: str) -> None:
        """Starts it, with nothing but its journal."""
        self.process(name).start()
        self.starts[name.removeprefix(NAME)] += 1

    async def stop(self) -> None:
        """Ends all of them."""
        await asyncio.gather(*(process.kill() for process in self._processes.values()))

    async def until_complete(self, lengths: Mapping[str, int], seconds: float) -> None:
        """Waits until all have seen every event of these executions, or the time is over."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            seen = await asyncio.to_thread(self.seen)
            if not any(missing(seen[kind], lengths) for kind in KINDS):
                return
            await asyncio.sleep(LOOK_SECONDS)

    def seen(self) -> dict[str, dict[str, Seen]]:
        """What each kind of subscriber has seen, by execution."""
        return {kind: read_journal(self._folder / kind) for kind in KINDS}

    def _subscribed(self, kind: str) -> bool:
        journal = self._folder / kind
        return journal.exists() and any(line.startswith("C ") for line in journal.read_text().splitlines())


def read_journal(path: Path) -> dict[str, Seen]:
    """What stands in a subscriber's journal."""
    seen: dict[str, Seen] = {}
    fresh: set[str] = set()
    for line in path.read_text().splitlines():
        match line.split(" "):
            case ["S"]:
                fresh = set()
            case ["E", execution_id, sequence]:
                one = seen.setdefault(execution_id, Seen())
                if execution_id not in fresh:
                    fresh.add(execution_id)
                    one.lives.append([])
                one.lives[-1].append(int(sequence))
    return seen


def missing(seen: Mapping[str, Seen], lengths: Mapping[str, int]) -> dict[str, list[int]]:
    """By execution, the sequences that were not seen."""
    found = {
        execution_id: sorted(set(range(1, length + 1)) - seen.get(execution_id, Seen()).sequences)
        for execution_id, length in lengths.items()
    }
    return {execution_id: sequences for execution_id, sequences in found.items() if sequences}


def disorders(seen: Mapping[str, Seen]) -> Iterator[tuple[str, str]]:
    """Executions of which something came before what it follows.

    A life may begin again at what came before. Within it, and over lost connections of it, who drops what is not above
    the last must be left with each sequence in order.
    """
    for execution_id, one in seen.items():
        last = 0
        for sequence in (sequence for life in one.lives for sequence in life):
            if sequence > last + 1:
                yield execution_id, f"{sequence} came after {last}"
                break
            last = max(last, sequence)
