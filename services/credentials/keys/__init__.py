"""Where the key-encryption keys are, and what wraps data keys with them: the one interface, and its errors.

A key-encryption key has an id and never leaves its provider. Which of them is used is not for a provider to say:
services/credentials/keyring.py does that.
"""

from collections.abc import Sequence
from typing import Protocol


class KeyMissing(Exception):
    """The provider has no key of this id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f'there is no key "{key_id}"')
        self.key_id = key_id


class ProviderAway(Exception):
    """The provider cannot be reached, or does not answer as it should, for now; the message says why."""


class NotUnwrapped(Exception):
    """The key does not open this: it is another key of that id, or what is wrapped was changed."""


class NoKeysMade(Exception):
    """The provider makes no keys; the message says who can."""


class KeyProvider(Protocol):
    """What has key-encryption keys. `context` is bound to what is wrapped: with another one it does not open."""

    remote: bool
    """Whether it is asked over the network, so that answers are worth keeping."""

    async def key_ids(self) -> Sequence[str]:
        """Ids of its keys, the oldest first as far as it knows."""
        ...

    async def wrap(self, key_id: str, data_key: bytes, context: bytes) -> bytes:
        """A data key, encrypted; raises KeyMissing or ProviderAway."""
        ...

    async def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """The data key; raises KeyMissing, ProviderAway or NotUnwrapped."""
        ...

    async def make(self) -> str:
        """The id of a new key; raises NoKeysMade or ProviderAway."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
