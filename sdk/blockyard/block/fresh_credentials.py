"""Secrets that change while a run goes on: `context.credentials` asks for the newest ones."""

from collections.abc import Mapping
from typing import Any, Protocol

from blockyard.block.errors import BlockExecutionError


class FreshCredentials(Protocol):
    """Gives what a credential unlocks now, for runs that last longer than an access token."""

    async def refresh(self, pin: str) -> Mapping[str, Any]:
        """The newest secret for this input pin, in the form in which `run` was given the first one."""
        ...


class NoFreshCredentials:
    """Refuses: where a run has no credentials, or nobody to ask."""

    async def refresh(self, pin: str) -> Mapping[str, Any]:
        """Raises BlockExecutionError."""
        raise BlockExecutionError(
            f"{pin}: there are no credentials to refresh: this is for runs that were given some, of blocks whose `run` "
            "is an async generator"
        )
