"""How a block's `run` is written: looked at once, when the class is made, so that no call has to."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from blockyard.block.credentials import CredentialsParameter, credentials_parameter


class RunStyle(Enum):
    """Where a block's `run` is driven."""

    ASYNC = "async"
    """An async generator, in the event loop."""
    THREAD = "thread"
    """A plain generator, in a thread."""
    PROCESS = "process"
    """A plain generator that computes for long (`cpu_bound`), in a process of its own where a runner runs it."""


@dataclass(frozen=True, slots=True)
class RunSignature:
    """The style, and which arguments `run` takes beside its input."""

    style: RunStyle | None
    takes_context: bool
    # Names of parameters that are neither the input nor the context: they are for credentials.
    others: frozenset[str]
    takes_anything: bool
    credentials: tuple[CredentialsParameter, ...] = ()
    """Those of them that are annotated with types of credentials; to the others goes what the credential gives."""

    @property
    def only_input(self) -> bool:
        """True if `run` takes its input and nothing else."""
        return not (self.takes_context or self.others or self.takes_anything)


def read_signature(run: Callable[..., Any], *, cpu_bound: bool) -> RunSignature:
    """Reads `run` of a block's class; the style is None if it is no generator."""
    style: RunStyle | None = None
    if inspect.isasyncgenfunction(run):
        style = RunStyle.ASYNC
    elif inspect.isgeneratorfunction(run):
        style = RunStyle.PROCESS if cpu_bound else RunStyle.THREAD
    # The first two are self and the input.
    parameters = list(inspect.signature(run).parameters.values())[2:]
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    typed = [credentials_parameter(p, run) for p in parameters if p.name in named - {"context"}]
    return RunSignature(
        style,
        takes_context="context" in named or anything,
        others=frozenset(named - {"context"}),
        takes_anything=anything,
        credentials=tuple(one for one in typed if one is not None),
    )
