"""What a block may know of the run that it is in, and what it may report about it."""

from collections.abc import Hashable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from blockyard.block.resources import Factory, Resources, ResourceT, shared


@dataclass(frozen=True, slots=True)
class Context:
    """Given to a `run` that takes a parameter `context`.

    `task_id` is the same on every attempt: use it as the idempotency key for what the block does outside.
    """

    task_id: str = ""
    execution_id: str = ""
    user_id: str = ""
    graph_id: str = ""
    graph_version: int = 0
    node_id: str = ""
    attempt: int = 1
    # Of this run alone: a block's instance is shared by all its runs.
    stats: dict[str, Any] = field(default_factory=dict)
    # The runner's; None where blocks have no event loop of the runner, and in tests.
    resources: Resources | None = field(default=None, repr=False, compare=False)

    def resource(self, factory: Factory[ResourceT], key: Hashable = None) -> AbstractAsyncContextManager[ResourceT]:
        """What `factory` opens, shared with other runs on this runner that ask by this key (the factory if None).

        `async with context.resource(open_client) as client:` leaves it open behind it; the runner closes it at its end.
        Without a runner it is opened for this block alone.
        """
        return shared(self.resources, factory, key)


def merge_stats(stats: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Adds numbers, joins lists and objects, and replaces anything else."""
    for name, value in more.items():
        present = stats.get(name)
        if isinstance(present, bool) or present is None:
            stats[name] = value
        elif isinstance(present, int | float) and isinstance(value, int | float):
            stats[name] = present + value
        elif isinstance(present, list) and isinstance(value, list):
            stats[name] = [*present, *value]
        elif isinstance(present, dict) and isinstance(value, Mapping):
            merged = dict(present)
            merge_stats(merged, value)
            stats[name] = merged
        else:
            stats[name] = value
