"""What a block may know of the run that it is in, and what it may report about it."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blockyard.block.fresh_credentials import FreshCredentials, NoFreshCredentials
from blockyard.block.resources import Factory, Resources, ResourceT, shared
from blockyard.block.stored_values import StoredValues

if TYPE_CHECKING:
    from blockyard.files import Files

_PLAIN = ("task_id", "execution_id", "user_id", "graph_id", "graph_version", "node_id", "attempt", "stats")


@dataclass(frozen=True, slots=True)
class LinkedTool:
    """A node that links from pins of tools lead to, as a function that a model may call.

    `parameters` is the JSON schema of the arguments. `pins` has for each argument the output pin to give it on.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    pins: Mapping[str, str]


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
    # Where links from pins of tools lead; empty in a process of a cpu_bound block.
    tools: Sequence[LinkedTool] = ()
    # Of this run alone: a block's instance is shared by all its runs.
    stats: dict[str, Any] = field(default_factory=dict)
    # The runner's; None where blocks have no event loop of the runner, and in tests.
    resources: Resources | None = field(default=None, repr=False, compare=False)
    # What outlasts the execution; without a runner, what this run alone puts and gets.
    values: StoredValues = field(default_factory=StoredValues, repr=False, compare=False)
    # Asks for the newest secrets, in a run that outlasts an access token.
    credentials: FreshCredentials = field(default_factory=NoFreshCredentials, repr=False, compare=False)
    # The runner's; None where there is none, and for blocks with a plain `run`.
    run_files: "Files | None" = field(default=None, repr=False, compare=False)

    @property
    def files(self) -> "Files":
        """Keeps files and reads them, for blocks with `async def run`. Without a runner in a temporary folder."""
        if self.run_files is None:
            # Not at the top: few blocks need it, and it needs much.
            from blockyard.files.files import stand_in

            object.__setattr__(self, "run_files", stand_in(self.stats))
        assert self.run_files is not None
        return self.run_files

    def plain(self) -> dict[str, Any]:
        """What of it travels to a process of a block: all but what belongs to the runner."""
        return {name: getattr(self, name) for name in _PLAIN}

    def resource(self, factory: Factory[ResourceT], key: Hashable = None) -> AbstractAsyncContextManager[ResourceT]:
        """What `factory` opens, shared with other runs on this runner that ask by this key (the factory if None).

        `async with context.resource(open_client) as client:` leaves it open behind it; the runner closes it at its end,
        or when it has too many of which nobody uses this one. Use it within the `async with` alone.
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
